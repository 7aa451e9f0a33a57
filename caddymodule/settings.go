package caddymodule

import "github.com/caddyserver/caddy/v2"

// Rules says which names are legal. Either Version alone, or own patterns.
type Rules struct {
	// "13.5" for the rules of GitLab 13.5's documentation, which are the default, or "current" for today's GitLab with
	// its nested directories.
	Version string `json:"version,omitempty"`

	// Own patterns (RE2), always matched against the whole value. An empty one is the pattern of 13.5. They can't
	// allow what is never legal: an empty name, `.`, `..`, a slash, control characters, more than 255 bytes.
	PackageName    string `json:"package_name,omitempty"`
	PackageVersion string `json:"package_version,omitempty"`
	FileName       string `json:"file_name,omitempty"`
}

// Cache says where files are kept, and how many.
type Cache struct {
	// The directory. It is created if need be. One process at a time can hold it. Default: `gitlab_packages` below
	// Caddy's data directory.
	Directory string `json:"directory,omitempty"`

	// How many bytes the files may take, those on their way in included. Default: 10 GiB.
	MaxSize int64 `json:"max_size,omitempty"`

	// How many of these bytes are kept for copies of uploads whose sender GitLab hasn't said yes to yet. Such an upload
	// evicts nothing until GitLab has taken it; when this room is full, the copy that has gone longest without a byte is
	// dropped, and the first download of its file fetches it from GitLab. One address has a quarter of the room at most. 0
	// keeps no such copies. Default: a 16th of max_size.
	UploadRoom *int64 `json:"upload_room,omitempty"`

	// How many bytes of memory hold files of up to 256 KiB that were used twice, and of up to a 64th of it where it is less than
	// 16 MiB. What the edge knows of each stored file takes 1 KiB of it, and half of it at most. It is taken off GOMEMLIMIT, since files
	// in memory lie outside of what Go counts. 0 for none.
	// Default: 256 MiB.
	Memory *int64 `json:"memory,omitempty"`

	// How many bytes the files may take that are pinned (warm --pin). Default: half of max_size.
	MaxPinned int64 `json:"max_pinned,omitempty"`

	// Files of more bytes stream through and aren't kept. Default: what max_size allows without upload_room.
	MaxObject int64 `json:"max_object,omitempty"`

	// How many bytes of the file system stay free; a file that would take of them streams through and isn't kept.
	// Default: 1 GiB.
	MinFree *int64 `json:"min_free,omitempty"`

	// How often all files are read in the background and compared with their SHA-256; a bad one is removed, and fetched
	// again when it is next asked for. 0 for never, which is the default. The time counts across restarts.
	VerifyEvery caddy.Duration `json:"verify_every,omitempty"`

	// How many bytes a second that reads at most. Default: 50 MiB.
	VerifyRate int64 `json:"verify_rate,omitempty"`

	// The bucket by which edges share the bytes of files. Default: none.
	SharedStore *SharedStore `json:"shared_store,omitempty"`
}

// Projects says which projects the edge serves. One that is off is answered 404 for every method, as if it had no
// packages.
type Projects struct {
	// "on" (the default) or "off": what holds for all projects that aren't named.
	Default string `json:"default,omitempty"`

	// Projects that are on, or off, whatever the default. Each is a list of all names of one project: its numeric id,
	// its path, its former paths. Case and percent-encoding don't matter.
	On  [][]string `json:"on,omitempty"`
	Off [][]string `json:"off,omitempty"`
}
