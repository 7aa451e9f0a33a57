package caddymodule

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestDownloadsEndRightWhenTheEdgeLetsGoOfTheirFill stops the edge before Caddy's server, as a reload to another directory
// may. The server goes on serving those who are being served, and GitLab doesn't send the rest of the fill.
func TestDownloadsEndRightWhenTheEdgeLetsGoOfTheirFill(t *testing.T) {
	setForTest(t, &closePatience, time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(8<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	defer close(release)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release, Times: 1})
	var callers sync.WaitGroup
	for _, test := range []struct{ token, asked, want string }{
		{developer, "", hexSHA256(body)},
		{colleague, "", hexSHA256(body)},
		{colleague, "bytes=1000-5999999", hexSHA256(body[1000:6000000])},
	} {
		header := http.Header{}
		if test.asked != "" {
			header.Set("Range", test.asked)
		}
		response, err := e.begin(call{path: filePath("app.bin"), token: test.token, header: header})
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		first := make([]byte, 1)
		if _, err := io.ReadFull(response.Body, first); err != nil {
			t.Fatal(err)
		}
		callers.Go(func() {
			if digest, err := digestOfRest(first, response.Body); err != nil || digest != test.want {
				t.Errorf("%s, %q: %v", test.token, test.asked, err)
			}
		})
	}
	if gets := gitlab.Count(http.MethodGet); gets != 1 {
		t.Fatalf("%d GETs; the downloads were to follow one fill", gets)
	}
	stopTheEdge(t)
	callers.Wait()
	if log := e.log(t); strings.Contains(log, `"error"`) || !strings.Contains(log, "the edge stops while a file is fetched") {
		t.Errorf("what an admin does is told as trouble, or not at all: %s", log)
	}
}

// stopTheEdge stops the running edge, and leaves Caddy's server.
func stopTheEdge(t *testing.T) {
	t.Helper()
	var app *App
	states.Range(func(_, value any) bool {
		app = value.(*state).newest.Load()
		return true
	})
	if err := app.Stop(); err != nil {
		t.Error(err)
	}
}

// TestAStreamNeedsNothingOfTheEdge stops the edge under the download of a file that isn't kept.
func TestAStreamNeedsNothingOfTheEdge(t *testing.T) {
	setForTest(t, &closePatience, time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	e.reload(t, "cache "+e.directory+" {\n max_object 1MiB\n min_free 0\n}")
	body := someBytes(8<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release, Times: 1})
	response, err := e.begin(call{path: filePath("app.bin"), token: developer})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(response.Body, first); err != nil {
		t.Fatal(err)
	}
	stopTheEdge(t)
	close(release)
	if digest, err := digestOfRest(first, response.Body); err != nil || digest != hexSHA256(body) {
		t.Errorf("the download broke off: %v", err)
	}
	if gets := gitlab.Count(http.MethodGet); gets != 1 {
		t.Errorf("%d GETs", gets)
	}
}
