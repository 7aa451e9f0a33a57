package upstream

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Credentials of each kind. The fingerprints of tests are theirs, by a fingerprinter of the test's own.
var (
	tokenCarrier  = http.Header{"Private-Token": {"glpat-x"}}
	basicCarrier  = http.Header{"Authorization": {"Basic dXNlcjpwYXNz"}}
	deployCarrier = http.Header{"Deploy-Token": {"gldt-x"}}
	cookieCarrier = http.Header{"Cookie": {"_gitlab_session=x"}}
)

// asker asks GitLab in a test, with one credential from one address.
type asker struct {
	grants *Grants
	caller Caller
	print  Fingerprint
	start  time.Time
}

var askersPrint = NewFingerprinter()

func newAsker(grants *Grants, address string, header http.Header, query string) asker {
	credential := CredentialOf(header, query, []string{"X-Team"})
	return asker{grants: grants, caller: Caller{Credential: credential, ClientIP: address}, print: askersPrint.Of(credential), start: time.Unix(1e9, 0)}
}

// key is the asker's for a project, which is a number, or for a file of one, as in "group/app:a.bin".
func (a asker) key(target string) GrantKey {
	project, file, _ := strings.Cut(target, ":")
	return GrantKey{Upstream: "u", Fingerprint: a.print, ClientIP: a.caller.ClientIP, Project: project, File: file}
}

func (a asker) allowed(target string, second int) {
	a.grants.Allow(a.key(target), NewYes(http.MethodGet, a.caller, a.at(second), Life{Fresh: time.Minute, Offline: time.Hour}))
}

func (a asker) refused(target string, second, status int) {
	a.grants.Refuse(a.key(target), NewRefusal(http.MethodGet, a.caller, a.at(second), status))
}

func (a asker) at(second int) time.Time { return a.start.Add(time.Duration(second) * time.Second) }

func (a asker) holds(target string) bool {
	_, ok := a.grants.Granted(a.key(target))
	return ok
}

// TestWhatA401Ends says for each kind of credential whether a 401 ends what it was allowed elsewhere: if it was asked for a
// project that GitLab never allowed it, and for one that it did.
func TestWhatA401Ends(t *testing.T) {
	for name, test := range map[string]struct {
		header                  http.Header
		query                   string
		ifStrange, ifHeldByThis bool
	}{
		"PRIVATE-TOKEN":               {tokenCarrier, "", true, true},
		"JOB-TOKEN":                   {http.Header{"Job-Token": {"glcbt-x"}}, "", true, true},
		"Bearer":                      {http.Header{"Authorization": {"Bearer x"}}, "", true, true},
		"private_token":               {nil, "private_token=x", true, true},
		"a parameter that is unclear": {nil, "[token]=x", true, true},
		"a token beside Basic":        {http.Header{"Private-Token": {"x"}, "Authorization": {"basic eDp5"}}, "", true, true},
		"Basic":                       {basicCarrier, "", false, true},
		"DEPLOY-TOKEN":                {deployCarrier, "", false, true},
		"a cookie":                    {cookieCarrier, "", false, true},
		"Basic with a team":           {http.Header{"Authorization": {"Basic eDp5"}, "X-Team": {"a"}}, "", false, true},
		"nobody":                      {nil, "", false, false},
		"an empty token":              {http.Header{"Private-Token": {" "}, "Authorization": {"Bearer "}}, "job_token=", false, false},
		"a team alone":                {http.Header{"X-Team": {"a"}}, "", false, false},
		"Sudo alone":                  {http.Header{"Sudo": {"root"}}, "sudo=root", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			for asked, want := range map[string]bool{
				"99": test.ifStrange, "other/app:a.bin": test.ifStrange, "25": test.ifHeldByThis, "group/app:new.bin": test.ifHeldByThis,
			} {
				grants := NewGrants(1000)
				here, there := newAsker(grants, "192.0.2.1", test.header, test.query), newAsker(grants, "192.0.2.2", test.header, test.query)
				other := newAsker(grants, "192.0.2.1", http.Header{"Private-Token": {"another"}}, "")
				here.allowed("25", 1)
				here.allowed("group/app:a.bin", 1)
				for _, who := range []asker{here, there, other} {
					who.allowed("24", 1)
				}
				here.refused(asked, 2, http.StatusUnauthorized)
				if here.holds(asked) {
					t.Errorf("%s: what was refused is held", asked)
				}
				if here.holds("24") == want || there.holds("24") == want {
					t.Errorf("%s: another project is held here: %v, elsewhere: %v", asked, here.holds("24"), there.holds("24"))
				}
				if !other.holds("24") {
					t.Errorf("%s: another token's grant is gone", asked)
				}
			}
		})
	}
}

