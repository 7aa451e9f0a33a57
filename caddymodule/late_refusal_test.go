package caddymodule

import (
	"bytes"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// waitingForHeads counts the callers who wait for GitLab's answer to somebody's fetch.
func waitingForHeads(t *testing.T) int {
	t.Helper()
	var stacks strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(stacks.String(), "(*download).awaitHead(")
}

// TestAGrantThatEndsWhileAFetchIsWaitedForCountsNoMore: a caller who was allowed waits for the answer to somebody else's
// fetch, with a grant or after a check. What ends the grant meanwhile counts: a no, an admin, time.
func TestAGrantThatEndsWhileAFetchIsWaitedForCountsNoMore(t *testing.T) {
	body := someBytes(1000, 1)
	for _, test := range []struct {
		name    string
		granted bool // before the file was asked for, by another file of the project
		ended   func(*testing.T, *edge)
	}{
		{"a grant, then a no to another file", true, func(t *testing.T, e *edge) {
			putForward(25 * time.Second) // the other file isn't fresh any more
			if got := e.do(t, call{path: filePath("third.bin"), token: "leaver"}); got.StatusCode != http.StatusUnauthorized {
				t.Fatal(got.Status)
			}
		}},
		{"a grant that an admin has forgotten", true, func(t *testing.T, e *edge) {
			e.expectCLI(t, 0, []string{"forgotten"}, "purge", "--grants", "--all")
		}},
		{"a grant that grows old", true, func(*testing.T, *edge) { putForward(2 * time.Minute) }},
		{"a check, then a no to another file", false, func(t *testing.T, e *edge) {
			if got := e.do(t, call{path: filePath("third.bin"), token: "leaver"}); got.StatusCode != http.StatusUnauthorized {
				t.Fatal(got.Status)
			}
		}},
		{"a check that an admin has forgotten", false, func(t *testing.T, e *edge) {
			e.expectCLI(t, 0, []string{"forgotten"}, "purge", "--grants", "--all")
		}},
		{"a check that grows old", false, func(*testing.T, *edge) { putForward(2 * time.Minute) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			release, begun := make(chan struct{}), make(chan struct{}, 1)
			var gone atomic.Bool
			gitlab := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Private-Token") == "leaver" && gone.Load() {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				if r.URL.Path == filePath("cold.bin") && !isQuestion(r) {
					begun <- struct{}{}
					<-release
				}
				w.Header().Set("Content-Disposition", "attachment")
				http.ServeContent(w, r, "", time.Now().Add(-time.Hour), bytes.NewReader(body))
			})
			e := startEdge(t, gitlab, "max_age 10m", withAdmin)
			if test.granted {
				e.mustGet(t, "other.bin", "leaver", body)
				awaitNoFlight(t)
			}
			colleague, leaver := make(chan answer, 1), make(chan answer, 1)
			go func() { colleague <- e.do(t, call{path: filePath("cold.bin"), token: "colleague"}) }()
			<-begun
			go func() { leaver <- e.do(t, call{path: filePath("cold.bin"), token: "leaver"}) }()
			await(t, func() bool { return waitingForHeads(t) == 2 })
			gone.Store(true)
			test.ended(t, e)
			close(release)
			if got := <-leaver; got.StatusCode != http.StatusUnauthorized {
				t.Errorf("who isn't allowed any more got %s, %d bytes", got.Status, len(got.body))
			}
			if got := <-colleague; got.StatusCode != http.StatusOK || !bytes.Equal(got.body, body) {
				t.Errorf("the colleague got %s, %d bytes", got.Status, len(got.body))
			}
		})
	}
}
