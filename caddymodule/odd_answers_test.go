package caddymodule

import (
	"net/http"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAnAnswerWithoutAFileIsNoEmptySuccess has GitLab, or something in front of it, answer downloads by successes that aren't
// one. A tool that only looks at the status, such as curl --fail, would be content with an empty file.
func TestAnAnswerWithoutAFileIsNoEmptySuccess(t *testing.T) {
	for _, status := range []int{http.StatusNoContent, http.StatusResetContent, http.StatusNotModified, http.StatusPartialContent} {
		gitlab := newGitLab(t)
		e := startEdge(t, gitlab.URL, "")
		body := someBytes(1000, 1)
		publishOld(gitlab, "stored.bin", body)
		publishOld(gitlab, "cold.bin", body[1:])
		e.mustGet(t, "stored.bin", developer, body)
		awaitNoFlight(t)
		putForward(2 * time.Minute)
		gitlab.Inject(gitlabtest.Fault{Status: status, Times: -1})
		for name, c := range map[string]call{
			"stored":    {path: filePath("stored.bin"), token: developer},
			"cold":      {path: filePath("cold.bin"), token: developer},
			"forwarded": {path: filePath("cold.bin"), token: developer, header: http.Header{"Origin": {"https://elsewhere.example"}}},
		} {
			if got := e.do(t, c); got.StatusCode != http.StatusBadGateway {
				t.Errorf("%d, %s: %s, %d bytes", status, name, got.Status, len(got.body))
			}
		}
		// To a condition "not modified" is an answer.
		if status == http.StatusNotModified {
			got := e.do(t, call{path: filePath("stored.bin"), token: developer, header: http.Header{
				"If-None-Match": {`"x"`}, "Origin": {"https://elsewhere.example"},
			}})
			if got.StatusCode != http.StatusNotModified {
				t.Errorf("to a condition: %s", got.Status)
			}
		}
	}
}
