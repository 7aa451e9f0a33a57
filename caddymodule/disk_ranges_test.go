package caddymodule

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestWhereTheDiskBreaksSeveralRangesBringWhatTheyName has the disk fail while the first of several ranges is waited for: each of
// them comes from GitLab, from a place of its own, whatever came before.
func TestWhereTheDiskBreaksSeveralRangesBringWhatTheyName(t *testing.T) {
	for asked, parts := range map[string][][2]int{
		"bytes=3000000-3000099,10-19,3500000-3500009": {{3000000, 3000100}, {10, 20}, {3500000, 3500010}},
		"bytes=3000000-3000099,3000100-3000199,0-4":   {{3000000, 3000100}, {3000100, 3000200}, {0, 5}},
		"bytes=3000000-3000099,3000050-3000149":       {{3000000, 3000100}, {3000050, 3000150}},
		"bytes=-100,0-9":                              {{-100, 0}, {0, 10}},
		"bytes=3000000-3000099":                       {{3000000, 3000100}},
	} {
		t.Run(asked, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
			body := someBytes(4<<20, 1)
			publishOld(gitlab, "app.bin", body)
			release := make(chan struct{})
			defer close(release)
			gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release})
			_, _ = e.beginDownload(t, "app.bin", developer, 1)
			ends := make(chan answer, 1)
			go func() { // ends with the fill
				ends <- e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {asked}}})
			}()
			await(t, func() bool { return following() == 1 })
			flights := &runningState().flights
			flights.mu.Lock()
			for _, fl := range flights.byKey {
				fl.fill.Abort(fmt.Errorf("%w: as the test wants it", cache.ErrDisk))
			}
			flights.mu.Unlock()
			expectParts(t, asked, <-ends, body, parts)
		})
	}
}
