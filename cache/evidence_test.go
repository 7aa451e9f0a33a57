package cache

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// openAt returns a store with a clock of its own.
func openAt(t *testing.T, limits Limits) (*Store, *testClock) {
	t.Helper()
	clock := new(testClock)
	if limits.MaxSize == 0 {
		limits.MaxSize = 1 << 30
	}
	s, err := Open(Config{Dir: t.TempDir(), Limits: limits, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	awaitLoaded(t, s)
	return s, clock
}

func spelling(k Key, project string) Key {
	k.Project = project
	return k
}

func (s *Store) lookup(t *testing.T, k Key) Entry {
	t.Helper()
	entry, err := s.Lookup(k)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

func TestAPublishElsewhereRaisesNoOtherProjectsGeneration(t *testing.T) {
	s, _ := openAt(t, Limits{})
	ours := testKey("a")
	s.put(t, ours, []byte("x"))
	for name, other := range map[string]Key{
		"project":  spelling(ours, "25"),
		"upstream": {"https://other.example.com", ours.Project, ours.Package, ours.Version, ours.File},
		"version":  {ours.Upstream, ours.Project, ours.Package, "2.0.0", ours.File},
	} {
		t.Run(name, func(t *testing.T) {
			before, others := s.Generation(ours), s.Generation(other)
			if raised := s.Raise(other, Published); raised != others.Next() || raised != s.Generation(other) {
				t.Errorf("the publish led from %s to %s", others, raised)
			}
			if s.Generation(ours) != before {
				t.Error("our generation was raised")
			}
			if entry := s.lookup(t, ours); entry.Confirmed.IsZero() || entry.Questioned {
				t.Errorf("our entry: %+v", entry)
			}
		})
	}
}

func TestEvidenceWithoutAReasonIsRefused(t *testing.T) {
	s, clock := openAt(t, Limits{})
	k := testKey("a")
	s.put(t, k, []byte("x"))
	before := s.Generation(k)
	for name, change := range map[string]func(){
		"no raise":         func() { s.Raise(k, 0) },
		"unknown raise":    func() { s.Raise(k, SoftPurged+1) },
		"no question":      func() { s.Question(k, clock.now(), 0) },
		"unknown question": func() { s.Question(k, clock.now(), GoneForOne+1) },
		"no doubt":         func() { s.Doubt(k, clock.now(), 0) },
		"unknown doubt":    func() { s.Doubt(k, clock.now(), OtherContentNamed+1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was accepted")
				}
				if entry := s.lookup(t, k); s.Generation(k) != before || entry.Confirmed.IsZero() || entry.Questioned {
					t.Errorf("it had an effect: %+v", entry)
				}
			}()
			change()
		})
	}
}

func TestAQuestionKeepsOfflineLifeAndEndsFreshness(t *testing.T) {
	for _, why := range []QuestionReason{PublishedElsewhere, UploadUnanswered, GoneForOne} {
		t.Run(why.String(), func(t *testing.T) {
			s, clock := openAt(t, Limits{})
			k, other := testKey("a"), testKey("b")
			entry := s.put(t, k, []byte("x"))
			s.put(t, other, []byte("y"))
			g := s.Generation(k)
			clock.pass(time.Second)
			asked := clock.now()
			s.Question(spelling(k, "group/app"), asked, why)
			s.Question(k, asked.Add(-time.Hour), why) // an older one takes nothing back
			if got := s.lookup(t, k); !got.Questioned || !got.Confirmed.Equal(entry.Confirmed) {
				t.Errorf("the entry: questioned %v, confirmed %v", got.Questioned, got.Confirmed)
			}
			if got := s.lookup(t, other); got.Questioned {
				t.Error("another file is questioned, too")
			}
			if s.Generation(k) != g {
				t.Error("the generation was raised")
			}
			for _, test := range []struct {
				after time.Duration
				is    bool
			}{{-time.Second, true}, {0, true}, {1, false}} {
				if got := s.IsQuestioned(k, asked.Add(test.after)); got != test.is {
					t.Errorf("what was asked %v after is questioned: %v", test.after, got)
				}
			}
			if _, worth := s.Confirm(entry, g, asked, Named{}); worth != Superseded {
				t.Errorf("an answer from before is %s", worth)
			}
			if got := s.lookup(t, k); !got.Questioned {
				t.Error("an answer from before ended the question")
			}
			if got, worth := s.Confirm(entry, g, asked.Add(1), Named{}); worth != Confirmed || got.Questioned || !got.Confirmed.Equal(asked.Add(1)) {
				t.Errorf("an answer from after is %s: %+v", worth, got)
			}
			if got := s.lookup(t, k); got.Questioned {
				t.Error("still questioned after an answer")
			}
		})
	}
}

// TestAFillThatRunsDuringAQuestionIsAskedAboutAndKeepsItsOfflineLife stores what was fetched before and after a question.
func TestAFillThatRunsDuringAQuestionIsAskedAboutAndKeepsItsOfflineLife(t *testing.T) {
	s, clock := openAt(t, Limits{})
	k := testKey("a")
	asked := clock.now()
	for _, test := range []struct {
		content    string
		confirmed  time.Time
		questioned bool
	}{{"before", asked, true}, {"after", asked.Add(1), false}} {
		g := s.Generation(k)
		fill := s.begin(t, k, FillSpec{Size: -1, Confirmed: test.confirmed})
		fill.write(t, []byte(test.content))
		s.Question(spelling(k, "group/app"), asked, UploadUnanswered)
		entry, err := fill.Commit(g)
		if err != nil || !entry.Confirmed.Equal(test.confirmed) || entry.Questioned != test.questioned {
			t.Errorf("%s: confirmed %v, questioned %v, %v", test.content, entry.Confirmed, entry.Questioned, err)
		}
		linked, err := s.Link(spelling(k, "25"), s.Generation(spelling(k, "25")),
			FillSpec{Size: -1, SHA256: entry.Digest, Confirmed: test.confirmed})
		if err != nil || !linked.Confirmed.Equal(test.confirmed) || linked.Questioned != test.questioned {
			t.Errorf("%s, linked: confirmed %v, questioned %v, %v", test.content, linked.Confirmed, linked.Questioned, err)
		}
	}
}

func TestOnlyOtherContentEndsOfflineLife(t *testing.T) {
	s, clock := openAt(t, Limits{})
	k := testKey("a")
	entry := s.put(t, k, []byte("x"))
	clock.pass(time.Second)
	for _, why := range []QuestionReason{PublishedElsewhere, UploadUnanswered, GoneForOne} {
		s.Question(k, clock.now(), why)
	}
	s.Raise(spelling(k, "25"), Published)
	s.Raise(spelling(k, "25"), SoftPurged)
	s.Doubt(spelling(k, "25"), clock.now(), OtherContentNamed)
	if got := s.lookup(t, k); !got.Confirmed.Equal(entry.Confirmed) {
		t.Errorf("confirmed %v before", got.Confirmed)
	}
	s.Doubt(k, clock.now(), OtherContentNamed)
	if got := s.lookup(t, k); !got.Confirmed.IsZero() {
		t.Errorf("confirmed %v after other content was named", got.Confirmed)
	}
}

// TestAPublishOfAnotherKeyInTheSameSlotEndsNoOfflineLife has somebody publish so many names elsewhere that each slot is met.
func TestAPublishOfAnotherKeyInTheSameSlotEndsNoOfflineLife(t *testing.T) {
	s, clock := openAt(t, Limits{})
	k := testKey("a")
	entry := s.put(t, k, []byte("x"))
	clock.pass(time.Second)
	before := s.Generation(k)
	for i := 0; s.Generation(k) == before; i++ {
		s.Raise(spelling(testKey(fmt.Sprint("elsewhere", i)), "25"), Published)
	}
	got := s.lookup(t, k)
	if !got.Confirmed.Equal(entry.Confirmed) || !got.Questioned {
		t.Errorf("after a publish in the same slot: confirmed %v, questioned %v", got.Confirmed, got.Questioned)
	}
	if got, worth := s.Confirm(got, s.Generation(k), clock.now(), Named{}); worth != Confirmed || got.Questioned {
		t.Errorf("after the answer: %v, questioned %v", worth, got.Questioned)
	}
	s.Raise(k, Published)
	if got := s.lookup(t, k); !got.Confirmed.IsZero() {
		t.Error("its own publish leaves the offline life")
	}
}

// TestDoubtsOfOneKeyCantBeAimedAtAnother looks for file names that share the first bits of another's SHA-256: the table was
// indexed by these.
func TestDoubtsOfOneKeyCantBeAimedAtAnother(t *testing.T) {
	s, clock := openAt(t, Limits{})
	victim := testKey("victim")
	want := victim.hash()
	aimed := 0
	for i := 0; aimed < 3; i++ {
		k := testKey(fmt.Sprint("aimed", i))
		if h := k.hash(); h[0] == want[0] && h[1] == want[1] {
			aimed++
			s.Doubt(k, clock.now(), OtherContentNamed)
			s.Question(k, clock.now(), GoneForOne)
			s.Raise(k, Published)
			if !s.IsDoubted(k, clock.now()) || !s.IsQuestioned(k, clock.now()) {
				t.Errorf("%s is neither doubted nor questioned", k)
			}
		}
	}
	if s.IsDoubted(victim, clock.now()) || s.IsQuestioned(victim, clock.now()) {
		t.Error("the doubts and questions of others hold for the victim, too")
	}
	// Nor by a slot that a store gave before: each draws its own.
	same := 0
	for i := range 16 {
		if k := testKey(fmt.Sprint(i)); s.answers.slots.ofKey(k) == newSlots().ofKey(k) {
			same++
		}
	}
	if same > 2 {
		t.Errorf("%d of 16 keys have the same slot in another store", same)
	}
}

// lags reports whether an answer that was asked for at that time and names this content may be a replica's that lags.
func (s *Store) lags(k Key, content Digest, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers.lags(formerBlob{k.hash(), content}, at.Sub(s.started))
}

func TestWhatWasCurrentBeforeAPublishConfirmsNothingForTenSeconds(t *testing.T) {
	old, fresh := []byte("old"), []byte("new")
	for _, test := range []struct {
		name  string
		after time.Duration
		worth Confirmation
	}{{"at once", 1, Lagging}, {"just before", 10*time.Second - 1, Lagging}, {"then", 10 * time.Second, Confirmed}} {
		t.Run(test.name, func(t *testing.T) {
			s, clock := openAt(t, Limits{})
			confirmed, fetched, linked := testKey("confirmed"), testKey("fetched"), testKey("linked")
			for _, k := range []Key{confirmed, fetched, linked} {
				s.put(t, k, old)
			}
			digest := s.lookup(t, confirmed).Digest
			for _, k := range []Key{confirmed, fetched, linked} {
				s.Raise(k, Published)
			}
			clock.pass(test.after)
			lags := test.worth == Lagging
			if got := s.lags(confirmed, digest, clock.now()); got != lags {
				t.Errorf("it lags: %v", got)
			}
			entry, worth := s.Confirm(s.lookup(t, confirmed), s.Generation(confirmed), clock.now(), Named{})
			if worth != test.worth || entry.Confirmed.IsZero() != lags || entry.Digest != digest {
				t.Errorf("an answer is %s: %+v", worth, entry)
			}
			if got := s.put(t, fetched, old); got.Confirmed.IsZero() != lags {
				t.Errorf("fetched anew, it is confirmed %v", got.Confirmed)
			}
			// Stored anew, it still is what was current before.
			if _, worth := s.Confirm(s.lookup(t, fetched), s.Generation(fetched), clock.now(), Named{}); worth != test.worth {
				t.Errorf("of what was fetched anew, an answer is %s", worth)
			}
			link, err := s.Link(linked, s.Generation(linked), FillSpec{Size: -1, SHA256: digest, Confirmed: clock.now()})
			if err != nil || link.Confirmed.IsZero() != lags {
				t.Errorf("linked anew, it is confirmed %v, %v", link.Confirmed, err)
			}
			if got := s.put(t, confirmed, fresh); got.Confirmed.IsZero() {
				t.Error("other content isn't confirmed")
			}
		})
	}
}

func TestAReplicaThatLagsDoesNotBringTheOlderFileBack(t *testing.T) {
	s, clock := openAt(t, Limits{})
	k := testKey("a")
	s.put(t, k, []byte("old"))
	g := s.Raise(k, Published)
	clock.pass(time.Second)
	s.put(t, k, []byte("new"))
	clock.pass(time.Second)
	fill := s.begin(t, k, FillSpec{Size: 3, Confirmed: clock.now()})
	fill.write(t, []byte("old"))
	if _, err := fill.Commit(g); !errors.Is(err, ErrSuperseded) {
		t.Errorf("committed with %v", err)
	}
	if got := s.lookup(t, k); string(s.content(t, k)) != "new" || got.Confirmed.IsZero() {
		t.Errorf("there is %q, confirmed %v", s.content(t, k), got.Confirmed)
	}
	// Later it is what somebody brought back: the newest upload was deleted.
	clock.pass(replicaLag)
	if got := s.put(t, k, []byte("old")); got.Confirmed.IsZero() || string(s.content(t, k)) != "old" {
		t.Errorf("ten seconds later: %+v", got)
	}
}

func TestFormerContentsAreBoundedInNumberAndTime(t *testing.T) {
	f := newFormers()
	content := func(i int) formerBlob { return formerBlob{digest: numberedDigest(i)} }
	for i := range maxFormer + 10 {
		f.note(content(i), 0)
	}
	if n := f.published.Len(); n != maxFormer || f.lags(content(0), 0) || !f.lags(content(maxFormer), 0) {
		t.Errorf("%d are remembered", n)
	}
	f.note(content(0), replicaLag)
	if n := f.published.Len(); n != 1 || !f.lags(content(0), replicaLag) {
		t.Errorf("%d are remembered after %v", n, replicaLag)
	}
}
