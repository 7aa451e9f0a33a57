package caddymodule

import (
	"net/http"
	"strings"
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
