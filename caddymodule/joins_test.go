package caddymodule

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestWithoutGrantTTLEveryDownloadIsAskedAboutOnceAndServedFromTheStore: a yes that counts for nothing else counts for the request
// that had it asked.
func TestWithoutGrantTTLEveryDownloadIsAskedAboutOnceAndServedFromTheStore(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "grant_ttl 0\nmax_age 1h\noffline_grace 0")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	for _, token := range []string{developer, developer, colleague} {
		gitlab.ResetRequests()
		got := e.mustGet(t, "app.bin", token, body)
		if gitlab.CountQuestions() != 1 || gitlab.CountFetches() != 0 {
			t.Errorf("%s: %d questions, %d GETs, %q", token, gitlab.CountQuestions(), gitlab.CountFetches(), got.cacheStatus())
		}
	}
}

// TestByIDAYesCoversAFileThatWasStoredLater: a project's id is its own for ever.
func TestByIDAYesCoversAFileThatWasStoredLater(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
	body := someBytes(1000, 1)
	publishOld(gitlab, "known.bin", body)
	publishOld(gitlab, "later.bin", body)
	e.mustGet(t, "known.bin", colleague, body)
	putForward(time.Second)
	e.mustGet(t, "later.bin", developer, body)
	awaitNoFlight(t)
	gitlab.ResetRequests()
	if got := e.mustGet(t, "later.bin", colleague, body); len(gitlab.Requests()) != 0 || !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("GitLab was asked %d times: %q", len(gitlab.Requests()), got.cacheStatus())
	}
}

// TestAFetchOlderThanMaxAgeIsJoinedAfterAQuestion has a fetch under way for longer than GitLab's word about a file counts, and a
// caller who holds a yes.
func TestAFetchOlderThanMaxAgeIsJoinedAfterAQuestion(t *testing.T) {
	for _, test := range []struct {
		age       time.Duration
		questions int
	}{{0, 0}, {2 * time.Minute, 1}} {
		t.Run(test.age.String(), func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "max_age 1m\ngrant_ttl 1h")
			body := someBytes(1<<20, 1)
			publishOld(gitlab, "app.bin", body)
			publishOld(gitlab, "known.bin", body[:1000])
			e.mustGet(t, "known.bin", colleague, body[:1000])
			release := make(chan struct{})
			gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 500_000, Release: release})
			first, rest := e.beginDownload(t, "app.bin", developer, 1)
			putForward(test.age)
			gitlab.ResetRequests()
			joined, theirs := e.beginDownload(t, "app.bin", colleague, 1)
			if gitlab.CountQuestions() != test.questions || gitlab.CountFetches() != 0 {
				t.Errorf("%v old: %d questions, %d GETs", test.age, gitlab.CountQuestions(), gitlab.CountFetches())
			}
			close(release)
			for who, digest := range map[string]func() (string, error){
				"who leads":   func() (string, error) { return digestOfRest(first, rest) },
				"who follows": func() (string, error) { return digestOfRest(joined, theirs) },
			} {
				if got, err := digest(); err != nil || got != hexSHA256(body) {
					t.Errorf("%s: %v", who, err)
				}
			}
		})
	}
}

// TestANewerFileThatCannotBeKeptEndsTheOlderInEveryStorageMode: in redirect mode GitLab's answer to a question proves nothing
// yet, and the fetch tells.
func TestANewerFileThatCannotBeKeptEndsTheOlderInEveryStorageMode(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "cache "+t.TempDir()+" {\n min_free 0\n max_object 100KiB\n}\nmax_age 1h\ngrant_ttl 1h\noffline_grace 1h")
		older, newer := someBytes(10_000, 1), someBytes(300_000, 2)
		publishOld(gitlab, "app.bin", older)
		e.mustGet(t, "app.bin", developer, older)
		awaitNoFlight(t)
		publishOld(gitlab, "app.bin", newer)
		e.mustGet(t, "app.bin", colleague, newer)
		e.mustGet(t, "app.bin", developer, newer)
		gitlab.SetDown(true)
		if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode == http.StatusOK {
			t.Errorf("in an outage: %s, %q", got.Status, got.cacheStatus())
		}
	})
}

// TestAFetchThatAnAnswerHasContradictedIsNotJoinedUnasked publishes a file twice beside the edge: while the first of the two is
// fetched, GitLab names the second to somebody.
func TestAFetchThatAnAnswerHasContradictedIsNotJoinedUnasked(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	oldest, older, newest := someBytes(1000, 1), someBytes(1<<20, 2), someBytes(1200, 3)
	publishOld(gitlab, "app.bin", oldest)
	e.mustGet(t, "app.bin", developer, oldest)
	awaitNoFlight(t)
	publishOld(gitlab, "app.bin", older)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 500_000, Release: release})
	first, rest := e.beginDownload(t, "app.bin", colleague, 1)
	publishOld(gitlab, "app.bin", newest)
	if got := e.do(t, call{method: http.MethodHead, path: filePath("app.bin"), token: administrator}); got.ContentLength != int64(len(newest)) {
		t.Fatalf("whom GitLab names the newest to: %s, %d bytes", got.Status, got.ContentLength)
	}
	ends := make(chan answer, 1)
	go func() { ends <- e.do(t, call{path: filePath("app.bin"), token: developer}) }() // ends with the file, or with the release
	await(t, func() bool { return len(ends) == 1 || following() > 0 })
	close(release)
	if got := <-ends; hexSHA256(got.body) != hexSHA256(newest) {
		t.Errorf("who has a yes, afterwards: %s, %d bytes, %q", got.Status, len(got.body), got.cacheStatus())
	}
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(older) {
		t.Errorf("the download that had begun before: %v", err)
	}
}

// TestAFetchOfAFileThatNothingNamesIsNotJoinedAfterMaxAge has a file replaced while it is fetched, of which GitLab names nothing
// but the length: a yes doesn't tell that it is about the same content.
func TestAFetchOfAFileThatNothingNamesIsNotJoinedAfterMaxAge(t *testing.T) {
	older, newer := someBytes(1<<20, 1), someBytes(1<<20, 2)
	var replaced atomic.Bool
	release := make(chan struct{})
	gitlab := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, stalls := older, true
		if replaced.Load() {
			body, stalls = newer, false
		}
		w.Header().Set("Content-Disposition", "attachment")
		if isQuestion(r) {
			w.Header().Set("Content-Range", "bytes 0-0/1048576")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body[:1])
			return
		}
		w.Header().Set("Content-Length", "1048576")
		_, _ = w.Write(body[:500_000])
		_ = http.NewResponseController(w).Flush()
		if stalls {
			<-release
		}
		_, _ = w.Write(body[500_000:])
	})
	e := startEdge(t, gitlab, "max_age 1m\ngrant_ttl 1h")
	first, rest := e.beginDownload(t, "app.bin", developer, 1)
	replaced.Store(true)
	putForward(2 * time.Minute)
	ends := make(chan answer, 1)
	go func() { ends <- e.do(t, call{path: filePath("app.bin"), token: colleague}) }() // ends with the file, or with the release
	await(t, func() bool { return len(ends) == 1 || following() > 0 })
	close(release)
	if got := <-ends; hexSHA256(got.body) != hexSHA256(newer) {
		t.Errorf("who comes later: %s, %d bytes, %q", got.Status, len(got.body), got.cacheStatus())
	}
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(older) {
		t.Errorf("the download that had begun before: %v", err)
	}
}
