package adminapi

import "time"

// What Status.Switches says of the switches that were set at run time.
const (
	// SwitchesRead: those in Caddy's storage count, or there are none.
	SwitchesRead = "read"
	// SwitchesRecalled: they can't be read; those known last count.
	SwitchesRecalled = "recalled"
	// SwitchesUnknown: they are there and can't be read, and none are known; all requests get 503.
	SwitchesUnknown = "unknown"
)

// What UpstreamStatus says of a server: whether it is asked.
const (
	Up = "up"
	// Down: it isn't asked, since it failed the edge's own probe.
	Down = "down"
)

// Status is the answer to GET status. Counts are of this process, also over reloads.
type Status struct {
	Started       time.Time `json:"started"`
	UptimeSeconds int64     `json:"uptime_seconds"`
	// Working says that every cache directory can be used, every GitLab is being asked, and the run-time switches can be read.
	Working bool `json:"working"`
	// Switches is SwitchesRead, SwitchesRecalled or SwitchesUnknown.
	Switches string `json:"switches"`
	// Requests are counted by outcome, such as "hit", the words of the access log; those that were never met are left out.
	Requests map[string]int64 `json:"requests"`
	// HitRatio is the part of downloads that were served from the store or from a fetch of somebody else's; null before
	// the first.
	HitRatio *float64 `json:"hit_ratio"`
	// BytesSent are bodies sent to callers, by where they came from: "memory", "disk", "fill" for files on their way in, and
	// "upstream" for what one caller alone got from GitLab or its storage. BytesUpstream is what GitLab and its storage sent, and
	// BytesSaved what they didn't have to.
	BytesSent     map[string]int64 `json:"bytes_sent"`
	BytesUpstream int64            `json:"bytes_upstream"`
	BytesSaved    int64            `json:"bytes_saved"`

	Stores    []StoreStatus    `json:"stores"`
	Upstreams []UpstreamStatus `json:"upstreams"`
	// RecentFailures are the last few, the newest first.
	RecentFailures []Failure `json:"recent_failures"`
}

// StoreStatus is how one cache directory does. Sizes are in bytes.
type StoreStatus struct {
	Directory string `json:"directory"`
	// Usable is false while the directory can't be used, and the edge streams uncached.
	Usable bool `json:"usable"`
	// Loading is true while the start's work goes on.
	Loading bool `json:"loading"`
	// Bytes is how much is used, of MaxSize; PinnedBytes how much of it is kept from eviction, and MemoryBytes how much is in
	// memory too.
	Bytes       int64 `json:"bytes"`
	MaxSize     int64 `json:"max_size"`
	PinnedBytes int64 `json:"pinned_bytes"`
	MemoryBytes int64 `json:"memory_bytes"`
	// Entries are stored files by their names, Files by their content; Fills are on their way in.
	Entries int   `json:"entries"`
	Files   int   `json:"files"`
	Fills   int64 `json:"fills"`
	// Grants is how many grants are known: that GitLab allowed a caller a project or a file.
	Grants int `json:"grants"`
	// These are counted since the start: files evicted for others, files that didn't fit, errors of the disk, bodies that
	// weren't what GitLab said, and stored files that were found damaged.
	Evictions        int64 `json:"evictions"`
	NoRoom           int64 `json:"no_room"`
	DiskErrors       int64 `json:"disk_errors"`
	ChecksumFailures int64 `json:"checksum_failures"`
	Damaged          int64 `json:"damaged_files"`
}

// UpstreamStatus is how one GitLab does.
type UpstreamStatus struct {
	Upstream string `json:"upstream"`
	// GitLab and ObjectStorage are Up or Down.
	GitLab        string `json:"gitlab"`
	ObjectStorage string `json:"object_storage"`
	// ProbeAnswered is true once GitLab has answered the probe, which the first answer to anything else starts. Until then
	// GitLab is asked by each caller, also while it is down.
	ProbeAnswered bool `json:"probe_answered"`
	// Switched is the state of projects of which nothing was said, and From where that comes from.
	Switched string     `json:"switched"`
	From     string     `json:"from"`
	Since    *time.Time `json:"since,omitempty"`
}

// Failure is something that went wrong, as the status tells it. Its texts hold no credential and no URL of object
// storage, like those of the log.
type Failure struct {
	Time time.Time `json:"time"`
	What string    `json:"what"`
	// File is the file that it was about: project/package/version/file; missing if it was about none.
	File  string `json:"file,omitempty"`
	Error string `json:"error,omitempty"`
	// Times is how often it happened in a row; Time is that of the last.
	Times int `json:"times"`
}
