package caddymodule

import (
	"net/http"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

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
	setForTest(t, &process.turnPatience, 3*time.Second)
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
