package upstream

import (
	"net/http"
	"testing"
	"time"
)

// yesAt is GitLab's yes to a request of the edge's own that was sent then.
func yesAt(sent time.Time) Yes { return yesFrom("", sent) }

// yesFrom is GitLab's yes to a caller at that address.
func yesFrom(address string, sent time.Time) Yes {
	return NewYes(http.MethodGet, Caller{ClientIP: address}, sent, Life{Fresh: time.Minute, RateLimited: 2 * time.Minute, Offline: time.Hour})
}

// noAt is GitLab's 404 to a request of the edge's own that was sent then.
func noAt(sent time.Time) Refusal {
	return NewRefusal(http.MethodGet, Caller{}, sent, http.StatusNotFound)
}

func TestARefusalEndsAGrantAlsoForOlderAnswers(t *testing.T) {
	grants := NewGrants(10)
	key := GrantKey{Upstream: "u", ClientIP: "192.0.2.1", Project: "24"}
	start := time.Now()
	if _, ok := grants.Granted(key); ok {
		t.Error("granted before anything was said")
	}
	grants.Allow(key, yesAt(start))
	grants.Allow(key, yesAt(start.Add(-time.Second)))
	if grant, ok := grants.Granted(key); !ok || !grant.Sent.Equal(start) {
		t.Errorf("granted %v, %v", grant.Sent, ok)
	}
	grants.Refuse(key, noAt(start.Add(2*time.Second)))
	grants.Allow(key, yesAt(start.Add(time.Second))) // asked before the refusal, answered after it
	if grant, ok := grants.Granted(key); ok {
		t.Errorf("an older yes brought the grant back: %v", grant.Sent)
	}
	grants.Allow(key, yesAt(start.Add(3*time.Second)))
	grants.Refuse(key, noAt(start.Add(2*time.Second)))
	if _, ok := grants.Granted(key); !ok {
		t.Error("an older no ended a newer grant")
	}
	for _, other := range []GrantKey{
		{Upstream: "v", ClientIP: "192.0.2.1", Project: "24"},
		{Upstream: "u", ClientIP: "192.0.2.2", Project: "24"},
		{Upstream: "u", ClientIP: "192.0.2.1", Project: "25"},
		{Upstream: "u", ClientIP: "192.0.2.1", Project: "24", Fingerprint: Fingerprint{1}},
	} {
		if _, ok := grants.Granted(other); ok {
			t.Errorf("%+v has it too", other)
		}
	}
}

func TestGrantsAreBoundedAndForgotten(t *testing.T) {
	grants := NewGrants(3)
	now := time.Now()
	for _, project := range []string{"1", "2", "3", "4"} {
		// Each from an address of its own, of which each may hold one.
		grants.Allow(GrantKey{Upstream: "u", Project: project}, yesFrom("192.0.2."+project, now))
		grants.Granted(GrantKey{Upstream: "u", Project: "1"})
	}
	if _, ok := grants.Granted(GrantKey{Upstream: "u", Project: "1"}); !ok || grants.Len() != 3 {
		t.Errorf("the one in use was dropped; %d are left", grants.Len())
	}
	if n := grants.Forget("u", "1", now); n != 1 {
		t.Errorf("forgot %d", n)
	}
	if n := grants.Forget("", "", now); n != 2 || grants.Len() != 0 {
		t.Errorf("forgot %d, %d are left", n, grants.Len())
	}
}

func BenchmarkGranted(b *testing.B) {
	grants := NewGrants(1000)
	key := GrantKey{Upstream: "https://gitlab.example.com", ClientIP: "192.0.2.1", Project: "24"}
	grants.Allow(key, yesAt(time.Now()))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := grants.Granted(key); !ok {
			b.Fatal("no grant")
		}
	}
}

// TestARefusalOfTheCredentialAndAYesAtOnceLeaveNoGrant: of two that were asked at once the refusal counts, and what it ended isn't
// counted any more.
func TestARefusalOfTheCredentialAndAYesAtOnceLeaveNoGrant(t *testing.T) {
	grants := NewGrants(100)
	a := newAsker(grants, "192.0.2.1", tokenCarrier, "")
	a.allowed("24", 5)
	a.refused("25", 5, http.StatusUnauthorized)
	if grants.Len() != 0 || a.holds("24") {
		t.Errorf("%d grants are left, 24 is held: %v", grants.Len(), a.holds("24"))
	}
	a.allowed("24", 5)
	if a.holds("24") {
		t.Error("a yes to a request of the same time brought it back")
	}
}

// TestACallThatForgetsIsRememberedForAnHour: within it no answer that was on its way brings a grant back.
func TestACallThatForgetsIsRememberedForAnHour(t *testing.T) {
	start := time.Unix(1e9, 0)
	key := GrantKey{Upstream: "u", Project: "24"}
	for later, forgotten := range map[time.Duration]bool{time.Second: true, time.Hour: true, time.Hour + 1: false} {
		grants := NewGrants(10)
		grants.Forget("u", "24", start)
		grants.Forget("u", "other", start.Add(later))
		grants.Allow(key, yesAt(start))
		if _, held := grants.Granted(key); held == forgotten {
			t.Errorf("after %v: held %v", later, held)
		}
	}
}
