package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestASiteThatTrustsAWrongAuthorityStopsNoOther has two sites of one GitLab and one directory, one of which can't connect.
func TestASiteThatTrustsAWrongAuthorityStopsNoOther(t *testing.T) {
	setForTest(t, &process.breakerPause, time.Hour)
	gitlab := newGitLab(t, gitlabtest.WithTLS())
	cacheLines := fmt.Sprintf("cache %s {\n min_free 0\n}", t.TempDir())
	site := fmt.Sprintf("handle_path /bad/* {\n gitlab_packages %s {\n %s\n }\n}\n", gitlab.URL, cacheLines)
	e := startEdge(t, gitlab.URL, cacheLines+"\n"+trusting(t, gitlab.CA), around{site: site})
	body := someBytes(1000, 1)
	for i := range 8 {
		file := numbered(i)
		publishOld(gitlab, file, body)
		// Several of each file, so that it rests on the bad way.
		for range restAfter + 1 {
			if got := e.do(t, call{path: "/bad" + filePath(file), token: developer}); got.StatusCode < 500 {
				t.Fatalf("the bad site: %s", got.Status)
			}
		}
		if got := e.mustGet(t, file, developer, body); strings.Contains(got.cacheStatus(), "offline") {
			t.Errorf("the good site: %q", got.cacheStatus())
		}
	}
	putForward(2 * time.Minute)
	if got := e.do(t, call{path: filePath(numbered(0)), token: colleague}); got.StatusCode != http.StatusOK {
		t.Errorf("a check of the good site: %s", got.Status)
	}
}
