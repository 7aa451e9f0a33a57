package caddymodule

import (
	"io"
	"net/http"
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
	var app *App
	states.Range(func(_, value any) bool {
		app = value.(*state).newest.Load()
		return true
	})
	if err := app.Stop(); err != nil {
		t.Error(err)
	}
	callers.Wait()
}
