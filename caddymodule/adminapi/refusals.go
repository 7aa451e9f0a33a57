package adminapi

import "time"

// RefusalList is the answer to GET refusals: what was refused lately, and why, each kind once with how often. The newest first, at
// most MaxRefusals.
type RefusalList struct {
	Refusals []Refusal `json:"refusals"`
	// Others are the refusals of projects to which nobody held a yes lately: their names could be a stranger's invention, or another's
	// secret, so they are a number.
	Others RefusalsOfOthers `json:"others"`
}

// MaxRefusals bounds RefusalList.
const MaxRefusals = 50

// Refusal is one kind of refusal of one project.
type Refusal struct {
	// Time is the last one's.
	Time     time.Time `json:"time"`
	Upstream string    `json:"upstream"`
	Project  string    `json:"project"`
	// Outcome is the word of the access log: "refused", "rate_limited", "invalid", "switched_off", "unreachable" or "limited". Status is
	// the answer's.
	Outcome string `json:"outcome"`
	Status  int    `json:"status"`
	// Why says it for people: "GitLab said 403 Forbidden", "the version's name is against the rules".
	Why   string `json:"why"`
	Times int64  `json:"times"`
}

// RefusalsOfOthers counts, since the start.
type RefusalsOfOthers struct {
	// Time is the last one's; missing if there was none.
	Time  *time.Time `json:"time,omitempty"`
	Times int64      `json:"times"`
}
