package upstream

import (
	"net/http"
	"testing"
	"time"
)

// TestAYesOpensNothingButWhatItWasAbout gives one grant and looks for it under the keys of other files, projects and callers.
func TestAYesOpensNothingButWhatItWasAbout(t *testing.T) {
	byID := Ref{Project: "24", Package: "pkg", Version: "1.0.0", File: "app.bin"}
	byPath := Ref{Project: "group/app", Package: "pkg", Version: "1.0.0", File: "app.bin"}
	with := func(ref Ref, change func(*Ref)) Ref {
		change(&ref)
		return ref
	}
	for name, test := range map[string]struct {
		allowed, asked Ref
		opens          bool
	}{
		"by its number, the same file":       {byID, byID, true},
		"by its number, another version":     {byID, with(byID, func(r *Ref) { r.Version = "2.0.0" }), true},
		"by its number, another package":     {byID, with(byID, func(r *Ref) { r.Package = "other" }), true},
		"by its number, another file":        {byID, with(byID, func(r *Ref) { r.File = "other.bin" }), true},
		"by its number, another project":     {byID, with(byID, func(r *Ref) { r.Project = "25" }), false},
		"by its number, a longer number":     {byID, with(byID, func(r *Ref) { r.Project = "240" }), false},
		"by its number, the project's path":  {byID, byPath, false},
		"by its path, the same file":         {byPath, byPath, true},
		"by its path, another version":       {byPath, with(byPath, func(r *Ref) { r.Version = "2.0.0" }), false},
		"by its path, another package":       {byPath, with(byPath, func(r *Ref) { r.Package = "other" }), false},
		"by its path, another file":          {byPath, with(byPath, func(r *Ref) { r.File = "other.bin" }), false},
		"by its path, a file in a directory": {byPath, with(byPath, func(r *Ref) { r.File = "d/app.bin" }), false},
		"by its path, another project":       {byPath, with(byPath, func(r *Ref) { r.Project = "group/other" }), false},
		"by its path, the project's number":  {byPath, byID, false},
	} {
		grants := NewGrants(10)
		key := func(ref Ref) GrantKey {
			return GrantKey{Upstream: "u", Fingerprint: Fingerprint{1}, ClientIP: "192.0.2.1", Project: ref.Project, File: FileOf(ref)}
		}
		grants.Allow(key(test.allowed), yesAt(time.Now()))
		if _, opens := grants.Granted(key(test.asked)); opens != test.opens {
			t.Errorf("%s: open: %v", name, opens)
		}
		for other, change := range map[string]func(*GrantKey){
			"another GitLab": func(k *GrantKey) { k.Upstream = "v" }, "another address": func(k *GrantKey) { k.ClientIP = "192.0.2.2" },
			"no address": func(k *GrantKey) { k.ClientIP = "" }, "another credential": func(k *GrantKey) { k.Fingerprint = Fingerprint{2} },
		} {
			others := key(test.allowed)
			change(&others)
			if _, opens := grants.Granted(others); opens {
				t.Errorf("%s: %s has it too", name, other)
			}
		}
	}
}

// TestEachUseOfAGrantEndsByItsOwnLifeToTheNanosecond looks at just before each end, and at the end.
func TestEachUseOfAGrantEndsByItsOwnLifeToTheNanosecond(t *testing.T) {
	sent := time.Unix(1e9, 0)
	life := Life{Fresh: time.Minute, RateLimited: time.Hour, Offline: 24 * time.Hour}
	for use, covered := range map[Use]time.Duration{UseFresh: time.Minute, UseRateLimited: time.Hour, UseOffline: 24 * time.Hour} {
		grant := Grant{Sent: sent, Life: life}
		for at, want := range map[time.Duration]bool{0: true, covered - 1: true, covered: false, covered + 1: false} {
			if got := grant.Covers(use, life, sent.Add(at)); got != want {
				t.Errorf("use %d after %v of %v: %v", use, at, covered, got)
			}
		}
		for name, settings := range map[string]Life{"no life at all": {}, "the others' alone": withoutUse(life, use)} {
			if grant.Covers(use, settings, sent) || (Grant{Sent: sent, Life: settings}).Covers(use, life, sent) {
				t.Errorf("use %d is covered by settings, or a grant, of %s", use, name)
			}
		}
	}
	if (Grant{Sent: sent, Life: life}).Covers(UseOffline+1, life, sent) {
		t.Error("a use that nobody knows is covered")
	}
}

func withoutUse(life Life, use Use) Life {
	switch use {
	case UseFresh:
		life.Fresh = 0
	case UseRateLimited:
		life.RateLimited = 0
	case UseOffline:
		life.Offline = 0
	}
	return life
}

