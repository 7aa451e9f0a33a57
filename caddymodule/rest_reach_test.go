package caddymodule

import (
	"net/http"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAFileWhoseStorageFailsRestsForAllWhoeverAsked: to the object storage GitLab sends only whom it allows, so its failures say
// something of the file, also where nobody knew of the callers.
func TestAFileWhoseStorageFailsRestsForAllWhoeverAsked(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	e := startEdge(t, gitlab.URL, "retries 0")
	publishOld(gitlab, "bad.bin", someBytes(1000, 1))
	gitlab.Inject(gitlabtest.Fault{Storage: true, Method: http.MethodGet, Status: http.StatusInternalServerError, Times: -1})
	for _, token := range []string{developer, colleague, administrator} {
		if got := e.do(t, call{path: filePath("bad.bin"), token: token}); got.StatusCode != http.StatusBadGateway {
			t.Errorf("a fetch that fails: %s", got.Status)
		}
		awaitNoFlight(t)
	}
	gitlab.ResetRequests()
	got := e.do(t, call{path: filePath("bad.bin"), header: http.Header{"Job-Token": {jobToken}}})
	if got.StatusCode != http.StatusServiceUnavailable || gitlab.CountFetches() != 0 {
		t.Errorf("the next caller: %s after %d GETs", got.Status, gitlab.CountFetches())
	}
}

// TestAFetchThatGoesWellEndsTheCountOfThoseThatFailed: only failures one after another have a file rest.
func TestAFetchThatGoesWellEndsTheCountOfThoseThatFailed(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "retries 0")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	publishOld(gitlab, "known.bin", body)
	e.mustGet(t, "known.bin", developer, body) // and GitLab is known to allow the developer
	for range restAfter {
		gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Status: http.StatusInternalServerError, Times: restAfter - 1})
		for range restAfter - 1 {
			if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != http.StatusBadGateway {
				t.Errorf("a fetch that fails: %s", got.Status)
			}
			awaitNoFlight(t)
		}
		e.mustGet(t, "app.bin", developer, body)
		awaitNoFlight(t)
		if _, err := runningState().store.Load().Purge(t.Context(), cache.Selector{File: "app.bin", Version: "1.0.0", Package: "pkg", Project: "24"}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestADownloadForAnotherOriginIsAnsweredByGitLabItself: GitLab's answers to those have headers of their own, whatever is stored.
func TestADownloadForAnotherOriginIsAnsweredByGitLabItself(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	gitlab.Inject(gitlabtest.Fault{Header: http.Header{"Access-Control-Allow-Origin": {"*"}}, Times: -1})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		gitlab.ResetRequests()
		got := e.do(t, call{method: method, path: filePath("app.bin"), token: developer, header: http.Header{"Origin": {"https://pages.example.com"}}})
		if got.StatusCode != http.StatusOK || got.Header.Get("Access-Control-Allow-Origin") == "" || len(gitlab.Requests()) != 1 {
			t.Errorf("%s: %s, %v after %d requests", method, got.Status, got.Header, len(gitlab.Requests()))
		}
	}
}