// TestA401ToADeployTokenFromAnotherAddressEndsNothingHere: GitLab answers so where a group's list lacks the address.
func TestA401ToADeployTokenFromAnotherAddressEndsNothingHere(t *testing.T) {
	grants := NewGrants(1000)
	here, there := newAsker(grants, "192.0.2.1", deployCarrier, ""), newAsker(grants, "198.51.100.1", deployCarrier, "")
	here.allowed("24", 1)
	there.refused("24", 2, http.StatusUnauthorized)
	if !here.holds("24") {
		t.Error("it did")
	}
}

// TestA401LongAfterADeployTokensYesEndsNothingElsewhere: the yes to this project is over, and says nothing any more.
func TestA401LongAfterADeployTokensYesEndsNothingElsewhere(t *testing.T) {
	for _, target := range []string{"24", "group/app:a.bin"} {
		a := newAsker(NewGrants(1000), "192.0.2.1", deployCarrier, "")
		a.allowed(target, 1)
		a.allowed("25", 3601)
		a.refused(target, 3601, http.StatusUnauthorized)
		if !a.holds("25") {
			t.Errorf("%s: it did", target)
		}
	}
}

// TestA401AfterTheOneThatEndedADeployTokensYesEndsNothingElsewhere: GitLab has allowed the token another project since.
func TestA401AfterTheOneThatEndedADeployTokensYesEndsNothingElsewhere(t *testing.T) {
	for _, target := range []string{"24", "group/app:a.bin"} {
		a := newAsker(NewGrants(1000), "192.0.2.1", deployCarrier, "")
		for _, allowed := range []string{target, "group/app:b.bin"} {
			a.allowed(allowed, 1)
		}
		a.refused(target, 2, http.StatusUnauthorized)
		a.allowed("25", 3)
		a.refused(target, 4, http.StatusUnauthorized)
		if !a.holds("25") {
			t.Errorf("%s: it did", target)
		}
	}
}

// TestA403Or404EndsOnlyItsProject holds for each credential, of a project by number and of a file by path.
func TestA403Or404EndsOnlyItsProject(t *testing.T) {
	for _, header := range []http.Header{tokenCarrier, basicCarrier, nil} {
		for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusFound, http.StatusOK} {
			grants := NewGrants(1000)
			here, there := newAsker(grants, "192.0.2.1", header, ""), newAsker(grants, "192.0.2.2", header, "")
			all := []string{"24", "25", "group/app:a.bin", "group/app:b.bin"}
			for _, target := range all {
				here.allowed(target, 1)
				there.allowed(target, 1)
			}
			here.refused("24", 2, status)
			here.refused("group/app:a.bin", 2, status)
			for _, target := range all {
				want := target == "25" || target == "group/app:b.bin"
				if here.holds(target) != want || !there.holds(target) {
					t.Errorf("%d: %s is held here: %v, elsewhere: %v", status, target, here.holds(target), there.holds(target))
				}
			}
		}
	}
}

// TestWhatIsNoEvidenceChangesNothing: answers to other methods, about the number of requests, and of a server in trouble.
func TestWhatIsNoEvidenceChangesNothing(t *testing.T) {
	a := newAsker(NewGrants(1000), "192.0.2.1", tokenCarrier, "")
	a.allowed("24", 1)
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions, "QUERY", ""} {
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
			a.grants.Refuse(a.key("24"), NewRefusal(method, a.caller, a.at(2), status))
		}
		a.grants.Allow(a.key("25"), NewYes(method, a.caller, a.at(2), Life{Fresh: time.Hour}))
	}
	for _, status := range []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway} {
		a.refused("24", 2, status)
	}
	a.grants.Refuse(a.key("24"), Refusal{})
	a.grants.Allow(a.key("25"), Yes{})
	a.grants.Refuse(a.key("24"), Answer{Verdict: Unreachable, Sent: a.at(2)}.Refusal(a.caller))
	a.grants.Allow(a.key("25"), Answer{Verdict: Allowed, Unproven: true, Sent: a.at(2)}.Yes(a.caller, Life{Fresh: time.Hour}))
	if !a.holds("24") || a.holds("25") {
		t.Errorf("the grant is held: %v; one is made: %v", a.holds("24"), a.holds("25"))
	}
}

