package caddymodule

import (
	"sync"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// keptFailures is how many failures are remembered for the status.
const keptFailures = 20

// failures are the last ones, the newest last.
type failures struct {
	// mu guards kept; nothing is waited for under it.
	mu   sync.Mutex
	kept []adminapi.Failure
}

// note remembers a failure. What repeats itself is kept once, so that one trouble doesn't hide the others.
func (f *failures) note(at time.Time, what string, ref upstream.Ref, err error) {
	noted := adminapi.Failure{Time: at.UTC(), What: what, Times: 1}
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
func (f *failures) recent() []adminapi.Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest := make([]adminapi.Failure, 0, len(f.kept))
	for i := range f.kept {
		newest = append(newest, f.kept[len(f.kept)-1-i])
	}
	return newest
}
