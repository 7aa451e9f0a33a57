package adminapi

import "time"

// ListedEntries is how many entries a page has unless the parameter limit says otherwise; MaxListedEntries how many it has at
// most.
const ListedEntries, MaxListedEntries = 100, 1000

// MaxSearchedEntries is how many entries are looked at for one page of a search.
const MaxSearchedEntries = 20_000

// EntryStatus is a stored file as the list shows it.
type EntryStatus struct {
	// Directory is the cache directory, and Upstream the GitLab that the file came from, which may be one that no handler stands
	// in front of any more.
	Directory string `json:"directory"`
	Upstream  string `json:"upstream"`
	Project   string `json:"project"`
	Package   string `json:"package"`
	Version   string `json:"version"`
	File      string `json:"file"`
	// Size is in bytes.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Stored is when GitLab was asked for the content; Confirmed when it last named it as the current one, missing if it
	// hasn't been asked since the start, a publish or a purge.
	Stored    time.Time  `json:"stored"`
	Confirmed *time.Time `json:"confirmed,omitempty"`
	LastUsed  time.Time  `json:"last_used"`
	// Hits is how often it was served from the store since the start.
	Hits uint32 `json:"hits"`
	// PinnedUntil is missing where it isn't pinned.
	PinnedUntil *time.Time `json:"pinned_until,omitempty"`
}

// EntryList is the answer to GET entries. Its query parameters, all of which may be left out, are upstream, project, package,
// version and file: which entries are meant, those of a project by all its names; search: a text that must occur in
// project/package/version/file, whatever its case; limit: how many a page has; and after: where it begins, the Next of the page before.
//
// A page of a search may have fewer than limit, or none, and a Next all the same: after MaxSearchedEntries that were looked at.
type EntryList struct {
	Entries []EntryStatus `json:"entries"`
	// Next is the parameter `after` of the next page; missing on the last.
	Next string `json:"next,omitempty"`
}
