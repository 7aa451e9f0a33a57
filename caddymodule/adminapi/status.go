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

// What UpstreamStatus says of a server.
const (
	// Up: it has answered, and is asked.
	Up = "up"
	// Down: it isn't asked, since it failed the edge's own probe.
	Down = "down"
	// Unasked: nobody has asked it yet, so that nobody knows.
	Unasked = "unasked"
	// Unanswered: the question that the edge asks at its start has failed, and nobody has had an answer since. Callers' requests
	// are sent to it all the same.
	Unanswered = "unanswered"
	// Redirects: it is asked by http and redirects to https, so that no file can be fetched. The edge's URL of GitLab must begin
	// with https.
	Redirects = "redirects to https"
)

// Status is the answer to GET status. Counts are of this process, also over reloads.
type Status struct {
	Build         Build     `json:"build"`
	Started       time.Time `json:"started"`
	UptimeSeconds int64     `json:"uptime_seconds"`
	// Working says that every cache directory can be used, no GitLab and no object storage is Down, Unanswered or Redirects, and
	// the run-time switches can be read.
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
	// BytesWarmed is the part of BytesUpstream that warmings fetched before anybody asked. It isn't taken from BytesSaved.
	BytesWarmed int64 `json:"bytes_warmed"`

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
	// Since is when the directory was opened, or since when it can't be used, as Usable says.
	Since *time.Time `json:"since,omitempty"`
	// Loading is true while the start's work goes on; Read is when that was over.
	Loading bool       `json:"loading"`
	Read    *time.Time `json:"read,omitempty"`
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
	// FoundFiles and FoundBytes are what the start has found in the directory; 0 while Loading.
	FoundFiles int   `json:"found_files"`
	FoundBytes int64 `json:"found_bytes"`
	// Grants is how many grants are known: that GitLab allowed a caller a project or a file.
	Grants int `json:"grants"`
	// These are counted since the start: files evicted for others, files that didn't fit, errors of the disk, bodies that
	// weren't what GitLab said, and stored files that were found damaged.
	Evictions        int64 `json:"evictions"`
	NoRoom           int64 `json:"no_room"`
	DiskErrors       int64 `json:"disk_errors"`
	ChecksumFailures int64 `json:"checksum_failures"`
	Damaged          int64 `json:"damaged_files"`
	// SharedStore is the bucket by which the files' bytes are shared; null for none.
	SharedStore *SharedStoreStatus `json:"shared_store,omitempty"`
}

// SharedStoreStatus is how a shared store does. Its trouble is none of the edge's: Status.Working doesn't depend on it.
type SharedStoreStatus struct {
	// Store is its s3:// URL, Endpoint the storage's.
	Store    string `json:"store"`
	Endpoint string `json:"endpoint"`
	// Reads and Writes say what this edge does with it.
	Reads  bool `json:"reads"`
	Writes bool `json:"writes"`
	// State is SharedUntried, SharedUp, SharedSlowed or SharedDown; Since is when that began, and Reason why, in words.
	State  string     `json:"state"`
	Since  *time.Time `json:"since,omitempty"`
	Reason string     `json:"reason,omitempty"`
	// OwedFiles and OwedBytes are still to be written there. OwedEvictions counts those since the start that were evicted before.
	OwedFiles     int   `json:"owed_files"`
	OwedBytes     int64 `json:"owed_bytes"`
	OwedEvictions int64 `json:"owed_evictions"`
}

// Values of SharedStoreStatus.State.
const (
	// SharedUntried: nobody has asked it yet.
	SharedUntried = "untried"
	SharedUp      = "up"
	// SharedSlowed: it has said that there are too many requests, and is left alone for some seconds.
	SharedSlowed = "slowed"
	// SharedDown: it failed several times, and is tried every ten seconds.
	SharedDown = "down"
)

// UpstreamStatus is how one GitLab does.
type UpstreamStatus struct {
	Upstream string `json:"upstream"`
	// GitLab is Up, Down, Unasked, Unanswered or Redirects; ObjectStorage is Up, Down or Unasked.
	GitLab        string `json:"gitlab"`
	ObjectStorage string `json:"object_storage"`
	// GitLabSince and ObjectStorageSince are since when they are Down; missing while they aren't.
	GitLabSince        *time.Time `json:"gitlab_since,omitempty"`
	ObjectStorageSince *time.Time `json:"object_storage_since,omitempty"`
	// GitLabAnswered and ObjectStorageAnswered are when they last answered; missing until they have.
	GitLabAnswered        *time.Time `json:"gitlab_answered,omitempty"`
	ObjectStorageAnswered *time.Time `json:"object_storage_answered,omitempty"`
	// AtStart is how GitLab has answered the question that the edge asks once when a config comes into force; null until then.
	// Of several ways to one GitLab, which differ in their transports, it is one whose question failed, if any did.
	AtStart *StartAnswer `json:"at_start"`
	// Rules are those in force for names: "13.5", "current" or "custom"; several if handlers with this GitLab differ.
	Rules []string `json:"rules"`
	// ProbeAnswered is true once GitLab has answered the probe, which the first answer to anything else starts. Until then
	// GitLab is asked by each caller, also while it is down.
	ProbeAnswered bool `json:"probe_answered"`
	// Switched is the state of projects of which nothing was said, and From where that comes from.
	Switched string     `json:"switched"`
	From     string     `json:"from"`
	Since    *time.Time `json:"since,omitempty"`
}

// StartAnswer is how GitLab has answered the question of the edge's start, which is asked without a credential and is about
// nothing.
type StartAnswer struct {
	Asked time.Time `json:"asked"`
	// Seconds is how long the answer took, or its failure.
	Seconds float64 `json:"seconds"`
	// Status is the answer's, missing if there was none. GitLab's own is 401.
	Status int `json:"status,omitempty"`
	// Text says it for people: "answered in 85 ms", or why there was no answer.
	Text string `json:"text"`
	// LooksLikeGitLab says that the answer is one as GitLab gives: a refusal in JSON. Something in front of GitLab may answer
	// in its place.
	LooksLikeGitLab bool `json:"looks_like_gitlab"`
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