func TestAnotherGitLabs401EndsNothingHere(t *testing.T) {
	a := newAsker(NewGrants(1000), "192.0.2.1", tokenCarrier, "")
	a.allowed("24", 1)
	key := a.key("24")
	key.Upstream = "v"
	a.grants.Refuse(key, NewRefusal(http.MethodGet, a.caller, a.at(2), http.StatusUnauthorized))
	if !a.holds("24") {
		t.Error("it did")
	}
}

func TestAnOlderYesBringsNothingBackAfterA401(t *testing.T) {
	for _, held := range []bool{true, false} {
		a := newAsker(NewGrants(1000), "192.0.2.1", tokenCarrier, "")
		if held {
			a.allowed("24", 1)
		}
		a.refused("25", 5, http.StatusUnauthorized)
		for _, target := range []string{"24", "25", "26", "group/app:a.bin"} {
			a.allowed(target, 3)
			a.allowed(target, 5)
			if a.grants.Len() != 0 || a.holds(target) {
				t.Errorf("held before: %v; %s: an older yes brought a grant", held, target)
			}
		}
		a.allowed("24", 6)
		a.refused("25", 5, http.StatusUnauthorized)
		if !a.holds("24") || a.holds("25") || a.grants.Len() != 1 {
			t.Errorf("held before: %v; after a later yes: held %v, %d grants are counted", held, a.holds("24"), a.grants.Len())
		}
	}
}

// TestA401TakesTheSameTimeHoweverManyGrantsItEnds looks at what it leaves to be done later.
func TestA401TakesTheSameTimeHoweverManyGrantsItEnds(t *testing.T) {
	const many = 1000
	a := newAsker(NewGrants(fairShares*many), "192.0.2.1", tokenCarrier, "")
	for i := range many {
		a.allowed(fmt.Sprint(i), 1)
	}
	a.refused("none", 2, http.StatusUnauthorized)
	if left := len(a.grants.allowed.entries); left != many || a.grants.Len() != 0 {
		t.Errorf("%d entries are left, %d count", left, a.grants.Len())
	}
	for i := range many {
		if a.holds(fmt.Sprint(i)) {
			t.Fatalf("project %d is held", i)
		}
	}
	if len(a.grants.allowed.entries) != 0 || a.grants.over != 0 || len(a.grants.holders) != 0 {
		t.Errorf("after they were met: %d entries, %d over, %d holders", len(a.grants.allowed.entries), a.grants.over, len(a.grants.holders))
	}
}

// TestMadeUpTokensPushOutNoNoteOfATokenThatHeldAGrant: neither the note that it is dead nor that of a project's no.
func TestMadeUpTokensPushOutNoNoteOfATokenThatHeldAGrant(t *testing.T) {
	const most = 160
	grants := NewGrants(most)
	dead, left := newAsker(grants, "192.0.2.1", tokenCarrier, ""), newAsker(grants, "192.0.2.1", deployCarrier, "")
	// A no from before the first yes is to be kept as well as later ones.
	left.refused("26", 4, http.StatusNotFound)
	for _, who := range []asker{dead, left} {
		who.allowed("24", 1)
		who.allowed("26", 5)
	}
	dead.refused("25", 6, http.StatusUnauthorized)
	left.refused("24", 6, http.StatusNotFound)
	for i := range 100 * most {
		// From many addresses, that of the victims among them.
		stranger := newAsker(grants, fmt.Sprintf("192.0.2.%d", i%256), http.Header{"Private-Token": {fmt.Sprint(i)}}, "")
		stranger.refused("24", 7, http.StatusUnauthorized)
		stranger.refused("25", 7, http.StatusNotFound)
	}
	grants.allowed.remove(grants.allowed.find(left.key("26")))
	for _, target := range []string{"24", "25", "26"} {
		dead.allowed(target, 3)
		if dead.holds(target) {
			t.Errorf("%s: the dead token's note is gone", target)
		}
	}
	for _, target := range []string{"24", "26"} {
		left.allowed(target, 3)
		if left.holds(target) {
			t.Errorf("%s: the note of the no is gone", target)
		}
	}
	if n := len(grants.refusals.others.entries) + len(grants.ends.others.entries); n > most/2 {
		t.Errorf("%d notes about strangers are kept", n)
	}
}

