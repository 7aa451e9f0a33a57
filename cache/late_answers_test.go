package cache

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// TestAnOlderDoubtTakesNoLaterConfirmationAway: what contradicted the entry was asked before somebody heard that it is right.
func TestAnOlderDoubtTakesNoLaterConfirmationAway(t *testing.T) {
	for _, test := range []struct {
		doubted time.Duration
		want    bool
	}{{-1, true}, {0, false}, {1, false}} {
		s, clock := openAt(t, Limits{})
		clock.pass(time.Minute)
		e := s.put(t, testKey("a"), []byte("x"))
		s.Doubt(e.Key, e.Confirmed.Add(test.doubted), OtherContentNamed)
		if got := !s.lookup(t, e.Key).Confirmed.IsZero(); got != test.want {
			t.Errorf("a doubt of %v later leaves it confirmed: %v", test.doubted, got)
		}
	}
}

// TestAnAnswerConfirmsForTheGenerationInWhichItWasAsked, also at the very moment of the confirmation before: else the entry
// would be asked about again and again.
func TestAnAnswerConfirmsForTheGenerationInWhichItWasAsked(t *testing.T) {
	s, clock := openAt(t, Limits{})
	e := s.put(t, testKey("a"), []byte("x"))
	s.generations.slot(e.Key).Add(1) // somebody published another key of the same slot
	if got := s.lookup(t, e.Key); !got.Questioned || !got.Confirmed.Equal(clock.now()) {
		t.Fatalf("after a publish: %+v", got)
	}
	got, worth := s.Confirm(e, s.Generation(e.Key), clock.now(), Named{})
	if worth != Confirmed || got.Questioned || s.lookup(t, e.Key).Questioned {
		t.Errorf("after the answer, which is %s: %+v", worth, got)
	}
	older, worth := s.Confirm(got, s.Generation(e.Key), clock.now().Add(-time.Minute), Named{})
	if worth != Confirmed || !older.Confirmed.Equal(clock.now()) {
		t.Errorf("an answer of a minute before, which is %s, leaves it confirmed at %s", worth, older.Confirmed)
	}
	s.Raise(e.Key, SoftPurged)
	got, worth = s.Confirm(got, s.Generation(e.Key), clock.now(), Named{})
	if worth != Confirmed || !got.Confirmed.Equal(clock.now()) {
		t.Errorf("an answer after a soft purge, which is %s: %+v", worth, got)
	}
}

// TestAFileOfWhichNoAnswerToldReplacesOneThatWasConfirmed: an upload's copy comes later, and isn't taken for older.
func TestAFileOfWhichNoAnswerToldReplacesOneThatWasConfirmed(t *testing.T) {
	s, _ := openAt(t, Limits{})
	k := testKey("a")
	s.put(t, k, []byte("old"))
	fill := s.begin(t, k, FillSpec{Size: 3})
	fill.write(t, []byte("new"))
	entry, err := fill.Commit(s.Generation(k))
	if err != nil || !entry.Confirmed.IsZero() || !bytes.Equal(s.content(t, k), []byte("new")) {
		t.Errorf("there is %q; %+v, %v", s.content(t, k), entry, err)
	}
}

