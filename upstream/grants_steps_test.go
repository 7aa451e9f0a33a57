package upstream

import (
	"net/http"
	"testing"
	"time"
)

// tokenCaller sends a token, of which a 401 ends all grants.
var tokenCaller = Caller{Credential: TokenCredential("glpat-s3cr3t")}

func token401(sent time.Time) Refusal {
	return NewRefusal(http.MethodGet, tokenCaller, sent, http.StatusUnauthorized)
}

// TestAGrantThatA401HasEndedIsGivenAnew has the 401 come about another project, so that the grant is still there.
func TestAGrantThatA401HasEndedIsGivenAnew(t *testing.T) {
	grants := NewGrants(1000)
	one, other := GrantKey{Upstream: "u", Project: "24"}, GrantKey{Upstream: "u", Project: "25"}
	start := time.Now()
	grants.Allow(one, yesAt(start))
	grants.Refuse(other, token401(start.Add(time.Second)))
	grants.Allow(one, yesAt(start.Add(2*time.Second)))
	if _, ok := grants.Granted(one); !ok || grants.Len() != 1 {
		t.Errorf("granted anew: %v, %d grants", ok, grants.Len())
	}
	grants.Refuse(other, token401(start.Add(3*time.Second)))
	if _, ok := grants.Granted(one); ok || grants.Len() != 0 {
		t.Errorf("after another 401: %v, %d grants", ok, grants.Len())
	}
}

func TestOfTwoAnswersToOneRequestTheFirstCounts(t *testing.T) {
	grants, key, start := NewGrants(1000), GrantKey{Upstream: "u", Project: "24"}, time.Now()
	grants.Allow(key, yesAt(start))
	grants.Allow(key, NewYes(http.MethodGet, Caller{}, start, Life{Fresh: 10 * time.Hour}))
	if grant, _ := grants.Granted(key); grant.Life.Fresh != time.Minute {
		t.Errorf("%+v", grant.Life)
	}
}

// TestWhatIsNotedOfAHolderStaysAmongThose: others' notes, which anybody can make, push out no holder's.
func TestWhatIsNotedOfAHolderStaysAmongThose(t *testing.T) {
	key, start := GrantKey{Upstream: "u", Project: "24"}, time.Now()
	credential := key.credential()
	for name, first := range map[string]bool{"who was refused before": true, "who wasn't": false} {
		grants := NewGrants(1000)
		if first {
			grants.Refuse(key, token401(start))
			if grants.ends.isAboutHolder(credential) || grants.refusals.isAboutHolder(key) {
				t.Error("who never held a grant counts as a holder")
			}
		}
		grants.Allow(key, yesAt(start.Add(time.Second)))
		grants.Refuse(key, token401(start.Add(2*time.Second)))
		grants.Refuse(key, token401(start.Add(3*time.Second)))
		if !grants.ends.isAboutHolder(credential) || !grants.refusals.isAboutHolder(key) {
			t.Errorf("%s: the notes are not among the holders'", name)
		}
		if len(grants.ends.others.entries)+len(grants.refusals.others.entries) != 0 {
			t.Errorf("%s: the notes stay among the others', too", name)
		}
	}
}

// TestAHolderIsKnownByEitherOfTheirNotes: that of the credential, or that of the key, may have been pushed out.
func TestAHolderIsKnownByEitherOfTheirNotes(t *testing.T) {
	key, start := GrantKey{Upstream: "u", Project: "24"}, time.Now()
	for name, forget := range map[string]func(*Grants){
		"the credential's": func(g *Grants) { g.refusals.holders.remove(g.refusals.holders.find(key)) },
		"the key's":        func(g *Grants) { g.ends.holders.remove(g.ends.holders.find(key.credential())) },
	} {
		grants := NewGrants(1000)
		grants.Allow(key, yesAt(start))
		grants.Refuse(key, token401(start.Add(time.Second)))
		forget(grants)
		grants.Refuse(key, token401(start.Add(2*time.Second)))
		if len(grants.ends.others.entries)+len(grants.refusals.others.entries) != 0 {
			t.Errorf("by %s alone they are another", name)
		}
	}
}

func TestAProjectIsHeldOnlyUntilA401(t *testing.T) {
	for name, key := range map[string]GrantKey{"by its id": {Upstream: "u", Project: "24"}, "by its path": {Upstream: "u", Project: "group/app", File: "f"}} {
		grants, start := NewGrants(1000), time.Now()
		grants.Allow(key, yesAt(start))
		if !grants.holdsProjectLocked(key, start) {
			t.Errorf("%s: it isn't held", name)
		}
		grants.Refuse(GrantKey{Upstream: "u", Project: "25"}, token401(start)) // asked at the very time
		if grants.holdsProjectLocked(key, start) {
			t.Errorf("%s: it is held after a 401", name)
		}
	}
}