// TestOneAddressHoldsNoMoreThanASixteenthOfTheGrants: neither by random cookies on a public project, bound to the address
// or not, nor by long names, nor from a whole IPv6 network.
func TestOneAddressHoldsNoMoreThanASixteenthOfTheGrants(t *testing.T) {
	const most = 320
	for name, test := range map[string]struct {
		address func(i int) string
		unbound bool
		target  string
	}{
		"an address":             {func(int) string { return "198.51.100.1" }, false, "24"},
		"with grant_scope":       {func(int) string { return "198.51.100.1" }, true, "24"},
		"an IPv6 network":        {func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, false, "24"},
		"with long names":        {func(int) string { return "198.51.100.1" }, false, strings.Repeat("x", 4000) + ":a.bin"},
		"the edge's own warming": {func(int) string { return "" }, false, "24"},
	} {
		t.Run(name, func(t *testing.T) {
			grants := NewGrants(most)
			others := make([]asker, 0, most/2)
			for i := range most / 2 {
				others = append(others, newAsker(grants, fmt.Sprintf("192.0.2.%d", i), http.Header{"Private-Token": {fmt.Sprint(i)}}, ""))
				others[i].allowed("24", 1)
			}
			for i := range 10 * most {
				stranger := newAsker(grants, test.address(i), http.Header{"Cookie": {fmt.Sprint(i)}}, "")
				if test.unbound {
					grants.Allow(GrantKey{Upstream: "u", Fingerprint: stranger.print, Project: "24"}, NewYes(http.MethodGet, stranger.caller, stranger.at(1), Life{}))
					continue
				}
				stranger.allowed(test.target, 1)
			}
			for i, other := range others {
				if !other.holds("24") {
					t.Fatalf("grant %d is gone", i)
				}
			}
			if n := grants.Len() - len(others); n > most/fairShares || n < 1 {
				t.Errorf("the address holds %d", n)
			}
		})
	}
}

// TestAnAddressLosesItsOwnLeastRecentlyUsedGrant, and not one that it uses.
func TestAnAddressLosesItsOwnLeastRecentlyUsedGrant(t *testing.T) {
	a := newAsker(NewGrants(fairShares*3), "192.0.2.1", tokenCarrier, "")
	for i := range 10 {
		a.allowed(fmt.Sprint(i), 1)
		a.holds("0")
	}
	for i := range 10 {
		if want := i == 0 || i > 7; a.holds(fmt.Sprint(i)) != want {
			t.Errorf("project %d is held: %v", i, !want)
		}
	}
}

// TestAGrantIsGoodForEachUseAsLongAsItWasGivenForAndSettingsAllow has lives in seconds.
func TestAGrantIsGoodForEachUseAsLongAsItWasGivenForAndSettingsAllow(t *testing.T) {
	start := time.Unix(1e9, 0)
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	life := func(fresh, limited, offline int) Life {
		return Life{seconds(fresh), seconds(limited), seconds(offline)}
	}
	for name, test := range map[string]struct {
		given, settings Life
		want            [3]int // for how many seconds each use is covered
	}{
		"settings as they were": {life(60, 120, 1800), life(60, 120, 1800), [3]int{60, 120, 1800}},
		"longer settings":       {life(2, 4, 0), life(600, 1200, 3600), [3]int{2, 4, 0}},
		"shorter settings":      {life(60, 120, 1800), life(10, 20, 0), [3]int{10, 20, 0}},
	} {
		grant := Grant{Sent: start, Life: test.given}
		for use, covered := range test.want {
			end := start.Add(seconds(covered))
			if grant.Covers(Use(use), test.settings, end) || (covered > 0 && !grant.Covers(Use(use), test.settings, end.Add(-1))) {
				t.Errorf("%s: use %d isn't covered for just %d s", name, use, covered)
			}
		}
	}
}

// TestALaterYesShortensNoLife: another handler with shorter settings got it.
func TestALaterYesShortensNoLife(t *testing.T) {
	a := newAsker(NewGrants(100), "192.0.2.1", tokenCarrier, "")
	allow := func(second int, life Life) {
		a.grants.Allow(a.key("24"), NewYes(http.MethodGet, a.caller, a.at(second), life))
	}
	allow(0, Life{Fresh: time.Minute, Offline: time.Hour})
	allow(10, Life{Fresh: 2 * time.Minute})
	got, _ := a.grants.Granted(a.key("24"))
	if want := (Grant{a.at(10), Life{Fresh: 2 * time.Minute, Offline: time.Hour - 10*time.Second}}); got != want {
		t.Errorf("granted %+v, want %+v", got, want)
	}
}

