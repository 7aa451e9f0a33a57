package upstream_test

import (
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// renew begins to ask about a name and says whether there was something to ask.
func (w *aliasWorld) renew(t *testing.T, name string, occasion upstream.Occasion) (begun bool, err error) {
	t.Helper()
	if ask := w.Renewal(name, occasion); ask != nil {
		return true, ask(t.Context())
	}
	return false, nil
}

func TestANameIsRenewedWhenItsAnswerIsOldAndNotBefore(t *testing.T) {
	for _, test := range []struct {
		name string
		life time.Duration
	}{
		{"24", 5 * time.Minute},
		{"99", 5 * time.Second}, // no project's: one may get it at any time
	} {
		w := newAliasWorld(t)
		for round := 1; round <= 2; round++ {
			if !w.IsDue(test.name) {
				t.Errorf("%s isn't due in round %d", test.name, round)
			}
			if begun, err := w.renew(t, test.name, upstream.OfAdmin()); !begun || err != nil {
				t.Errorf("%s isn't renewed in round %d: %v", test.name, round, err)
			}
			w.now = w.now.Add(test.life - time.Nanosecond)
			if w.IsDue(test.name) || w.Renewal(test.name, upstream.OfAdmin()) != nil {
				t.Errorf("%s is asked about again within %s", test.name, test.life)
			}
			w.expect(t, test.name, map[string]string{"24": "24"}[test.name], map[string]string{"24": "[group/app]", "99": "[]"}[test.name])
			if asked := len(w.gitlab.Requests()); asked != round {
				t.Errorf("%s: GitLab was asked %d times in round %d", test.name, asked, round)
			}
			w.now = w.now.Add(time.Nanosecond)
		}
	}
}

func TestARenewalThatIsOnItsWayIsNotBegunAgainForFiveSeconds(t *testing.T) {
	w := newAliasWorld(t)
	if w.Renewal("24", upstream.OfAdmin()) == nil {
		t.Fatal("a name that was never answered isn't asked about")
	}
	w.now = w.now.Add(5*time.Second - time.Nanosecond)
	if w.IsDue("24") || w.Renewal("24", upstream.OfAdmin()) != nil {
		t.Error("it is asked about again before the answer can be there")
	}
	w.now = w.now.Add(time.Nanosecond)
	if !w.IsDue("24") || w.Renewal("24", upstream.OfAdmin()) == nil {
		t.Error("an answer that never came is waited for without end")
	}
}

func TestARenewalThatFailsSaysSoAndRestsForFiveSeconds(t *testing.T) {
	w := newAliasWorld(t)
	w.gitlab.Inject(gitlabtest.Fault{Status: 502, Times: 1})
	ask := w.Renewal("24", upstream.OfAdmin())
	w.now = w.now.Add(4 * time.Second) // the answer takes its time
	if err := ask(t.Context()); err == nil {
		t.Error("nobody hears that GitLab gave no answer")
	}
	w.now = w.now.Add(5*time.Second - time.Nanosecond)
	if w.IsDue("24") || w.Renewal("24", upstream.OfAdmin()) != nil {
		t.Error("it is asked about again at once")
	}
	w.now = w.now.Add(time.Nanosecond)
	if begun, err := w.renew(t, "24", upstream.OfAdmin()); !begun || err != nil {
		t.Errorf("after a pause: %v, %v", begun, err)
	}
}

// TestARenewalTakesOfTheBudgetOnce begins more than an address may ask.
func TestARenewalTakesOfTheBudgetOnce(t *testing.T) {
	w := newAliasWorld(t)
	asked := 0
	for i := range 30 {
		begun, err := w.renew(t, "made/up"+string(rune('a'+i)), upstream.OfUnknownCaller("192.0.2.1"))
		if err != nil {
			t.Error(err)
		}
		if begun {
			asked++
		}
	}
	if asked != 20 || len(w.gitlab.Requests()) != 20 {
		t.Errorf("%d renewals were begun, GitLab was asked %d times", asked, len(w.gitlab.Requests()))
	}
}

// TestANameThatPassedOnIsNoNameOfItsFormerProject: what is remembered of the former project still names it.
func TestANameThatPassedOnIsNoNameOfItsFormerProject(t *testing.T) {
	w := newAliasWorld(t)
	w.expect(t, "group/app", "24", "[24]")
	w.gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/moved"})
	w.gitlab.AddProject(gitlabtest.Project{ID: 30, Path: "group/app"})
	w.now = w.now.Add(5 * time.Minute)
	w.expect(t, "group/app", "30", "[30]")
	if got := w.Last("24"); got.ID != "24" || len(got.Others) != 0 {
		t.Errorf("project 24 is called %q", got.Others)
	}
}
