package caddymodule

import (
	"net/http"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// waitingForQuestions counts the callers who wait for GitLab's answer to a question.
func waitingForQuestions(t *testing.T) int {
	t.Helper()
	var stacks strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(stacks.String(), "(*download).askOnce(")
}

// questionsUnderWay counts the questions themselves. GitLab may hear of each more than once, when it is slow.
func questionsUnderWay() int {
	asks := &runningState().asks
	asks.mu.Lock()
	defer asks.mu.Unlock()
	return len(asks.running)
}

// TestAQuestionUnderWayAnswersOnlyForCallersWhoAreAlike holds GitLab's answer about one caller back, and has another come whom
// it must not be taken for.
func TestAQuestionUnderWayAnswersOnlyForCallersWhoAreAlike(t *testing.T) {
	one := call{path: filePath("app.bin"), token: colleague}
	for name, test := range map[string]struct {
		second  call
		publish bool
		asked   int
	}{
		"the same caller":               {one, false, 1},
		"the same caller by HEAD":       {call{method: http.MethodHead, path: one.path, token: colleague}, false, 1},
		"another token":                 {call{path: one.path, token: administrator}, false, 2},
		"the token in another place":    {call{path: one.path, header: http.Header{"Authorization": {"Bearer " + colleague}}}, false, 2},
		"no token":                      {call{path: one.path}, false, 2},
		"another address":               {call{path: one.path, token: colleague, header: http.Header{"X-Forwarded-For": {"198.51.100.7"}}}, false, 2},
		"another file":                  {call{path: filePath("other.bin"), token: colleague}, false, 2},
		"another version":               {call{path: strings.Replace(one.path, "1.0.0", "2.0.0", 1), token: colleague}, false, 2},
		"another project":               {call{path: inProject("25"), token: colleague}, false, 2},
		"the project by its path":       {call{path: inProject("group%2Fapp"), token: colleague}, false, 2},
		"the same caller after publish": {one, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			setForTest(t, &process.checkTimeout, time.Minute) // none of the answers that are held is given up
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
			body := someBytes(1000, 1)
			publishOld(gitlab, "app.bin", body)
			publishOld(gitlab, "other.bin", body)
			gitlab.Publish(project, "pkg", "2.0.0", "app.bin", body)
			gitlab.Publish(otherProject, "pkg", "1.0.0", "app.bin", body)
			for _, path := range []string{one.path, test.second.path} {
				if got := e.do(t, call{path: path, token: developer}); got.StatusCode != http.StatusOK {
					t.Fatal(got.Status)
				}
			}
			awaitNoFlight(t)
			release := make(chan struct{})
			gitlab.Inject(gitlabtest.Fault{Question: true, Hang: true, Release: release, Times: -1})
			ends := make(chan answer, 2)
			go func() { ends <- e.do(t, one) }() // ends with the release
			await(t, func() bool { return gitlab.CountQuestions() > 0 })
			if test.publish {
				if got := e.put(t, one.path, body); got.StatusCode != http.StatusCreated {
					t.Fatal(got.Status)
				}
			}
			go func() { ends <- e.do(t, test.second) }() // ends with the release
			await(t, func() bool { return waitingForQuestions(t) == 2 && questionsUnderWay() == test.asked })
			close(release)
			for range 2 {
				if got := <-ends; got.StatusCode != http.StatusOK && test.second.token+test.second.header.Get("Authorization") != "" {
					t.Errorf("got %s, %q", got.Status, got.cacheStatus())
				}
			}
		})
	}
}
