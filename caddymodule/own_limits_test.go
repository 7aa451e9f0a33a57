package caddymodule

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestWhoHoldsAllConnectionsOpensNoBreakerAndReleasesNoBytes has callers whom GitLab allows hold all connections that the
// edge may have, by downloads that they don't read. That is a limit of the edge's own, and no outage.
func TestWhoHoldsAllConnectionsOpensNoBreakerAndReleasesNoBytes(t *testing.T) {
	setForTest(t, &process.checkTimeout, 300*time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "grant_ttl 1m\n transport http {\n max_conns_per_host 2\n }")
	body := someBytes(300_000, 1)
	publishOld(gitlab, "app.bin", body)
	publishOld(gitlab, "held.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	e.mustGet(t, "app.bin", colleague, body)
	awaitProbeAnswered(t)

	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "held.bin", StallAfter: 1000, Release: release, Times: -1})
	for range 2 {
		response, err := e.begin(call{path: filePath("held.bin"), token: developer, header: http.Header{"Origin": {"https://pages.example.com"}}})
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		_, _ = io.ReadFull(response.Body, make([]byte, 1000))
	}
	putForward(2 * time.Minute) // the grants' fresh life is over
	for range 3 {
		got := e.do(t, call{path: filePath("app.bin"), token: colleague})
		if got.StatusCode == http.StatusOK || strings.Contains(got.cacheStatus(), "offline") {
			t.Errorf("served unasked: %s, %q", got.Status, got.cacheStatus())
		}
	}
	time.Sleep(4 * time.Second)
	for _, breakers := range runningState().allBreakers() {
		if down := breakers.Down(); len(down) > 0 {
			t.Errorf("%q isn't asked any more", down)
		}
	}
	close(release)
}
