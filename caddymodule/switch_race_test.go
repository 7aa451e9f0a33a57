package caddymodule

import (
	"net/http"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestASwitchHoldsForDownloadsThatWaitForGitLab switches a project off while callers wait for the head of a fetch, for the
// answer to a question, and for that to a forwarded download.
func TestASwitchHoldsForDownloadsThatWaitForGitLab(t *testing.T) {
	body := someBytes(1000, 1)
	for name, test := range map[string]struct {
		fault gitlabtest.Fault
		call  call
	}{
		"a fetch":              {gitlabtest.Fault{Method: http.MethodGet}, call{path: filePath("cold.bin"), token: colleague}},
		"a question":           {gitlabtest.Fault{Question: true}, call{path: filePath("stored.bin"), token: colleague}},
		"a question by a HEAD": {gitlabtest.Fault{Question: true}, call{method: http.MethodHead, path: filePath("cold.bin"), token: colleague}},
		"a forwarded download": {gitlabtest.Fault{Method: http.MethodGet}, call{
			path: filePath("stored.bin"), token: colleague, header: http.Header{"Origin": {"https://elsewhere.example"}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			process.lastSwitches.Store(nil)
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "", withAdmin)
			publishOld(gitlab, "stored.bin", body)
			publishOld(gitlab, "cold.bin", body)
			e.mustGet(t, "stored.bin", developer, body)
			awaitNoFlight(t)
			release, reached := make(chan struct{}), make(chan struct{})
			test.fault.Hang, test.fault.Release, test.fault.Reached = true, release, func() { close(reached) }
			gitlab.Inject(test.fault)
			got := make(chan answer, 1)
			go func() { got <- e.do(t, test.call) }() // ends with the release
			<-reached
			e.expectCLI(t, 0, nil, "disable", "24")
			close(release)
			if got := <-got; got.StatusCode != http.StatusNotFound {
				t.Errorf("%s, %q", got.Status, got.cacheStatus())
			}
			e.expectCLI(t, 0, nil, "reset", "24")
		})
	}
}
