package caddymodule

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// freezeClock stands the edge's clock still, so that how long a test takes doesn't matter; putForward still moves it.
func freezeClock(t *testing.T) {
	t.Helper()
	now := time.Now()
	setForTest(t, &process.clock, func() time.Time { return now.Add(time.Duration(testClock.Load())) })
}

// fetchesOf counts the requests to GitLab for the body of a file.
func fetchesOf(gitlab *gitlabtest.Server, file string) (fetches int) {
	for _, request := range gitlab.Requests() {
		if !request.Storage && request.Method == http.MethodGet && !request.IsQuestion() && strings.HasSuffix(request.Path, file) {
			fetches++
		}
	}
	return fetches
}

// TestABadFileCostsFewFetchesAndNobodyElse has ten callers ask for a file that can't be had, all the time.
func TestABadFileCostsFewFetchesAndNobodyElse(t *testing.T) {
	for name, fault := range map[string]gitlabtest.Fault{
		"502":   {Status: http.StatusBadGateway},
		"504":   {Status: http.StatusGatewayTimeout},
		"reset": {Reset: true},
	} {
		t.Run(name, func(t *testing.T) {
			freezeClock(t)
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			e := startEdge(t, gitlab.URL, "retries 0\nmax_age 1h\ngrant_ttl 1h\noffline_grace 2h")
			body := someBytes(1000, 1)
			publishOld(gitlab, "bad.bin", body)
			publishOld(gitlab, "warm.bin", body[1:])
			e.mustGet(t, "warm.bin", developer, body[1:]) // so that GitLab is known to allow the developer
			before := series(t)
			fault.Method, fault.PathContains, fault.Times = http.MethodGet, "bad.bin", -1
			gitlab.Inject(fault)
			var stop atomic.Bool
			var asking sync.WaitGroup
			for range 10 {
				asking.Go(func() { // ends when it is told to
					for !stop.Load() {
						response, err := e.begin(call{path: filePath("bad.bin"), token: developer})
						if err != nil {
							continue
						}
						if got, _ := io.ReadAll(response.Body); bytes.Equal(got, body) {
							t.Error("the bad file came well")
						}
						if response.StatusCode < 500 || strings.Contains(response.Header.Get("Cache-Status"), "offline") {
							t.Errorf("the bad file: %s, %q", response.Status, response.Header.Get("Cache-Status"))
						}
						_ = response.Body.Close()
					}
				})
			}
			for i := range 20 {
				publishOld(gitlab, numbered(i), body)
				e.mustGet(t, numbered(i), developer, body)
			}
			if got := e.put(t, filePath("upload.bin"), body); got.StatusCode != http.StatusCreated {
				t.Errorf("an upload: %s", got.Status)
			}
			await(t, func() bool { return fetchesOf(gitlab, "bad.bin") >= restAfter })
			stop.Store(true)
			asking.Wait()
			if got := e.do(t, call{path: filePath("bad.bin"), token: developer}); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "5" {
				t.Errorf("a file that rests: %s, Retry-After %q", got.Status, got.Header.Get("Retry-After"))
			}
			if n := since(t, before)["fetch_duration_seconds unreachable"]; n != restAfter {
				t.Errorf("the bad file was fetched %v times", n)
			}
			// Go sends a request again on each kept connection that is reset, and so GitLab may see more of those.
			if n := fetchesOf(gitlab, "bad.bin"); n != restAfter && !fault.Reset {
				t.Errorf("GitLab was asked for the bad file %d times", n)
			}
			if isDown(upstream.ServerGitLab) {
				t.Error("GitLab is taken for dead because of one file")
			}
			gitlab.ClearFaults()
			awaitNoFlight(t)
			putForward(restFor)
			e.mustGet(t, "bad.bin", developer, body)
		})
	}
}

// TestAStoredFileWhoseNewerVersionIsBadIsNotServed replaces a stored file by one that can't be fetched.
func TestAStoredFileWhoseNewerVersionIsBadIsNotServed(t *testing.T) {
	freezeClock(t)
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "retries 0")
	older, newer := someBytes(1000, 1), someBytes(1000, 2)
	publishOld(gitlab, "app.bin", older)
	e.mustGet(t, "app.bin", developer, older)
	gitlab.Publish(project, "pkg", "1.0.0", "app.bin", newer)
	putForward(2 * time.Minute)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Status: http.StatusBadGateway, Times: -1})
	before := fetchesOf(gitlab, "app.bin")
	for i := range 10 {
		got := e.do(t, call{path: filePath("app.bin"), token: developer})
		if got.StatusCode < 500 || bytes.Contains(got.body, older[:16]) || strings.Contains(got.cacheStatus(), "offline") {
			t.Errorf("download %d: %s, %q", i, got.Status, got.cacheStatus())
		}
	}
	if n := fetchesOf(gitlab, "app.bin") - before; n != restAfter {
		t.Errorf("the newer file was fetched %d times", n)
	}
	gitlab.ClearFaults()
	awaitNoFlight(t)
	putForward(restFor)
	e.mustGet(t, "app.bin", developer, newer)
}

// TestABadProjectStopsNoOther has all files of one project fail.
func TestABadProjectStopsNoOther(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "retries 0")
	body := someBytes(1000, 1)
	publishOld(gitlab, "warm.bin", body)
	e.mustGet(t, "warm.bin", developer, body)
	awaitProbeAnswered(t)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "/25/", Status: http.StatusBadGateway, Times: -1})
	gitlab.Inject(gitlabtest.Fault{Question: true, PathContains: "/25/", Status: http.StatusBadGateway, Times: -1})
	for i := range 20 {
		bad := strings.Replace(filePath(numbered(i)), "/24/", "/25/", 1)
		if got := e.do(t, call{path: bad, token: developer}); got.StatusCode != http.StatusBadGateway {
			t.Errorf("the bad project: %s", got.Status)
		}
		publishOld(gitlab, numbered(i), body)
		if got := e.mustGet(t, numbered(i), developer, body); strings.Contains(got.cacheStatus(), "offline") {
			t.Errorf("the good project: %q", got.cacheStatus())
		}
	}
	if isDown(upstream.ServerGitLab) {
		t.Error("GitLab is taken for dead because of one project")
	}
}
