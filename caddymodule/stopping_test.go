package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestDownloadsEndRightWhenTheEdgeLetsGoOfTheirFill stops the edge before Caddy's server, as a reload to another directory
// may. The server goes on serving those who are being served, and GitLab doesn't send the rest of the fill.
func TestDownloadsEndRightWhenTheEdgeLetsGoOfTheirFill(t *testing.T) {
	setForTest(t, &process.closePatience, time.Millisecond)
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
	if gets := gitlab.CountFetches(); gets != 1 {
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
	if err := runningState().newest.Load().Stop(); err != nil {
		t.Error(err)
	}
}

// TestAStreamNeedsNothingOfTheEdge stops the edge under the download of a file that isn't kept.
func TestAStreamNeedsNothingOfTheEdge(t *testing.T) {
	setForTest(t, &process.closePatience, time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	e.reload(t, "cache "+e.directory+" {\n max_object 1MiB\n min_free 0\n}")
	body := someBytes(8<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release, Times: 1})
	first, rest := e.beginDownload(t, "app.bin", developer, 1)
	stopTheEdge(t)
	close(release)
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(body) {
		t.Errorf("the download broke off: %v", err)
	}
	if gets := gitlab.CountFetches(); gets != 1 {
		t.Errorf("%d GETs", gets)
	}
}

// holdingFS holds the making of a part, once.
type holdingFS struct {
	cache.FS
	once          sync.Once
	reached, held chan struct{}
}

func (f *holdingFS) Create(path string) (cache.File, error) {
	f.once.Do(func() {
		close(f.reached)
		<-f.held
	})
	return f.FS.Create(path)
}

// TestWhoComesWhileTheEdgeStopsIsServedByGitLab stops the edge while a fetch begins to be stored, and asks once more after
// that.
func TestWhoComesWhileTheEdgeStopsIsServedByGitLab(t *testing.T) {
	setForTest(t, &process.closePatience, 0)
	fs := &holdingFS{FS: cache.OS(), reached: make(chan struct{}), held: make(chan struct{})}
	setForTest(t, &process.fileSystem, cache.FS(fs))
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1<<20, 1)
	publishOld(gitlab, "app.bin", body)
	var caller, stopping sync.WaitGroup
	caller.Go(func() { e.mustGet(t, "app.bin", developer, body) })
	<-fs.reached
	closing := runningState()
	stopping.Go(func() { stopTheEdge(t) })
	<-closing.ctx.Done()
	close(fs.held)
	caller.Wait()
	stopping.Wait()
	e.mustGet(t, "app.bin", colleague, body)
	if log := e.log(t); strings.Contains(log, `"error"`) {
		t.Errorf("what an admin does is told as trouble: %s", log)
	}
}

// TestQuestionsThatTheEdgesEndCutsAreAskedByTheCallersOwnRequests stops the edge while GitLab lets it wait for a fetch, the
// check of another caller, and the check for a HEAD.
func TestQuestionsThatTheEdgesEndCutsAreAskedByTheCallersOwnRequests(t *testing.T) {
	setForTest(t, &process.closePatience, 0)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1<<20, 1)
	for _, file := range []string{"cold.bin", "stored.bin", "described.bin"} {
		publishOld(gitlab, file, body)
	}
	e.mustGet(t, "stored.bin", developer, body)
	gitlab.ResetRequests()
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "cold.bin", Hang: true})
	gitlab.Inject(gitlabtest.Fault{Question: true, PathContains: "stored.bin", Hang: true})
	gitlab.Inject(gitlabtest.Fault{Question: true, PathContains: "described.bin", Hang: true})
	var callers sync.WaitGroup
	callers.Go(func() { e.mustGet(t, "cold.bin", developer, body) })
	callers.Go(func() { e.mustGet(t, "stored.bin", colleague, body) })
	callers.Go(func() {
		got := e.do(t, call{method: http.MethodHead, path: filePath("described.bin"), token: developer})
		if got.StatusCode != http.StatusOK || got.ContentLength != int64(len(body)) {
			t.Errorf("HEAD: %s, %d bytes", got.Status, got.ContentLength)
		}
	})
	await(t, func() bool { return gitlab.CountFetches() == 1 && gitlab.CountQuestions() == 2 })
	stopTheEdge(t)
	callers.Wait()
}

// TestNobodyWaitsForAFetchThatTheStoppingEdgeDoesNotBegin has the edge begin to stop between a caller's finding that the file
// must be fetched and the fetch.
func TestNobodyWaitsForAFetchThatTheStoppingEdgeDoesNotBegin(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	stopping := runningState()
	stopping.workMu.Lock()
	var caller sync.WaitGroup
	caller.Go(func() { e.mustGet(t, "app.bin", developer, body) })
	var begun *flight
	await(t, func() bool {
		stopping.flights.mu.Lock()
		defer stopping.flights.mu.Unlock()
		for _, fl := range stopping.flights.byKey {
			begun = fl
		}
		return begun != nil
	})
	stopping.closing = true
	stopping.workMu.Unlock()
	caller.Wait()
	if !begun.isHeaded() || !errors.Is(begun.err, errNotStored) {
		t.Errorf("who has found the fetch waits for ever, or hears of %v", begun.err)
	}
}
