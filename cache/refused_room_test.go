package cache

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestAStepIsDoneAgainOnlyWhereRoomIsWhatItLacks, a few times, and the store is not emptied for a disk that stays full.
func TestAStepIsDoneAgainOnlyWhereRoomIsWhatItLacks(t *testing.T) {
	full, quota, broken := syscall.ENOSPC, fmt.Errorf("writing: %w", syscall.EDQUOT), syscall.EIO
	for name, test := range map[string]struct {
		files int
		steps []error // the last one goes on
		want  error
		tries int
		// inVain says that nothing is evicted for this disk for a while.
		inVain bool
	}{
		"it is well":                             {16, []error{nil}, nil, 1, false},
		"it is broken":                           {16, []error{broken}, broken, 1, false},
		"it is full":                             {65, []error{full}, full, 1 + refusedTries, true},
		"the quota is used up":                   {65, []error{quota}, quota, 1 + refusedTries, true},
		"it was full":                            {16, []error{full, nil}, nil, 2, false},
		"it was full to the last try":            {65, []error{full, full, full, full, nil}, nil, 1 + refusedTries, false},
		"it was full and is broken":              {16, []error{full, broken}, broken, 2, false},
		"it is full, and there is nothing to go": {0, []error{full}, full, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			clock := new(testClock)
			s, _ := openSticky(t, Limits{MaxSize: 1 << 30}, clock)
			for i := range test.files {
				s.put(t, numberedKey(i), randomBytes(1000, byte(i)))
			}
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			f := s.begin(t, testKey("new"), FillSpec{Size: 1 << 20})
			tries := 0
			err := f.insist(func() error {
				tries++
				return test.steps[min(tries, len(test.steps))-1]
			})
			if !errors.Is(err, test.want) || (test.want == nil && err != nil) || tries != test.tries {
				t.Errorf("after %d tries: %v", tries, err)
			}
			if s.entries.len() != test.files-refusedEntries*(tries-1) {
				t.Errorf("%d entries are left after %d tries", s.entries.len(), tries)
			}
			if inVain := s.space.inVain.Equal(clock.now()); inVain != test.inVain {
				t.Errorf("for a while nothing is evicted for it: %v", inVain)
			}
			f.Abort(nil)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again := openStore(t, s.dir, Limits{})
			awaitLoaded(t, again)
			if left := again.entries.len(); left != s.entries.len() {
				t.Errorf("%d entries are back after the next start", left-s.entries.len())
			}
		})
	}
}

// TestWhoGivesWayToAFillThatADiskRefuses: beginnings, then copies of others' uploads, then what was used least recently, as much as
// the fill lacks; and nobody where that would gain nothing.
func TestWhoGivesWayToAFillThatADiskRefuses(t *testing.T) {
	const size, files = 1000, 20
	for name, test := range map[string]struct {
		before func(s *Store, f *Fill, clock *testClock)
		// ways are what is left after each step: entries, beginnings and copies.
		ways []string
	}{
		"all that there is, in this order": {func(*Store, *Fill, *testClock) {}, []string{"20 0 1", "20 0 0", "18 0 0", "16 0 0"}},
		"a fill that lacks no byte":        {func(_ *Store, f *Fill, _ *testClock) { f.onDisk = f.reserved }, []string{"20 0 1", "20 0 0", "19 0 0"}},
		"a fill that lacks many":           {func(_ *Store, f *Fill, _ *testClock) { f.onDisk -= 1 << 20 }, []string{"20 0 1", "20 0 0", "4 0 0", "0 0 0", "none"}},
		"one that keeps what is used":      {func(_ *Store, f *Fill, _ *testClock) { f.spec.Keeps = new(Moment) }, []string{"20 0 1", "20 0 0", "none"}},
		"a copy":                           {func(s *Store, f *Fill, _ *testClock) { f.room = &s.space.copies.holding }, []string{"none"}},
		"it isn't known yet what is there": {func(s *Store, _ *Fill, _ *testClock) { s.starting.loading = true }, []string{"none"}},
		"the store is closed":              {func(s *Store, _ *Fill, _ *testClock) { s.closed = true }, []string{"none"}},
		"the disk removes nothing":         {func(s *Store, _ *Fill, _ *testClock) { s.leaving.stuck.refusals = 1 }, []string{"none"}},
		"it was in vain just now":          {func(s *Store, _ *Fill, clock *testClock) { s.space.inVain = clock.now().Add(1 - freedWithin) }, []string{"none"}},
		"it was in vain long ago":          {func(s *Store, _ *Fill, clock *testClock) { s.space.inVain = clock.now().Add(-freedWithin) }, []string{"20 0 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			clock := new(testClock)
			s, _ := openSticky(t, Limits{MaxSize: 1 << 30, UploadRoom: 1 << 20}, clock)
			s.beginnings.least = 100
			for i := range files {
				s.put(t, numberedKey(i), randomBytes(size, byte(i)))
			}
			s.breakOff(t, testKey("broken off"), FillSpec{Size: 3000}, randomBytes(200, 1))
			copied := s.mustBeginCopy(t, "copied", "address", 1)
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			f := s.begin(t, testKey("new"), FillSpec{Size: 2 * size})
			s.mu.Lock()
			loading, refusals, fill, room := s.starting.loading, s.leaving.stuck.refusals, f.spec, f.room
			onDisk := f.onDisk
			test.before(s, f, clock)
			s.mu.Unlock()
			for i, want := range test.ways {
				freed := s.counters.freedBytes.Load()
				got := "none"
				if s.giveWay(f) {
					s.mu.Lock()
					got = fmt.Sprint(s.entries.len(), len(s.beginnings.kept), len(s.space.copies.running))
					s.mu.Unlock()
					if i > 1 && s.counters.freedBytes.Load() == freed {
						t.Error("it is told of room before there is any")
					}
				}
				if got != want {
					t.Errorf("step %d: %s are left, not %s", i, got, want)
				}
			}
			if dropped := copied.isOver(); dropped != slices.Contains(test.ways, "20 0 0") {
				t.Errorf("the copy is over: %v", dropped)
			}
			s.mu.Lock()
			s.closed, s.starting.loading, s.leaving.stuck.refusals, f.spec, f.room, f.onDisk = false, loading, refusals, fill, room, onDisk
			s.mu.Unlock()
			f.Abort(nil)
			copied.Abort(nil)
			s.CheckSums(t, "in the end")
		})
	}
}