// TestWhatIsOlderIsOtherContentOfTheSameGeneration: the same file is stored again whatever its answer's age, and other content where the older answer is of a newer generation, or what
// is there was contradicted.
func TestWhatIsOlderIsOtherContentOfTheSameGeneration(t *testing.T) {
	old, other := []byte("old"), []byte("other")
	for _, test := range []struct {
		name   string
		data   []byte
		change func(s *Store, k Key)
		want   error
	}{
		{"the same file", old, nil, nil},
		{"another file", other, nil, ErrSuperseded},
		{"another file of a newer generation", other, func(s *Store, k Key) { s.generations.slot(k).Add(1) }, nil},
		{"another file, after other content was named", other, func(s *Store, k Key) { s.Doubt(k, s.now(), OtherContentNamed) }, nil},
	} {
		s, clock := openAt(t, Limits{})
		clock.pass(time.Hour)
		k := testKey("a")
		s.put(t, k, old)
		if test.change != nil {
			test.change(s, k)
		}
		fill := s.begin(t, k, FillSpec{Size: int64(len(test.data)), Confirmed: clock.now().Add(-time.Minute)})
		fill.write(t, test.data)
		if _, err := fill.Commit(s.Generation(k)); !errors.Is(err, test.want) || (test.want == nil && err != nil) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestOfTwoFilesThatWerePublishedOverTheLastIsKept: a replica may be behind by either.
func TestOfTwoFilesThatWerePublishedOverTheLastIsKept(t *testing.T) {
	s, clock := openAt(t, Limits{})
	k := testKey("a")
	for _, data := range []string{"one", "two"} {
		s.put(t, k, []byte(data))
		s.Raise(k, Published)
		clock.pass(time.Second)
	}
	if got := s.put(t, k, []byte("one")); !got.Confirmed.IsZero() || string(s.content(t, k)) != "one" {
		t.Errorf("%+v", got)
	}
}

// TestWhatIsLearntKeepsNoConfirmation that something takes away later.
func TestWhatIsLearntKeepsNoConfirmation(t *testing.T) {
	s, clock := openAt(t, Limits{})
	e := s.put(t, testKey("a"), []byte("x"))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.stopJanitor()
	s.durability.hot.Purge()
	s.Question(e.Key, clock.now(), GoneForOne)
	e = s.lookup(t, e.Key)
	s.durability.hot.Purge()
	clock.pass(time.Second)
	if got, worth := s.Confirm(e, s.Generation(e.Key), clock.now(), Named{Identity: Identity{ETag: `"1"`}}); worth != Confirmed || got.Identity.ETag != `"1"` {
		t.Fatalf("%+v, %s", got, worth)
	}
	if got := s.lookup(t, e.Key); got.Identity.ETag != `"1"` || got.Questioned || !got.Confirmed.Equal(clock.now()) {
		t.Errorf("learnt: %+v", got)
	}
	s.Doubt(e.Key, clock.now(), OtherContentNamed)
	if got := s.lookup(t, e.Key); !got.Confirmed.IsZero() || got.Questioned {
		t.Errorf("after other content was named: %+v", got)
	}
}

// TestWhatWasCurrentBeforeAPublishDuringTheStartConfirmsNothing: what the index alone knows yet counts, too.
func TestWhatWasCurrentBeforeAPublishDuringTheStartConfirmsNothing(t *testing.T) {
	data := randomBytes(1000, 1)
	dir := leftWith(t, testKey("a"), data)
	s, goOn := openLoading(t, dir)
	g := s.Raise(testKey("a"), Published)
	e := s.lookup(t, testKey("a"))
	if _, worth := s.Confirm(e, g, s.now(), Named{}); worth != Lagging {
		t.Errorf("an answer with the former content is %s", worth)
	}
	goOn()
}

// TestWhoWaitsForRoomHearsWhenAReaderLeaves the last of a file, which may be evicted or take no more room then.
func TestWhoWaitsForRoomHearsWhenAReaderLeaves(t *testing.T) {
	for name, purged := range map[string]bool{"a file that stays": false, "a file that was removed": true} {
		t.Run(name, func(t *testing.T) {
			s, _ := openAt(t, Limits{})
			e := s.put(t, testKey("a"), randomBytes(openSize, 1))
			first, last := s.mustOpen(t, e), s.mustOpen(t, e)
			if purged {
				if _, err := s.Purge(t.Context(), Selector{}); err != nil {
					t.Fatal(err)
				}
			}
			s.stopJanitor() // which announces changes, too
			s.mu.Lock()
			change := s.space.change()
			s.mu.Unlock()
			heard := func() bool {
				select {
				case <-change:
					return true
				default:
					return false
				}
			}
			if err := first.Close(); err != nil || heard() {
				t.Errorf("one of two readers has left: %v", err)
			}
			if err := last.Close(); err != nil || !heard() {
				t.Errorf("nobody hears that the last reader has left: %v", err)
			}
		})
	}
}
