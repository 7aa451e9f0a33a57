package upstream

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// history is what Grants must agree with, whatever the order in which answers arrive: the newest yes counts if it was
// asked for later than every no.
type history struct{ yes, no time.Time }

func (h *history) granted() (time.Time, bool) { return h.yes, h.yes.After(h.no) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func TestOnlyWhenAnswersWereAskedForCounts(t *testing.T) {
	start := time.Now()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // G404: a test that can be repeated
	for round := range 2000 {
		grants, told := NewGrants(4), history{}
		key := GrantKey{Upstream: "u", Project: "24"}
		var log strings.Builder
		for range 8 {
			// Few moments, so that answers often come from the same one.
			sent, yes := start.Add(time.Duration(random.IntN(5))*time.Second), random.IntN(2) == 0
			fmt.Fprintf(&log, " %v:%v", sent.Sub(start), yes)
			if yes {
				grants.Allow(key, yesAt(sent))
				told.yes = later(told.yes, sent)
			} else {
				grants.Refuse(key, noAt(sent))
				told.no = later(told.no, sent)
			}
			want, granted := told.granted()
			if got, ok := grants.Granted(key); ok != granted || (ok && !got.Sent.Equal(want)) {
				t.Fatalf("round %d, after%s: granted %v at %v, want %v at %v", round, log.String(), ok, got.Sent.Sub(start), granted, want.Sub(start))
			}
		}
	}
}

func TestARefusalAtTheVeryMomentOfAYesWins(t *testing.T) {
	at := time.Now()
	key := GrantKey{Upstream: "u", Project: "24"}
	for _, answers := range [][]bool{{true, false}, {false, true}, {true, false, true}} {
		grants := NewGrants(1)
		for _, yes := range answers {
			if yes {
				grants.Allow(key, yesAt(at))
			} else {
				grants.Refuse(key, noAt(at))
			}
		}
		if _, ok := grants.Granted(key); ok {
			t.Errorf("%v: granted", answers)
		}
	}
}

func TestUseNeverExtendsAGrant(t *testing.T) {
	grants, key, sent := NewGrants(10), GrantKey{Project: "24"}, time.Now()
	grants.Allow(key, yesAt(sent))
	for range 1000 {
		if got, ok := grants.Granted(key); !ok || !got.Sent.Equal(sent) {
			t.Fatalf("granted %v at %v, want %v", ok, got, sent)
		}
	}
}

// TestStrangersPushNobodysGrantOut: anybody can make GitLab refuse as many tokens as they like.
func TestStrangersPushNobodysGrantOut(t *testing.T) {
	const most = 100
	grants, sent := NewGrants(most), time.Now()
	key := func(i int) (key GrantKey) {
		binary.BigEndian.PutUint64(key.Fingerprint[:], uint64(i)) //nolint:gosec // G115: never negative
		return key
	}
	for i := range most {
		grants.Allow(key(i), yesFrom(fmt.Sprintf("192.0.2.%d", i), sent))
	}
	for i := range 50 * most {
		grants.Refuse(key(1000+i), noAt(sent))
		if _, ok := grants.Granted(key(1000 + i)); ok {
			t.Fatal("a refused stranger is granted")
		}
	}
	for i := range most {
		if _, ok := grants.Granted(key(i)); !ok {
			t.Errorf("grant %d is gone", i)
		}
	}
	if n := grants.Len(); n != most {
		t.Errorf("%d grants are remembered, want %d", n, most)
	}
	grants.Allow(key(most), yesAt(sent))
	if _, ok := grants.Granted(key(0)); ok || grants.Len() != most {
		t.Errorf("%d grants are remembered, the least recently used one too", grants.Len())
	}
}

// TestLongNamesAreBoundedInBytes: who asks chooses the project's spelling.
func TestLongNamesAreBoundedInBytes(t *testing.T) {
	const most, length = 100, 4000
	grants, sent := NewGrants(most), time.Now()
	name := func(i int) string { return fmt.Sprintf("%0*d", length, i) }
	for i := range 3 * most {
		grants.Allow(GrantKey{Project: name(i)}, yesFrom(fmt.Sprint(i), sent))
		grants.Refuse(GrantKey{Project: name(1000 + i)}, noAt(sent))
		if _, ok := grants.Granted(GrantKey{Project: name(i)}); !ok {
			t.Fatal("the newest grant is gone")
		}
	}
	if n := grants.Len(); n > most*keyBudget/length {
		t.Errorf("%d grants of %d bytes are remembered", n, length)
	}
	for i := range most {
		grants.Allow(GrantKey{Project: "short", ClientIP: fmt.Sprint(i)}, yesFrom(fmt.Sprint(i), sent))
	}
	if n := grants.Len(); n < most-1 {
		t.Errorf("only %d short ones are remembered after that", n)
	}
	grants.Forget("", "", sent)
	if grants.allowed.bytes != 0 || grants.Len() != 0 {
		t.Errorf("nothing is remembered, but %d bytes are counted", grants.allowed.bytes)
	}
	alone := NewGrants(1)
	alone.Allow(GrantKey{Project: name(1)}, yesAt(sent))
	if _, ok := alone.Granted(GrantKey{Project: name(1)}); !ok {
		t.Error("a single long one isn't remembered")
	}
}

// TestAGrantKeepsNothingOfTheRequest: keys are pieces of a first line that may have a megabyte.
func TestAGrantKeepsNothingOfTheRequest(t *testing.T) {
	const requests, line = 64, 1 << 20
	grants, sent := NewGrants(4*requests), time.Now()
	before := heapInUse()
	for i := range requests {
		text := fmt.Sprintf("%08d/192.0.2.1/%s", i, strings.Repeat("x", line))
		key := GrantKey{Project: text[:8], ClientIP: text[9:18]}
		if i%2 == 0 {
			grants.Allow(key, yesFrom(fmt.Sprint(i), sent))
		} else {
			grants.Refuse(key, NewRefusal(http.MethodGet, Caller{ClientIP: fmt.Sprint(i)}, sent, http.StatusNotFound))
		}
	}
	if kept := heapInUse() - before; kept > requests*line/4 {
		t.Errorf("%d grants keep %d bytes in memory", requests, kept)
	}
	runtime.KeepAlive(grants)
}

func TestForgetTakesWhatItSays(t *testing.T) {
	sent := time.Now()
	all := []GrantKey{
		{Upstream: "u", Project: "24"},
		{Upstream: "u", Project: "24", ClientIP: "192.0.2.1"},
		{Upstream: "u", Project: "24", Fingerprint: Fingerprint{1}},
		{Upstream: "u", Project: "group/app"},
		{Upstream: "v", Project: "24"},
	}
	for _, test := range []struct {
		upstream, project string
		want              int
	}{{"u", "24", 3}, {"u", "", 4}, {"", "", 5}, {"", "24", 4}, {"v", "group/app", 0}, {"w", "", 0}, {"u", "2", 0}, {"u", "group", 0}} {
		grants := NewGrants(100)
		for _, key := range all {
			grants.Allow(key, yesAt(sent))
		}
		if got := grants.Count(test.upstream, test.project); got != test.want || grants.Len() != len(all) {
			t.Errorf("%q %q: counted %d, want %d; %d are left", test.upstream, test.project, got, test.want, grants.Len())
		}
		if got := grants.Forget(test.upstream, test.project, sent); got != test.want || grants.Len() != len(all)-test.want {
			t.Errorf("%q %q: forgot %d, want %d; %d are left", test.upstream, test.project, got, test.want, grants.Len())
		}
		for _, key := range all {
			gone := (test.upstream == "" || key.Upstream == test.upstream) && (test.project == "" || key.Project == test.project)
			if _, ok := grants.Granted(key); ok == gone {
				t.Errorf("%q %q: %+v is granted: %v", test.upstream, test.project, key, ok)
			}
		}
	}
}

// TestForgettingAGrantForgetsNoRefusal: a yes from before a no mustn't count, whatever was dropped meanwhile.
func TestForgettingAGrantForgetsNoRefusal(t *testing.T) {
	start := time.Now()
	grants, key := NewGrants(10), GrantKey{Upstream: "u", Project: "24"}
	grants.Refuse(key, noAt(start.Add(2*time.Second)))
	grants.Allow(key, yesAt(start.Add(3*time.Second)))
	if forgotten := grants.Forget("u", "24", start.Add(3*time.Second)); forgotten != 1 {
		t.Fatalf("forgot %d", forgotten)
	}
	grants.Allow(key, yesAt(start.Add(time.Second)))
	if _, ok := grants.Granted(key); ok {
		t.Error("granted by a yes from before the refusal")
	}
	grants.Allow(key, yesAt(start.Add(4*time.Second)))
	if _, ok := grants.Granted(key); !ok {
		t.Error("a new yes isn't a grant")
	}
}

func TestAnswersMayArriveAllAtOnce(t *testing.T) {
	const callers, answers = 8, 200
	start := time.Now()
	grants := NewGrants(1000)
	keys := make([]GrantKey, callers)
	told := make([]history, callers)
	var all sync.WaitGroup
	for i := range keys {
		keys[i] = GrantKey{Upstream: "u", Fingerprint: Fingerprint{byte(i)}, Project: "24"}
		random := rand.New(rand.NewPCG(7, uint64(i))) //nolint:gosec // G404: a test that can be repeated
		for range answers {
			sent, yes := start.Add(time.Duration(random.IntN(100))*time.Millisecond), random.IntN(2) == 0
			if yes {
				told[i].yes = later(told[i].yes, sent)
			} else {
				told[i].no = later(told[i].no, sent)
			}
			all.Go(func() {
				if yes {
					grants.Allow(keys[i], yesAt(sent))
				} else {
					grants.Refuse(keys[i], noAt(sent))
				}
				grants.Granted(keys[i])
				grants.Len()
			})
		}
	}
	all.Wait()
	for i, key := range keys {
		want, granted := told[i].granted()
		if got, ok := grants.Granted(key); ok != granted || (ok && !got.Sent.Equal(want)) {
			t.Errorf("caller %d: granted %v at %v, want %v at %v", i, ok, got, granted, want)
		}
	}
}

func TestGrantedDoesNotAllocate(t *testing.T) {
	grants, key := NewGrants(10), GrantKey{Upstream: "https://gitlab.example.com", ClientIP: "192.0.2.1", Project: "24"}
	grants.Allow(key, yesAt(time.Now()))
	if got := testing.AllocsPerRun(100, func() { grants.Granted(key) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkGrantedInParallel(b *testing.B) {
	const most = 100_000
	grants, sent := NewGrants(most), time.Now()
	key := func(i int) GrantKey {
		key := GrantKey{Upstream: "https://gitlab.example.com", ClientIP: "192.0.2.1", Project: "24"}
		binary.BigEndian.PutUint64(key.Fingerprint[:], uint64(i)) //nolint:gosec // G115: never negative
		return key
	}
	for i := range most {
		grants.Allow(key(i), yesFrom(fmt.Sprintf("192.0.2.%d", i), sent))
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(most); pb.Next(); i++ { //nolint:gosec // G404: only a place to begin
			if _, ok := grants.Granted(key(i % most)); !ok {
				b.Fatal("no grant")
			}
		}
	})
}

// TestAForgottenGrantIsNotBroughtBackByALateYes: an admin has grants forgotten so that GitLab is asked again.
func TestAForgottenGrantIsNotBroughtBackByALateYes(t *testing.T) {
	start := time.Now()
	grants, ours, other := NewGrants(100), GrantKey{Upstream: "u", Project: "24"}, GrantKey{Upstream: "u", Project: "25"}
	grants.Forget("u", "24", start)
	grants.Allow(ours, yesAt(start))
	grants.Allow(other, yesAt(start))
	if _, ok := grants.Granted(ours); ok {
		t.Error("granted by an answer to a request from before the forgetting")
	}
	if _, ok := grants.Granted(other); !ok {
		t.Error("another project's grant doesn't count")
	}
	grants.Allow(ours, yesAt(start.Add(1)))
	if _, ok := grants.Granted(ours); !ok {
		t.Error("a new yes isn't a grant")
	}
	grants.Forget("v", "", start.Add(2*keptForgettings))
	if n := len(grants.forgettings); n != 1 {
		t.Errorf("%d forgettings are remembered", n)
	}
}
