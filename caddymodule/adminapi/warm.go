package adminapi

import "time"

// WarmRequest is the body of POST warm.
type WarmRequest struct {
	// Upstream is the GitLab; it may be left out where there is one.
	Upstream string `json:"upstream,omitempty"`
	// Project is the spelling by which callers ask; files belong to it.
	Project string `json:"project,omitempty"`
	Package string `json:"package,omitempty"`
	// Version is the one to fetch; all if it is left out.
	Version string `json:"version,omitempty"`
	// Token is a GitLab token that may read the project. Default: the handler's api_token; without that the edge asks
	// anonymously.
	Token string `json:"token,omitempty"`
	// Directory is the cache directory to fill; all directories of handlers in front of that GitLab if it is left out.
	Directory string `json:"directory,omitempty"`
	// Pin keeps the files from eviction for that long, such as 30d; not at all if it is left out.
	Pin string `json:"pin,omitempty"`
}

// WarmingStatus is how far a warming is, in all the directories that it fills: the answer to all calls about one. Whoever
// begins one that fetches and pins what another one does already joins that one. By whose token that asks doesn't matter; but a
// call with a token, its own or the config's, joins none that asks anonymously.
type WarmingStatus struct {
	ID      string `json:"id"`
	Running bool   `json:"running"`
	// Joined says that it ran before the call.
	Joined bool `json:"joined,omitempty"`
	// Upstream, Project, Package and Version are what is fetched, an empty version all; Directories are where it goes.
	Upstream    string   `json:"upstream"`
	Project     string   `json:"project"`
	Package     string   `json:"package"`
	Version     string   `json:"version,omitempty"`
	Directories []string `json:"directories"`
	// Anonymous says that GitLab is asked without a token, since neither the call nor the config (api_token) has one.
	Anonymous bool `json:"anonymous,omitempty"`
	// Listed says that GitLab has told which files there are; Files is how many, Bytes their size. Each counts once for each
	// directory.
	Listed bool  `json:"listed"`
	Files  int   `json:"files"`
	Bytes  int64 `json:"bytes"`
	// Already were here before, Fetched came, Pinned were pinned, Failed came to nothing. DoneBytes is the size of all
	// that are done with.
	Already   int   `json:"already"`
	Fetched   int   `json:"fetched"`
	Pinned    int   `json:"pinned"`
	Failed    int   `json:"failed"`
	DoneBytes int64 `json:"done_bytes"`
	// NoRoom says that it stopped since there is no more room but that of files which were used since it began; Left is how
	// many files weren't fetched because it stopped, for whatever reason.
	NoRoom bool `json:"no_room,omitempty"`
	Left   int  `json:"left,omitempty"`
	// WaitsUntil is when GitLab, which limits requests, is asked again; missing while it isn't waited for.
	WaitsUntil *time.Time `json:"waits_until,omitempty"`
	// Errors say of the first few files why they failed; Error why the warming as a whole did.
	Errors []string   `json:"errors,omitempty"`
	Error  string     `json:"error,omitempty"`
	Begun  time.Time  `json:"begun"`
	Ended  *time.Time `json:"ended,omitempty"`
}

// WarmingList is the answer to GET warm without an id: the warmings that run, and the last that are over, the newest first.
type WarmingList struct {
	Warmings []WarmingStatus `json:"warmings"`
}
