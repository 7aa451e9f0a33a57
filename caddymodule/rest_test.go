package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAFileWhoseFetchesFailRestsAndNoOtherDoes: its fetches break off before a byte of it, or aren't answered.
func TestAFileWhoseFetchesFailRestsAndNoOtherDoes(t *testing.T) {
	for name, fault := range map[string]gitlabtest.Fault{
		"a body that breaks off": {CutAfter: -1}, "an error": {Status: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "retries 0")
			body := someBytes(1000, 1)
			publishOld(gitlab, "bad.bin", body)
			publishOld(gitlab, "good.bin", body)
			publishOld(gitlab, "kept.bin", body)
			e.mustGet(t, "kept.bin", developer, body) // and GitLab is known to allow the developer
			fault.Method, fault.PathContains, fault.Times = http.MethodGet, "bad.bin", -1
			gitlab.Inject(fault)
			for range restAfter {
				if got := e.do(t, call{path: filePath("bad.bin"), token: developer}); got.StatusCode < http.StatusInternalServerError {
					t.Errorf("a fetch that fails: %s", got.Status)
				}
				awaitNoFlight(t)
			}
			gitlab.ClearFaults()
			gitlab.ResetRequests()
			for _, token := range []string{developer, colleague} {
				got := e.do(t, call{path: filePath("bad.bin"), token: token})
				if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || gitlab.CountFetches() != 0 {
					t.Errorf("while it rests: %s, %v, %d fetches", got.Status, got.Header, gitlab.CountFetches())
				}
			}
			if got := e.do(t, call{path: filePath("bad.bin"), token: outsider}); got.StatusCode != http.StatusNotFound {
				t.Errorf("a stranger, who hears GitLab's own word: %s", got.Status)
			}
			e.mustGet(t, "good.bin", developer, body)
			e.mustGet(t, "kept.bin", colleague, body)
			putForward(restFor)
			e.mustGet(t, "bad.bin", developer, body)
		})
	}
}

// TestAStrangersRequestRestsNoFileOfOthers has a front before GitLab that hangs up on a caller whose headers it dislikes.
func TestAStrangersRequestRestsNoFileOfOthers(t *testing.T) {
	gitlab := newGitLab(t)
	origin, err := url.Parse(gitlab.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(origin)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	e := startEdge(t, front.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	for range 2 * restAfter {
		got := e.do(t, call{path: filePath("app.bin"), header: http.Header{"Cookie": {"a=<script>"}}})
		if got.StatusCode < http.StatusInternalServerError {
			t.Errorf("the stranger: %s", got.Status)
		}
	}
	e.mustGet(t, "app.bin", developer, body)
}

func TestARestIsOfOneCallerUntilGitLabHasAllowedThem(t *testing.T) {
	rests, now := newRests(), time.Now()
	stranger := restKey{caller: [32]byte{1}}
	for range restAfter {
		rests.note(stranger, fetchFailed, now)
	}
	if rests.of(stranger, now) == nil || rests.of(restKey{caller: [32]byte{2}}, now) != nil {
		t.Error("a stranger's failures count for others, or not for the stranger")
	}
	for range restAfter {
		rests.note(stranger.forAll(), fetchFailed, now)
	}
	if rests.of(restKey{caller: [32]byte{2}}, now) == nil {
		t.Error("failures that count for all don't")
	}
	rests.note(restKey{caller: [32]byte{2}}, fetchWentWell, now)
	if rests.of(restKey{caller: [32]byte{2}}, now) == nil {
		t.Error("a no to one caller ends the rest for all")
	}
}
