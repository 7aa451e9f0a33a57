package upstream

import (
	"testing"
	"time"
)

func TestARefusalEndsAGrantAlsoForOlderAnswers(t *testing.T) {
	grants := NewGrants(10)
	key := GrantKey{Upstream: "u", ClientIP: "192.0.2.1", Project: "24"}
	start := time.Now()
	if _, ok := grants.Granted(key); ok {
		t.Error("granted before anything was said")
	}
	grants.Allow(key, start)
	grants.Allow(key, start.Add(-time.Second))
	if sent, ok := grants.Granted(key); !ok || !sent.Equal(start) {
		t.Errorf("granted %v, %v", sent, ok)
	}
	grants.Refuse(key, start.Add(2*time.Second))
	grants.Allow(key, start.Add(time.Second)) // asked before the refusal, answered after it
	if sent, ok := grants.Granted(key); ok {
		t.Errorf("an older yes brought the grant back: %v", sent)
	}
	grants.Allow(key, start.Add(3*time.Second))
	grants.Refuse(key, start.Add(2*time.Second))
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
		grants.Allow(GrantKey{Upstream: "u", Project: project}, now)
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
	grants.Allow(key, time.Now())
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := grants.Granted(key); !ok {
			b.Fatal("no grant")
		}
	}
}
