package caddymodule

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAYesFromBeforeAPathPassedOnJoinsNoFetchOfItsNextOwner has an attacker hear a yes while the path is theirs, and ask again
// while the file of its first project comes in by the same name.
func TestAYesFromBeforeAPathPassedOnJoinsNoFetchOfItsNextOwner(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			w := newTakeover(t, m.mode, m.checksums, "")
			w.takeOver()
			if got := w.do(t, call{path: of("group%2Fapp", "secret.bin"), token: attacker}); !bytes.Equal(got.body, w.planted) {
				t.Fatalf("the attacker's own file: %s", got.Status)
			}
			awaitNoFlight(t)
			w.giveBack()
			release, reached := make(chan struct{}), make(chan struct{})
			w.gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 100, Release: release, Reached: func() { close(reached) }})
			honest, theirs := make(chan answer, 1), make(chan answer, 1)
			go func() { honest <- w.do(t, call{path: of("group%2Fapp", "secret.bin"), token: developer}) }() // ends with the release
			<-reached
			await(t, isAFetchHeaded)
			go func() { // ends with the answer, or with the release
				theirs <- w.never(t, "the attacker", call{path: of("group%2Fapp", "secret.bin"), token: attacker}, w.secret)
			}()
			await(t, func() bool { return len(theirs) == 1 || following() == 1 })
			close(release)
			if got := <-theirs; got.StatusCode != http.StatusNotFound {
				t.Errorf("the attacker gets %s, %q", got.Status, got.cacheStatus())
			}
			if got := <-honest; !bytes.Equal(got.body, w.secret) {
				t.Errorf("the developer gets %s", got.Status)
			}
		})
	}
}

// isAFetchHeaded reports whether GitLab has answered a fetch that is under way.
func isAFetchHeaded() bool {
	flights := &runningState().flights
	flights.mu.Lock()
	defer flights.mu.Unlock()
	for _, fl := range flights.byKey {
		if fl.isHeaded() {
			return true
		}
	}
	return false
}

// TestAYesToThePathsNextOwnerJoinsNoFetchOfItsFirst has a path pass on while a file of its first project comes in. GitLab names
// files by nothing but their lengths, which are the same.
func TestAYesToThePathsNextOwnerJoinsNoFetchOfItsFirst(t *testing.T) {
	secret, planted := someBytes(1<<20, 1), someBytes(1<<20, 2)
	var passedOn atomic.Bool
	release := make(chan struct{})
	gitlab := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		owner, body := developer, secret
		if passedOn.Load() {
			owner, body = attacker, planted
		}
		if r.Header.Get("Private-Token") != owner {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Disposition", "attachment")
		if isQuestion(r) {
			w.Header().Set("Content-Range", "bytes 0-0/1048576")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body[:1])
			return
		}
		w.Header().Set("Content-Length", "1048576")
		_, _ = w.Write(body[:300_000])
		_ = http.NewResponseController(w).Flush()
		if owner == developer {
			<-release
		}
		_, _ = w.Write(body[300_000:])
	})
	e := startEdge(t, gitlab, "max_age 1h\ngrant_ttl 1h")
	begin := func(token string) (status string, body io.Reader) {
		response, err := e.begin(call{path: of("group%2Fapp", "app.bin"), token: token})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		return strings.Join(response.Header.Values("Cache-Status"), ", "), response.Body
	}
	_, honest := begin(developer)
	first := make([]byte, 1000)
	if _, err := io.ReadFull(honest, first); err != nil || !bytes.Equal(first, secret[:1000]) {
		t.Fatal(err)
	}
	passedOn.Store(true)
	status, theirs := begin(attacker)
	their := make([]byte, 1000)
	if _, err := io.ReadFull(theirs, their); err != nil || bytes.Equal(their, first) {
		t.Errorf("the path's next owner gets the first one's file: %q, %v", status, err)
	}
	if digest, err := digestOfRest(their, theirs); !t.Failed() && (err != nil || digest != hexSHA256(planted)) {
		t.Errorf("the next owner's own file: %v, %q", err, status)
	}
	close(release)
	if digest, err := digestOfRest(first, honest); err != nil || digest != hexSHA256(secret) {
		t.Errorf("the download that had begun before: %v", err)
	}
}