// TestWhatIsLeftOfAnEarlierLifeIsLeftForEachUse: a later yes of a handler with shorter settings lengthens no life either.
func TestWhatIsLeftOfAnEarlierLifeIsLeftForEachUse(t *testing.T) {
	a := newAsker(NewGrants(100), "192.0.2.1", tokenCarrier, "")
	allow := func(second int, life Life) {
		a.grants.Allow(a.key("24"), NewYes(http.MethodGet, a.caller, a.at(second), life))
	}
	allow(0, Life{Fresh: time.Minute, RateLimited: 2 * time.Minute, Offline: time.Hour})
	allow(10, Life{Fresh: time.Second, RateLimited: time.Second, Offline: time.Second})
	got, _ := a.grants.Granted(a.key("24"))
	if want := (Life{Fresh: 50 * time.Second, RateLimited: 110 * time.Second, Offline: time.Hour - 10*time.Second}); got.Life != want {
		t.Errorf("%+v is left, want %+v", got.Life, want)
	}
}

func TestAnIPv6NetworkCountsAsOneAddressAndAnIPv4AddressAsItself(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "::ffff:192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::1%eth0": "2001:db8:1:2::/64", "": "", "unknown": "unknown",
	} {
		if got := Neighbourhood(address); got != want {
			t.Errorf("%q counts as %q, want %q", address, got, want)
		}
	}
}

func TestTheNamesOfOneProjectAreBounded(t *testing.T) {
	memory := NewAliasMemory()
	for i := range 100 {
		memory.learn("group/former"+string(rune('a'+i%26))+string(rune('a'+i/26)), "24", "group/app", time.Now())
	}
	if group, _ := memory.groups.Get("24"); len(group) > maxNames {
		t.Errorf("%d names of a project are kept", len(group))
	}
}

// TestANameThatGitLabDoesNotKnowIsAskedAboutSoonerThanOneThatItDoes, to the nanosecond.
func TestANameThatGitLabDoesNotKnowIsAskedAboutSoonerThanOneThatItDoes(t *testing.T) {
	now := time.Unix(1e9, 0)
	memory := NewAliasMemory()
	memory.learn("24", "24", "group/app", now)
	memory.learnUnknown("group/none", now)
	for name, life := range map[string]time.Duration{"24": 5 * time.Minute, "group/app": 5 * time.Minute, "group/none": 5 * time.Second, "group/never": 0} {
		if (life > 0 && memory.isDue(name, now.Add(life-1))) || !memory.isDue(name, now.Add(life)) {
			t.Errorf("%s isn't due after just %v", name, life)
		}
	}
}

// TestStorageHostsHaveBreakersOfTheirOwnUpToABound: those beyond it share one, and a host is one in any letters.
func TestStorageHostsHaveBreakersOfTheirOwnUpToABound(t *testing.T) {
	breakers := NewBreakers(BreakerConfig{})
	first := breakers.storageAt("s3.example.com")
	if breakers.storageAt("S3.Example.COM") != first || breakers.storageAt("s3.example.com:9000") == first {
		t.Error("a host isn't told by its name and port")
	}
	for i := range 200 {
		breakers.storageAt("host" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	if len(breakers.storage) > maxStorageHosts+1 || breakers.storageAt("beyond1") != breakers.storageAt("beyond2") || breakers.storageAt("s3.example.com") != first {
		t.Errorf("%d breakers", len(breakers.storage))
	}
	breakers = NewBreakers(BreakerConfig{})
	breakers.Retire()
	if !breakers.storageAt("new.example.com").retired {
		t.Error("a breaker that is made after the end opens")
	}
}

// TestABodyIsWholeWithItsLastByteWhereItsLengthIsAnnounced: the last read needn't meet the end.
func TestABodyIsWholeWithItsLastByteWhereItsLengthIsAnnounced(t *testing.T) {
	for name, test := range map[string]struct {
		announced int64
		reads     int
		whole     bool
	}{"its length": {6, 2, true}, "more": {7, 2, false}, "part of it": {6, 1, false}, "no length": {-1, 2, false}} {
		delivery := new(Delivery)
		var ended int
		delivery.onWhole = func() { ended++ }
		body := delivery.observe(endlessBody{}, test.announced, nil)
		for range test.reads {
			_, _ = body.Read(make([]byte, 3))
		}
		if delivery.IsWhole() != test.whole || (ended == 1) != test.whole {
			t.Errorf("%s: whole: %v, told %d times", name, delivery.IsWhole(), ended)
		}
	}
}

// endlessBody never meets its end.
type endlessBody struct{}

// Read implements io.Reader.
func (endlessBody) Read(p []byte) (int, error) { return len(p), nil }

// Close implements io.Closer.
func (endlessBody) Close() error { return nil }
