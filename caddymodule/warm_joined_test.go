package caddymodule

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// holdLists has GitLab keep all who ask for lists of packages waiting, so that warmings run on, until the test's end.
func holdLists(t *testing.T, gitlab *gitlabtest.Server) {
	t.Helper()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	gitlab.Inject(gitlabtest.Fault{PathContains: "/packages", Hang: true, Release: release, Times: -1})
}

// TestOfEqualWarmingsAtTheSameMomentOneBegins has many begin at once, again and again: two seldom meet.
func TestOfEqualWarmingsAtTheSameMomentOneBegins(t *testing.T) {
	gitlab := newGitLab(t)
	startEdge(t, gitlab.URL, "api_token "+developer, withAdmin)
	holdLists(t, gitlab)
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 50 {
		var (
			calling  sync.WaitGroup
			start    = make(chan struct{})
			mu       sync.Mutex // guards all below
			answered = make(map[string]int)
			begun    []*warming
		)
		for call := range 20 {
			w := app.handlers[0].newWarming(fmt.Sprint(round, " ", call), "24", "pkg", "")
			calling.Go(func() {
				<-start
				running, joined, err := app.process.beginOrJoin([]*warming{w}, "")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				answered[running[0].id]++
				if !joined {
					begun = append(begun, w)
				}
			})
		}
		close(start)
		calling.Wait()
		if len(begun) != 1 || len(answered) != 1 || answered[begun[0].id] != 20 {
			t.Errorf("%d began, and answers are about %v", len(begun), answered)
		}
		for _, w := range begun {
			w.cancel(errWarmingStopped)
			<-w.over
		}
	}
}

// TestAWarmingJoinsOneThatDoesAllOfTheSame begins one with each kind of token, and then another one.
func TestAWarmingJoinsOneThatDoesAllOfTheSame(t *testing.T) {
	const none, first, second = "", `"token":"` + developer + `",`, `"token":"` + colleague + `",`
	const pkg, other = `"project":"24","package":"pkg"`, `"project":"24","package":"other"`
	for name, test := range map[string]struct {
		runs, asked string
		joins       bool
	}{
		"the same":                               {first + pkg, first + pkg, true},
		"another token":                          {first + pkg, second + pkg, true},
		"no token, and one has":                  {first + pkg, none + pkg, true},
		"both without a token":                   {none + pkg, none + pkg, true},
		"a token, and one has none":              {none + pkg, first + pkg, false},
		"another package":                        {first + pkg, first + other, false},
		"a version, and one has all":             {first + pkg, first + pkg + `,"version":"1.0.0"`, false},
		"a pin, and one has none":                {first + pkg, first + pkg + `,"pin":"30d"`, false},
		"the project's path, and one its number": {first + pkg, first + `"project":"group/app","package":"pkg"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "", withAdmin)
			holdLists(t, gitlab)
			runs := mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", "{"+test.runs+"}")
			asked := mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", "{"+test.asked+"}")
			if runs.Joined || asked.Joined != test.joins || (asked.ID == runs.ID) != test.joins {
				t.Errorf("one runs: %+v; begun: %+v", runs, asked)
			}
		})
	}
}

func TestAWarmingWithATokenJoinsOneBehindAnAnonymousOne(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	holdLists(t, gitlab)
	warm := func(token string) adminapi.WarmingStatus {
		return mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", `{"project":"24","package":"pkg"`+token+`}`)
	}
	if anonymous := warm(""); !anonymous.Anonymous {
		t.Fatalf("begun: %+v", anonymous)
	}
	began := warm(`,"token":"` + developer + `"`)
	if joined := warm(`,"token":"` + colleague + `"`); began.Joined || joined.ID != began.ID || !joined.Joined {
		t.Errorf("one runs: %+v; begun: %+v", began, joined)
	}
}

// TestAWarmingThatWasStoppedIsNotJoined stops one that GitLab keeps waiting with the files that it has begun.
func TestAWarmingThatWasStoppedIsNotJoined(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "api_token "+developer, withAdmin)
	publishOld(gitlab, "app.bin", someBytes(10_000, 1))
	release, reached := make(chan struct{}), make(chan struct{}, 10)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "generic", StallAfter: 1000, Times: -1, Release: release, Reached: func() { reached <- struct{}{} }})
	begin := func() adminapi.WarmingStatus {
		return mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", `{"project":"24","package":"pkg"}`)
	}
	stopped := begin()
	<-reached
	mustCall[adminapi.WarmingStatus](t, e, http.MethodDelete, "warm?id="+stopped.ID, "")
	again := begin()
	close(release)
	if again.Joined || again.ID == stopped.ID {
		t.Errorf("joined one that was stopped: %+v", again)
	}
	if status := awaitWarmed(t, e, again.ID); status.Fetched+status.Already != 1 || status.Error != "" {
		t.Errorf("ended as %+v", status)
	}
}