// simpleGrants is what Grants must agree with: it remembers all, and looks through all.
type simpleGrants struct {
	grants  map[GrantKey]Grant
	refused map[GrantKey]time.Time
	ended   map[Fingerprint]time.Time
	forgot  []forgetting
}

func (s *simpleGrants) allow(key GrantKey, yes Yes) {
	for _, f := range s.forgot {
		if f.covers(key) && !yes.sent.After(f.at) {
			return
		}
	}
	if yes.sent.After(s.refused[key]) && yes.sent.After(s.ended[key.Fingerprint]) && yes.sent.After(s.grants[key].Sent) {
		s.grants[key] = Grant{yes.sent, yes.life}
	}
}

func (s *simpleGrants) refuse(key GrantKey, no Refusal) {
	grant, held := s.grants[key]
	endsAll := no.endsAll(held && no.sent.Before(grant.Sent.Add(grant.Life.Offline)))
	s.refused[key] = latestOf(s.refused[key], no.sent)
	if endsAll {
		s.ended[key.Fingerprint] = latestOf(s.ended[key.Fingerprint], no.sent)
	}
	for other, grant := range s.grants {
		if (other == key || (endsAll && other.Fingerprint == key.Fingerprint)) && !grant.Sent.After(no.sent) {
			delete(s.grants, other)
		}
	}
}

// TestGrantsAgreeWithASimpleMemory tells both the same at random, in any order.
func TestGrantsAgreeWithASimpleMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // G404: a test that can be repeated
	targets, statuses := []string{"24", "25", "group/app:a.bin"}, []int{401, 401, 403, 404}
	for round := range 1000 {
		grants := NewGrants(10_000)
		simple := &simpleGrants{grants: map[GrantKey]Grant{}, refused: map[GrantKey]time.Time{}, ended: map[Fingerprint]time.Time{}}
		askers := make([]asker, 0, 6)
		for _, header := range []http.Header{tokenCarrier, deployCarrier, nil} {
			askers = append(askers, newAsker(grants, "192.0.2.1", header, ""), newAsker(grants, "192.0.2.2", header, ""))
		}
		var log strings.Builder
		for range 40 {
			who, target, second := random.IntN(len(askers)), targets[random.IntN(len(targets))], 1+random.IntN(20)
			a := askers[who]
			key := a.key(target)
			switch kind := random.IntN(10); {
			case kind < 6:
				fmt.Fprintf(&log, " %d+%s@%d", who, target, second)
				a.allowed(target, second)
				simple.allow(key, NewYes(http.MethodGet, a.caller, a.at(second), Life{Fresh: time.Minute, Offline: time.Hour}))
			case kind < 9:
				status := statuses[random.IntN(len(statuses))]
				fmt.Fprintf(&log, " %d-%s@%d:%d", who, target, second, status)
				a.refused(target, second, status)
				simple.refuse(key, NewRefusal(http.MethodGet, a.caller, a.at(second), status))
			case kind == 9 && random.IntN(4) == 0:
				fmt.Fprintf(&log, " forget %s@%d", key.Project, second)
				forgotten := grants.Forget("u", key.Project, a.at(second))
				simple.forgot = append(simple.forgot, forgetting{"u", key.Project, a.at(second)})
				want := 0
				for other := range simple.grants {
					if other.Project == key.Project {
						delete(simple.grants, other)
						want++
					}
				}
				if forgotten != want {
					t.Fatalf("round %d, after%s: forgot %d, want %d", round, log.String(), forgotten, want)
				}
			}
			for i, a := range askers {
				for _, target := range targets {
					want, granted := simple.grants[a.key(target)]
					if got, ok := grants.Granted(a.key(target)); ok != granted || !got.Sent.Equal(want.Sent) {
						t.Fatalf("round %d, after%s: %d holds %s: %v, %v; want %v, %v", round, log.String(), i, target, ok, got.Sent, granted, want.Sent)
					}
				}
			}
			if grants.Len() != len(simple.grants) {
				t.Fatalf("round %d, after%s: %d grants, want %d", round, log.String(), grants.Len(), len(simple.grants))
			}
		}
		grants.Forget("", "", time.Unix(2e9, 0))
		if len(grants.holders)+len(grants.byPath)+len(grants.allowed.shares)+grants.allowed.bytes+grants.over != 0 {
			t.Fatalf("round %d: empty, but something is left", round)
		}
	}
}
