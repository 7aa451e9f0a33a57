package caddymodule

import (
	"sync"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// keptFailures is how many failures are remembered for the status.
const keptFailures = 20

// failure is something that went wrong, as the status tells it. Its texts hold no credential and no URL of object
// storage, like those of the log.
type failure struct {
	Time  time.Time `json:"time"`
	What  string    `json:"what"`
	File  string    `json:"file,omitempty"`
	Error string    `json:"error,omitempty"`
	// Times is how often it happened in a row; Time is that of the last.
	Times int `json:"times"`
}

// processFailures are the last ones of this process, of any config.
var processFailures failures

// failures are the last ones, the newest last.
type failures struct {
	// mu guards kept; nothing is waited for under it.
	mu   sync.Mutex
	kept []failure
}

// note remembers a failure. What repeats itself is kept once, so that one trouble doesn't hide the others.
func (f *failures) note(at time.Time, what string, ref upstream.Ref, err error) {
	noted := failure{Time: at.UTC(), What: what, Times: 1}
	if ref != (upstream.Ref{}) {
		noted.File = ref.Project + "/" + ref.Package + "/" + ref.Version + "/" + ref.File
	}
	if err != nil {
		noted.Error = err.Error()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if last := len(f.kept) - 1; last >= 0 && f.kept[last].What == noted.What && f.kept[last].Error == noted.Error {
		noted.Times = f.kept[last].Times + 1
		f.kept = f.kept[:last]
	}
	if len(f.kept) == keptFailures {
		f.kept = append(f.kept[:0], f.kept[1:]...)
	}
	f.kept = append(f.kept, noted)
}

// recent returns what is remembered, the newest first.
func (f *failures) recent() []failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest := make([]failure, 0, len(f.kept))
	for i := range f.kept {
		newest = append(newest, f.kept[len(f.kept)-1-i])
	}
	return newest
}