// TestAFillThatADiskRefusesWaitsUntilSomethingIsRemoved, no longer than its caller can, and does nothing until then.
func TestAFillThatADiskRefusesWaitsUntilSomethingIsRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(fs *heldRemoval)
		want      bool
		waits     time.Duration
	}{
		"it is removed":  {func(fs *heldRemoval) { close(fs.held) }, true, 0},
		"the disk hangs": {func(*heldRemoval) {}, false, roomTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := newHeldRemoval()
				s := openOn(t, fs, Limits{MaxSize: 1 << 30})
				e := s.put(t, testKey("evicted"), randomBytes(1000, 1))
				if err := s.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
				fs.hold(e.Digest)
				f, begun := s.begin(t, testKey("new"), FillSpec{Size: 1000}), time.Now()
				given := make(chan bool, 1)
				go func() { given <- s.giveWay(f) }() // ends when the file is removed, or the time is over
				<-fs.removing
				synctest.Wait()
				s.mu.Lock()
				s.space.announce() // there was some for others
				s.mu.Unlock()
				synctest.Wait() // it turns round if this doesn't return
				test.meanwhile(fs)
				if gave := <-given; gave != test.want {
					t.Errorf("there is room: %v", gave)
				}
				if took := time.Since(begun); took != test.waits {
					t.Errorf("it took %v", took)
				}
				if !test.want {
					close(fs.held)
				}
				f.Abort(nil)
				synctest.Wait()
			})
		})
	}
}

// TestTwoFillsThatADiskRefusesHaveTwoCopiesGo: one that is going already makes room once.
func TestTwoFillsThatADiskRefusesHaveTwoCopiesGo(t *testing.T) {
	fs := newHeldRemoval()
	s := openOn(t, fs, Limits{MaxSize: 1 << 30, UploadRoom: 4 << 20})
	first, second := s.mustBeginCopy(t, "first", "address", 1), s.mustBeginCopy(t, "second", "another", 1)
	one, other := s.begin(t, testKey("one"), FillSpec{Size: 1000}), s.begin(t, testKey("other"), FillSpec{Size: 1000})
	fs.name = filepath.Base(first.path)
	given := make(chan bool, 1)
	go func() { given <- s.giveWay(one) }() // ends when the part is let go
	select {
	case <-fs.removing:
	case gave := <-given:
		t.Fatalf("room was made without the copy: %v", gave)
	}
	if !s.giveWay(other) || !second.isOver() {
		t.Error("the other copy is there still")
	}
	close(fs.held)
	if !<-given || s.counters.copiesDropped.Load() != 2 {
		t.Errorf("%d copies count as dropped", s.counters.copiesDropped.Load())
	}
	one.Abort(nil)
	other.Abort(nil)
}
