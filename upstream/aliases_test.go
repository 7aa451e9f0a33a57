package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// aliasWorld is a finder of names with a clock of its own.
type aliasWorld struct {
	*upstream.Aliases
	gitlab *gitlabtest.Server
	now    time.Time
}

func newAliasWorld(t *testing.T) *aliasWorld {
	t.Helper()
	w := &aliasWorld{gitlab: newGitLab(t), now: time.Now()}
	w.gitlab.AddToken(gitlabtest.Token{Secret: "glpat-admin", Username: "root", Admin: true})
	client := newClient(t, w.gitlab.URL, func(c *upstream.Config) { c.Now = func() time.Time { return w.now } }, w.gitlab)
	w.Aliases = upstream.NewAliases(client, "glpat-admin", upstream.NewAliasMemory())
	return w
}

// expect asks about a name and looks at the answer: the project's number, and its other names.
func (w *aliasWorld) expect(t *testing.T, name, id, others string) {
	t.Helper()
	got, err := w.Ask(context.Background(), name, upstream.OfAdmin())
	if err != nil || !got.Answered || got.ID != id || fmt.Sprint(got.Others) != others {
		t.Errorf("%s: %+v, %v", name, got, err)
	}
}

func TestAliasesAreAskedOnceAndOutlastAnOutage(t *testing.T) {
	w := newAliasWorld(t)
	if got := w.Last("24"); got.Answered {
		t.Errorf("before anybody asked: %+v", got)
	}
	for range 3 {
		w.expect(t, "24", "24", "[group/app]")
	}
	w.expect(t, "group/app", "24", "[24]") // by the same answer
	w.expect(t, "99", "", "[]")
	if asked := len(w.gitlab.Requests()); asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	w.now = w.now.Add(time.Hour)
	w.gitlab.Inject(gitlabtest.Fault{Status: 502, Times: -1})
	for _, name := range []string{"24", "99"} {
		before := w.Last(name)
		got, err := w.Ask(context.Background(), name, upstream.OfAdmin())
		if err == nil || fmt.Sprint(got) != fmt.Sprint(before) || !got.Answered {
			t.Errorf("%s in an outage: %+v, %v; before %+v", name, got, err, before)
		}
	}
}

