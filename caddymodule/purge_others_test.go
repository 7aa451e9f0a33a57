package caddymodule

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func TestAPurgeOfOneVersionLeavesOtherFilesTheirLifeInAnOutage(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "retries 0", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	awaitNoFlight(t)
	gitlab.SetDown(true)
	putForward(5 * time.Minute)
	e.mustGet(t, "app.bin", developer, []byte("x"))
	e.expectCLI(t, 0, []string{"0 files are removed"}, "purge", "25", "other", "9.9.9")
	e.mustGet(t, "app.bin", developer, []byte("x"))
}

func TestAPurgeOfOneVersionLeavesOtherFetchesToBeFollowedAndKept(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	body := someBytes(4<<20, 1)
	publishOld(gitlab, "large.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1_000_000, Release: release, Times: 1})
	response, err := e.begin(call{path: filePath("large.bin"), token: developer})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	e.expectCLI(t, 0, []string{"0 files are removed"}, "purge", "25", "other", "9.9.9")
	follower, err := e.begin(call{path: filePath("large.bin"), token: colleague})
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Body.Close()
	close(release)
	for _, r := range []*http.Response{response, follower} {
		if n, err := io.Copy(io.Discard, r.Body); err != nil || n != int64(len(body)) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	awaitNoFlight(t)
	if got := e.mustGet(t, "large.bin", developer, body); gitlab.CountFetches() != 1 {
		t.Errorf("GitLab was asked for %d bodies; the last is %s", gitlab.CountFetches(), got.cacheStatus())
	}
}

func TestAPurgeOfAVersionIsNotOutlivedByAFileOnItsWay(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	body := someBytes(2_000_000, 1)
	publishOld(gitlab, "large.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1_000_000, Release: release, Times: 1})
	first, err := e.begin(call{path: filePath("large.bin"), token: developer})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	e.expectCLI(t, 0, []string{"0 files are removed"}, "purge", "24", "pkg", "1.0.0")
	close(release)
	if digest, err := digestOfRest(nil, first.Body); err != nil || digest != hexSHA256(body) {
		t.Errorf("the purge disturbed a download: %v", err)
	}
	awaitNoFlight(t)
	if got := e.mustGet(t, "large.bin", developer, body); !strings.Contains(got.cacheStatus(), "uri-miss") {
		t.Errorf("what was on its way was kept: %s", got.cacheStatus())
	}
}