func TestACredentialsEndOutlivesTheNoteOfIt(t *testing.T) {
	grants, key, start := NewGrants(1000), GrantKey{Upstream: "u", Project: "24"}, time.Now()
	grants.Allow(key, yesAt(start.Add(2*time.Second)))
	grants.Refuse(GrantKey{Upstream: "u", Project: "25"}, token401(start.Add(time.Second)))
	grants.ends.holders.remove(grants.ends.holders.find(key.credential()))
	if ended := grants.endedLocked(key.credential()); !ended.Equal(start.Add(time.Second)) {
		t.Errorf("ended %v", ended)
	}
}

func TestAFairTableKeepsCountOfItsTexts(t *testing.T) {
	table := newFairTable[string, int](16, func(key string) int { return len(key) })
	text := func(first byte, length int) string { return string(append([]byte{first}, make([]byte, length-1)...)) }
	// A share may take as many bytes as an entry has on average, and has one entry.
	table.put(text('a', keyBudget), "1", 1)
	if share := table.shares["1"]; share == nil || share.bytes != keyBudget || table.bytes != keyBudget {
		t.Errorf("%+v, %d bytes", share, table.bytes)
	}
	table.put(text('b', 10), "1", 2)
	if share := table.shares["1"]; share.bytes != 10 || share.count != 1 || table.bytes != 10 {
		t.Errorf("after another: %+v, %d bytes", share, table.bytes)
	}

	// Exactly as many bytes as there is room for push nothing out, and one more does.
	table = newFairTable[string, int](32, func(key string) int { return len(key) })
	table.put(text('a', keyBudget), "1", 1)
	table.put(text('b', keyBudget), "1", 2)
	if len(table.entries) != 2 {
		t.Errorf("a share of its size keeps %d", len(table.entries))
	}
	table.put(text('a', keyBudget), "1", 3) // used
	table.put(text('c', 1), "1", 4)
	if table.find(text('a', keyBudget)) == nil || table.find(text('b', keyBudget)) != nil {
		t.Error("what was put again goes first")
	}
	table = newFairTable[string, int](32, func(key string) int { return len(key) })
	for i := range byte(32) {
		table.put(text(i, keyBudget), string([]byte{'n', i}), 1)
	}
	if len(table.entries) != 32 {
		t.Errorf("a table of its size keeps %d", len(table.entries))
	}
	for most, want := range map[int]int{0: 1, -5: 1, 1: 1, 2: 2} {
		table = newFairTable[string, int](most, func(string) int { return 0 })
		for i := range byte(5) {
			table.put(text(i, 1), string([]byte{'n', i}), 1)
		}
		if len(table.entries) != want {
			t.Errorf("at most %d: %d", most, len(table.entries))
		}
	}
	for address, want := range map[string]string{
		"": "", "made up": "made up", "192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "::ffff:192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8:0:0:1::": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Neighbourhood(address); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

// TestThreeHeadersOfACredentialStayApart: most requests have one, for which there is room that no other may take.
func TestThreeHeadersOfACredentialStayApart(t *testing.T) {
	sent := http.Header{"Private-Token": {"a"}, "Job-Token": {"b"}, "Deploy-Token": {"c"}, "Cookie": {"d", "e"}}
	header := http.Header{}
	CredentialOf(sent, "", nil).AddTo(header)
	if len(header) != 4 || header["Private-Token"][0] != "a" || header["Job-Token"][0] != "b" || header["Deploy-Token"][0] != "c" || len(header["Cookie"]) != 2 {
		t.Errorf("%v", header)
	}
	fingerprinter := NewFingerprinter()
	other := sent.Clone()
	other["Job-Token"] = []string{"c"}
	if fingerprinter.OfRequest(sent, "", nil) == fingerprinter.OfRequest(other, "", nil) {
		t.Error("two credentials have one fingerprint")
	}
}

func TestNoCredentialStaysWhereFingerprintsAreMade(t *testing.T) {
	fingerprinter := NewFingerprinter()
	kept := fingerprinter.macs.New().(*keyedHash)
	fingerprinter.macs.New = func() any { return kept }
	fingerprinter.OfRequest(http.Header{"Private-Token": {"s3cr3t"}}, "job_token=s3cr3t", nil)
	if kept.sent.headers != nil || kept.sent.query != "" || kept.sent.oneValue[0] != "" || kept.sent.oneHeader[0].name != "" {
		t.Error("the credential stays in the pool")
	}
}

func TestSumsThatContradictEachOtherAreNone(t *testing.T) {
	for name, test := range map[string]struct {
		values []string
		want   bool
	}{
		"one": {[]string{"a"}, true}, "one twice": {[]string{"a", "a"}, true}, "two": {[]string{"a", "b"}, false},
		"two, and the first again": {[]string{"a", "b", "a"}, false}, "one and none": {[]string{"a", ""}, true}, "none and one": {[]string{"", "a"}, true},
	} {
		var found foundSums
		for _, value := range test.values {
			found.merge(sumMD5, value, false)
		}
		if got := found.first().value != ""; got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	var found foundSums
	found.add(sumMD5, "AAAAAAAAAAAAAAAAAAAAAAA=") // as long as that of 16 bytes, and of 17
	if found.first().value != "" {
		t.Error("a sum of another length counts")
	}
}
