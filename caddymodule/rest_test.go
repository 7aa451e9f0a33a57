package caddymodule

import (
	"net/http"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAFileWhoseFetchesFailThreeTimesRests: GitLab isn't asked for it for five seconds, and nobody waits for it.
func TestAFileWhoseFetchesFailThreeTimesRests(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "good.bin", body)
	publishOld(gitlab, "bad.bin", body)
	e.mustGet(t, "good.bin", developer, body)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "bad.bin", Status: http.StatusInternalServerError, Times: -1})
	fetches := func() int { return gitlab.Count(http.MethodGet) }
	for range restAfter {
		if got := e.do(t, call{path: filePath("bad.bin"), token: developer}); got.StatusCode != http.StatusBadGateway {
			t.Fatalf("while it fails: %s", got.Status)
		}
	}
	before := fetches()
	for range 5 {
		got := e.do(t, call{path: filePath("bad.bin"), token: developer})
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			t.Errorf("while it rests: %s, Retry-After %q", got.Status, got.Header.Get("Retry-After"))
		}
	}
	if n := fetches() - before; n != 0 {
		t.Errorf("GitLab was asked %d times for a file that rests", n)
	}
	// Who may not have it hears GitLab's own no, as of any other file.
	if got := e.do(t, call{path: filePath("bad.bin"), token: outsider}); got.StatusCode != http.StatusNotFound {
		t.Errorf("an outsider: %s", got.Status)
	}
	e.mustGet(t, "good.bin", developer, body)
	gitlab.ClearFaults()
	putForward(restFor + time.Second)
	e.mustGet(t, "bad.bin", developer, body)
}

// TestAStrangersFailedFetchesLetNoFileRest: what GitLab, or something in front of it, answers to a stranger may be about
// that stranger, such as a limit of the requests of one address that is told by a 503.
func TestAStrangersFailedFetchesLetNoFileRest(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "good.bin", body)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "good.bin", developer, body)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "app.bin", Status: http.StatusServiceUnavailable, Times: 5})
	for range 5 {
		if got := e.do(t, call{path: filePath("app.bin"), token: outsider}); got.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("the stranger: %s", got.Status)
		}
	}
	e.mustGet(t, "app.bin", developer, body)
}

// TestAStrangersFailedFetchFailsNobodyElse has a stranger lead the fetch of a cold file, and GitLab fail that request alone.
func TestAStrangersFailedFetchFailsNobodyElse(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	release, reached := make(chan struct{}), make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{
		Method: http.MethodGet, PathContains: "app.bin", Status: http.StatusInternalServerError, Hang: true, Release: release,
		Reached: func() { close(reached) },
	})
	stranger := make(chan answer, 1)
	go func() { stranger <- e.do(t, call{path: filePath("app.bin"), token: outsider}) }() // ends with the release
	<-reached
	honest := make(chan answer, 1)
	go func() { honest <- e.do(t, call{path: filePath("app.bin"), token: developer}) }() // ends with the release
	await(t, func() bool {                                                               // the question about the honest one is answered
		for _, request := range gitlab.Requests() {
			if request.IsQuestion() && request.Status != 0 {
				return true
			}
		}
		return false
	})
	close(release)
	if got := <-honest; got.StatusCode != http.StatusOK {
		t.Errorf("the honest one: %s", got.Status)
	}
	if got := <-stranger; got.StatusCode != http.StatusBadGateway {
		t.Errorf("the stranger: %s", got.Status)
	}
}

// TestAStrangerWithoutATurnSeesNoDifference has a stranger use up their turns by fetches of their own, and then ask for files
// of a project that they may not read.
func TestAStrangerWithoutATurnSeesNoDifference(t *testing.T) {
	setForTest(t, &turnPatience, 3*time.Second)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "fetches_per_caller 1")
	body := someBytes(300_000, 1)
	gitlab.AddProject(gitlabtest.Project{ID: 77, Path: "outsider/own", Visibility: gitlabtest.Public})
	gitlab.Publish(77, "pkg", "1.0.0", "own.bin", body)
	publishOld(gitlab, "stored.bin", body)
	e.mustGet(t, "stored.bin", developer, body)
	release := make(chan struct{})
	defer close(release)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "own.bin", StallAfter: 100_000, Release: release, Times: -1})
	response, err := e.begin(call{path: "/api/v4/projects/77/packages/generic/pkg/1.0.0/own.bin", token: outsider})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for _, file := range []string{"stored.bin", "absent.bin"} {
		begun := time.Now()
		got := e.do(t, call{path: filePath(file), token: outsider})
		if took := time.Since(begun); got.StatusCode != http.StatusNotFound || took > 2*time.Second {
			t.Errorf("%s: %s after %v, %q", file, got.Status, took, got.cacheStatus())
		}
	}
}
