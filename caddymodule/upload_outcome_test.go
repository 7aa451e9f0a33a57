package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestOnlyAnUploadThatGitLabTookCountsAsPublished counts uploads by what GitLab says to them.
func TestOnlyAnUploadThatGitLabTookCountsAsPublished(t *testing.T) {
	for status, want := range map[int]outcome{
		0: outcomePublished, 400: outcomeRefused, 401: outcomeRefused, 403: outcomeRefused, 413: outcomeRefused,
		429: outcomeRateLimited, 500: outcomeForwarded, 502: outcomeForwarded,
	} {
		gitlab := newGitLab(t)
		e := startEdge(t, gitlab.URL, "")
		if status != 0 {
			gitlab.Inject(gitlabtest.Fault{Method: http.MethodPut, Status: status})
		}
		before := series(t)
		e.do(t, call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: strings.NewReader("x")})
		grown := map[string]float64{"requests_total PUT published": 0, "requests_total PUT refused": 0}
		grown["requests_total PUT "+string(want)] = 1
		expectGrown(t, before, grown)
		if t.Failed() {
			t.Fatalf("status %d", status)
		}
	}
}
