package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestWhoMayBeServedOfflineWaitsNoLongerThanTheProbe lets GitLab hang for longer than anybody in this test waits. The time-outs
// of a question are a minute, so that only the probe can have ended the wait. A slow answer counts for those who wait for it.
func TestWhoMayBeServedOfflineWaitsNoLongerThanTheProbe(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 0\ngrant_ttl 0\noffline_grace 1h")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	awaitProbeAnswered(t)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Hang: true, Release: release, Times: -1})
	slow := make(chan answer, 1)
	go func() { slow <- e.do(t, call{path: filePath("app.bin"), token: colleague}) }() // ends with the release
	await(t, func() bool { return gitlab.CountQuestions() > 0 })
	got := e.mustGet(t, "app.bin", developer, body)
	if !strings.Contains(got.cacheStatus(), "offline") || !isDown(upstream.ServerGitLab) {
		t.Errorf("whom GitLab allowed lately: %q", got.cacheStatus())
	}
	select {
	case got := <-slow:
		t.Errorf("who has nothing to be served meanwhile doesn't wait for a slow GitLab: %s", got.Status)
	default:
	}
	close(release)
	if got := <-slow; got.StatusCode != http.StatusOK {
		t.Errorf("who waited for it: %s", got.Status)
	}
}
