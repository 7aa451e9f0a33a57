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
	// Pin keeps the files from eviction for that long, such as 30d; not at all if it is left out.
	Pin string `json:"pin,omitempty"`
}

// WarmingStatus is the answer to all calls about a warming: how far it is.
type WarmingStatus struct {
	ID      string `json:"id"`
	Running bool   `json:"running"`
	// Anonymous says that GitLab is asked without a token, since neither the call nor the config (api_token) has one.
	Anonymous bool `json:"anonymous,omitempty"`
	// Listed says that GitLab has told which files there are; Files is how many, Bytes their size.
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
	// Errors say of the first few files why they failed; Error why the warming as a whole did.
	Errors []string   `json:"errors,omitempty"`
	Error  string     `json:"error,omitempty"`
	Begun  time.Time  `json:"begun"`
	Ended  *time.Time `json:"ended,omitempty"`
}
