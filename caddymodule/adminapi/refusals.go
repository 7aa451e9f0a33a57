package adminapi

import "time"

// RefusalList is the answer to GET refusals: what was refused since the process started, and why, each kind once with how often. The
// newest first, at most MaxRefusals. Where there are more, the newest kinds of each project come before the next ones of any.
type RefusalList struct {
	Refusals []Refusal `json:"refusals"`
	// Others are the refusals of projects to which GitLab has said yes to nobody since the start, neither to who wanted to read a file nor
	// to an upload, and of requests that name no project. Such names could be a stranger's invention, or another's secret, so they are a
	// number.
	Others RefusalsOfOthers `json:"others"`
}

// MaxRefusals bounds RefusalList.
const MaxRefusals = 50

// Refusal is one kind of refusal of one project.
type Refusal struct {
	// Time is the last one's.
	Time     time.Time `json:"time"`
	Upstream string    `json:"upstream"`
	// Project is as it was spelled.
	Project string `json:"project"`
	// Outcome is the word of the access log: "refused", "rate_limited", "invalid", "switched_off", "unreachable" or "limited". Status is
	// the answer's.
	Outcome string `json:"outcome"`
	Status  int    `json:"status"`
	// Why says it for people, in words that are none of the caller's: "GitLab said 403 Forbidden", "the version's name is against the
	// rules (13.5)".
	Why   string `json:"why"`
	Times int64  `json:"times"`
}

// RefusalsOfOthers counts, since the start.
type RefusalsOfOthers struct {
	// Time is the last one's; missing if there was none.
	Time  *time.Time `json:"time,omitempty"`
	Times int64      `json:"times"`
}