func TestNoFailureIsAnAnswerAboutAName(t *testing.T) {
	for name, fault := range map[string]gitlabtest.Fault{
		"in trouble": {Status: 500}, "the token is revoked": {Status: 401}, "the token may not": {Status: 403},
		"too many requests": {Status: 429}, "reset": {Reset: true}, "a login page": {LoginPage200: true},
		"a way to a login page": {LoginRedirect302: true}, "no JSON": {Status: 200, Body: "<html>"}, "empty": {Status: 200, Body: "{}"},
		"without a number": {Status: 200, Body: `{"path_with_namespace":"group/app"}`}, "without a path": {Status: 200, Body: `{"id":24}`},
		"a 404 of something in front": {Status: 404, Body: "<html>", Header: map[string][]string{"Content-Type": {"text/html"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAliasWorld(t)
			w.gitlab.Inject(fault)
			if got, err := w.Ask(context.Background(), "24", upstream.OfAdmin()); err == nil || got.Answered {
				t.Errorf("%+v, %v", got, err)
			}
			asked := len(w.gitlab.Requests())
			if got, err := w.Ask(context.Background(), "24", upstream.OfAdmin()); err == nil || got.Answered || len(w.gitlab.Requests()) != asked {
				t.Errorf("a moment later: %+v, %v, asked %d times more", got, err, len(w.gitlab.Requests())-asked)
			}
			w.now = w.now.Add(5 * time.Second)
			w.expect(t, "24", "24", "[group/app]")
		})
	}
}

// TestWhatGitLabToldCountsWhenTheTokenLosesSightOfTheProject: GitLab says the same of a project that the token may not see
// as of none.
func TestWhatGitLabToldCountsWhenTheTokenLosesSightOfTheProject(t *testing.T) {
	w := newAliasWorld(t)
	w.expect(t, "group/app", "24", "[24]")
	w.now = w.now.Add(time.Hour)
	w.gitlab.Inject(gitlabtest.Fault{Status: 404, Body: "{}", Header: map[string][]string{"Content-Type": {"application/json"}}})
	w.expect(t, "group/app", "24", "[24]")
}

func TestAPathThatPassesToAnotherProjectIsKnownByThatOne(t *testing.T) {
	w := newAliasWorld(t)
	w.expect(t, "group/app", "24", "[24]")
	w.gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/moved"})
	w.gitlab.AddProject(gitlabtest.Project{ID: 30, Path: "group/app"})
	w.now = w.now.Add(5 * time.Minute)
	w.expect(t, "group/app", "30", "[30]")
	w.expect(t, "24", "24", "[group/moved]")
}

func TestAnAddressCanNotUseUpTheQuestionsOfOthers(t *testing.T) {
	w := newAliasWorld(t)
	count := func(upload upstream.Occasion, names int) (asked int) {
		t.Helper()
		for i := range names {
			_, err := w.Ask(context.Background(), fmt.Sprintf("made/up%d-%d", len(w.gitlab.Requests()), i), upload)
			switch {
			case err == nil:
				asked++
			case !errors.Is(err, upstream.ErrTooManyNames):
				t.Fatal(err)
			}
		}
		return asked
	}
	if got := count(upstream.OfUnknownCaller("192.0.2.1"), 500); got != 20 {
		t.Errorf("one address asked %d times at once", got)
	}
	w.now = w.now.Add(3 * time.Second)
	if got := count(upstream.OfUnknownCaller("192.0.2.1"), 500); got != 3 {
		t.Errorf("it asked %d times in three seconds", got)
	}
	// An IPv6 network of 64 bits is one caller's.
	v6 := 0
	for i := range 100 {
		v6 += count(upstream.OfUnknownCaller(fmt.Sprintf("2001:db8::%x", i+1)), 1)
	}
	if v6 != 20 {
		t.Errorf("a network asked %d times at once", v6)
	}
	if got := count(upstream.OfUnknownCaller("192.0.2.2"), 1); got != 1 {
		t.Error("another address had none left")
	}
	// Many addresses have a bound together, and leave those be whom GitLab knows.
	all := 0
	for i := range 100 {
		all += count(upstream.OfUnknownCaller(fmt.Sprintf("198.51.100.%d", i)), 20)
	}
	if all > 200 {
		t.Errorf("all together asked %d times at once", all)
	}
	if got := count(upstream.OfAllowedCaller(), 10) + count(upstream.OfAdmin(), 10); got != 20 {
		t.Errorf("others asked %d times", got)
	}
}

// TestMadeUpNamesPushNoProjectOut asks about more names than are remembered.
func TestMadeUpNamesPushNoProjectOut(t *testing.T) {
	if testing.Short() {
		t.Skip("asks 10,100 times")
	}
	w := newAliasWorld(t)
	w.expect(t, "24", "24", "[group/app]")
	for i := range 10_100 {
		if _, err := w.Ask(context.Background(), fmt.Sprintf("made/up%d", i), upstream.OfAdmin()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Last("24"); got.ID != "24" {
		t.Errorf("the project: %+v", got)
	}
	if got := w.Last("made/up0"); got.Answered {
		t.Error("what is remembered has no bound")
	}
	if got := w.Last("made/up10099"); !got.Answered || got.ID != "" {
		t.Errorf("the last of them: %+v", got)
	}
}

// TestAProjectThatMovesOftenKeepsItsNumberAndItsPath asks about more names of one project than are remembered: whichever
// name is asked about last, the two by which admins switch it are among its others.
func TestAProjectThatMovesOftenKeepsItsNumberAndItsPath(t *testing.T) {
	w := newAliasWorld(t)
	former := make([]string, 0, 70)
	for i := range 70 {
		former = append(former, fmt.Sprintf("group/former%d", i))
	}
	w.gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/app", FormerPaths: former})
	w.expect(t, "24", "24", "[group/app]")
	for _, name := range former {
		got, err := w.Ask(t.Context(), name, upstream.OfAdmin())
		if err != nil || !slices.Contains(got.Others, "24") || !slices.Contains(got.Others, "group/app") {
			t.Errorf("%s: %v, %v", name, got.Others, err)
		}
		if len(got.Others) > 31 {
			t.Errorf("%s: %d other names are remembered", name, len(got.Others))
		}
	}
}

// TestUploadsWhoAskTheSameAtOnceCostOneQuestion: a runner that publishes many files at once is no flood of names.
func TestUploadsWhoAskTheSameAtOnceCostOneQuestion(t *testing.T) {
	w := newAliasWorld(t)
	release := make(chan struct{})
	w.gitlab.Inject(gitlabtest.Fault{Hang: true, Release: release})
	var all sync.WaitGroup
	begun := make(chan struct{}, 50)
	errs := make(chan error, 50)
	for range 50 {
		all.Go(func() {
			begun <- struct{}{}
			_, err := w.Ask(t.Context(), "24", upstream.OfUnknownCaller("192.0.2.1"))
			errs <- err
		})
	}
	for range 50 {
		<-begun
	}
	if err := w.gitlab.Await(t.Context(), func(r []gitlabtest.Request) bool { return len(r) == 1 }); err != nil {
		t.Fatal(err)
	}
	close(release)
	all.Wait()
	for range 50 {
		if err := <-errs; err != nil {
			t.Errorf("an upload hears %v", err)
		}
	}
}
