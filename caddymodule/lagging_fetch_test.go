package caddymodule

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// lag is a GitLab behind which a replica answers one caller from before a publish.
type lag struct {
	*edge
	gitlab, replica *gitlabtest.Server
	// lags says that the replica answers who has the token late.
	lags         atomic.Bool
	older, newer []byte
}

const late = administrator

// newLag publishes app.bin through an edge, over one that everybody may have had.
func newLag(t *testing.T, size int) *lag {
	t.Helper()
	w := &lag{gitlab: newGitLab(t), replica: newGitLab(t), older: someBytes(size, 1), newer: someBytes(size, 2)}
	at := time.Now().Add(-time.Hour)
	for _, server := range []*gitlabtest.Server{w.gitlab, w.replica} {
		server.SetChecksums(true)
		server.SetClock(func() time.Time { return at })
		server.Publish(project, "pkg", "1.0.0", "app.bin", w.older)
		server.Publish(project, "pkg", "1.0.0", "small.bin", w.older[:1000])
		server.SetClock(time.Now)
	}
	w.edge = startEdge(t, frontOf(t, w.gitlab, func(out http.ResponseWriter, r *http.Request) bool {
		if !w.lags.Load() || r.Header.Get("Private-Token") != late {
			return false
		}
		request, err := http.NewRequestWithContext(r.Context(), r.Method, w.replica.URL+r.URL.Path, nil) //nolint:gosec // a stand-in
		if err != nil {
			t.Error(err)
			return false
		}
		request.Header = r.Header.Clone()
		response, err := testClient.Do(request) //nolint:gosec // a stand-in
		if err != nil {
			return false
		}
		defer response.Body.Close()
		maps.Copy(out.Header(), response.Header)
		out.WriteHeader(response.StatusCode)
		_, _ = io.Copy(struct{ io.Writer }{flushing{out}}, response.Body)
		return true
	}), "max_age 10m\ngrant_ttl 10m\noffline_grace 1h")
	for _, token := range []string{developer, colleague} {
		w.mustGet(t, "small.bin", token, w.older[:1000])
	}
	w.mustGet(t, "app.bin", developer, w.older)
	awaitNoFlight(t)
	if got := w.put(t, filePath("app.bin"), w.newer); got.StatusCode != http.StatusCreated {
		t.Fatal(got.Status)
	}
	return w
}

// flushing sends each piece on at once.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	_ = http.NewResponseController(f.ResponseWriter).Flush()
	return n, err
}

// TestAReplicaThatLagsEndsNobodysOfflineLife has a replica name the older file to one caller, when the newer one is stored and
// confirmed.
func TestAReplicaThatLagsEndsNobodysOfflineLife(t *testing.T) {
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		t.Run(method, func(t *testing.T) {
			w := newLag(t, 50_000)
			w.mustGet(t, "app.bin", developer, w.newer)
			awaitNoFlight(t)
			putForward(time.Second)
			w.lags.Store(true)
			got := w.do(t, call{method: method, path: filePath("app.bin"), token: late})
			if got.StatusCode != http.StatusOK { // with either file: theirs is GitLab's word, and the newer one is here
				t.Fatalf("who the replica answers: %s, %q", got.Status, got.cacheStatus())
			}
			awaitNoFlight(t)
			w.gitlab.SetDown(true)
			if got := w.do(t, call{path: filePath("app.bin"), token: developer}); !bytes.Equal(got.body, w.newer) {
				t.Errorf("who has a yes, in an outage: %s, %q", got.Status, got.cacheStatus())
			}
		})
	}
}

// TestNobodyJoinsAFetchFromAReplicaThatLagsUnasked has the fetch of the older file under way, when others come who hold a yes.
func TestNobodyJoinsAFetchFromAReplicaThatLagsUnasked(t *testing.T) {
	w := newLag(t, 1<<20)
	if _, err := runningState().store.Load().Purge(t.Context(), cache.Selector{}); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	w.replica.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 500_000, Release: release})
	w.lags.Store(true)
	first, rest := w.beginDownload(t, "app.bin", late, 1)
	ends := make(chan answer, 1)
	go func() { ends <- w.do(t, call{path: filePath("app.bin"), token: colleague}) }() // ends with the file, or with the release
	await(t, func() bool { return len(ends) == 1 || following() > 0 })
	close(release)
	if got := <-ends; !bytes.Equal(got.body, w.newer) {
		t.Errorf("who GitLab names the newer file to gets %s, %q", got.Status, got.cacheStatus())
	}
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(w.older) {
		t.Errorf("who the replica answers: %v", err)
	}
	if got := strings.Count(w.log(t), `"level":"error"`); got != 0 {
		t.Errorf("%d errors are told", got)
	}
}
