// Package adminapi has the requests and answers of the edge's admin API, as JSON. Package caddymodule answers the calls, package
// command makes them, and programs of others may use the types too. The package imports neither Caddy nor the edge.
//
// The API is a part of Caddy's own admin API, at localhost:2019 unless the config says otherwise, and whoever reaches that may
// call it. All calls are below [Path]:
//
//	GET    /gitlab_packages/           where the page for people is: Signpost
//	GET    /gitlab_packages/status     how the edge does: Status
//	GET    /gitlab_packages/projects   which projects are served, and why: ProjectList
//	POST   /gitlab_packages/enable     switch a project, or all, on: SwitchRequest, SwitchAnswer
//	POST   /gitlab_packages/disable    switch a project, or all, off: SwitchRequest, SwitchAnswer
//	POST   /gitlab_packages/reset      take back what enable and disable said: SwitchRequest, SwitchAnswer
//	GET    /gitlab_packages/entries    what is stored, by pages, or what a search finds: query parameters, EntryList
//	POST   /gitlab_packages/purge      remove files, mark them stale, or forget grants, or tell what that would do: PurgeRequest, PurgeAnswer
//	POST   /gitlab_packages/unpin      let files be evicted that warm has pinned: UnpinRequest, UnpinAnswer
//	POST   /gitlab_packages/verify     compare all files with their SHA-256; GET tells, DELETE stops: VerificationList
//	POST   /gitlab_packages/warm       fetch a package in advance: WarmRequest, WarmingStatus; GET tells, DELETE stops, with ?id=; GET without lists all: WarmingList
//	GET    /gitlab_packages/activity   what the edge is doing now: Activity
//	GET    /gitlab_packages/usage      whose files take the room, and which are used: Usage
//	GET    /gitlab_packages/history    what it did in the last hour, day, week or quarter: ?span=, History
//	GET    /gitlab_packages/refusals   what was refused lately, and why: RefusalList
//
// An answer with the status 200 is one JSON object. All other answers are {"error": "a sentence"}, as Caddy's own:
//
//	400  the call is wrong; nothing was done
//	404  there is no such call or warming, or the running config has no gitlab_packages handler
//	405  the path takes another method, which the header Allow names
//	409  warm: the project is switched off
//	429  warm: too many are running
//	500  the edge could not do it; purge may have done a part
//	503  the cache directory can't be used, GitLab doesn't tell what must be known first, or the run-time switches can't be read
//
// A request's body has at most MaxRequest bytes; no body is an empty object. What isn't known is refused, and so is a field that
// is empty or null, and a query parameter that is there twice, or where a body belongs: each would else do more than it was to.
// Leave out what is not to be said. Sizes are in bytes, times as in RFC 3339.
package adminapi

// Path is where the API is mounted in Caddy's.
const Path = "/gitlab_packages/"

// The calls, below Path.
const (
	CallSignpost = ""
	CallStatus   = "status"
	CallProjects = "projects"
	CallEnable   = "enable"
	CallDisable  = "disable"
	CallReset    = "reset"
	CallEntries  = "entries"
	CallPurge    = "purge"
	CallVerify   = "verify"
	CallWarm     = "warm"
	CallUnpin    = "unpin"
	CallActivity = "activity"
	CallUsage    = "usage"
	CallHistory  = "history"
	CallRefusals = "refusals"
)

// MaxRequest bounds a request's body, in bytes.
const MaxRequest = 1 << 20
