package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// pinFive stores five files of 100,000 bytes and pins them; the last one's pin ends first.
func pinFive(t *testing.T, s *Store) {
	t.Helper()
	for i := range 5 {
		s.put(t, numberedKey(i), randomBytes(100_000, byte(i)))
		if err := s.Pin(context.Background(), numberedKey(i), time.Now().Add(time.Duration(10-i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

// arePinned makes sure that of the five the first ones are pinned.
func arePinned(t *testing.T, s *Store, first int, when string) {
	t.Helper()
	for i := range 5 {
		if got := s.isPinned(numberedKey(i).hash()); got != (i < first) {
			t.Errorf("%s file %d is pinned: %v", when, i, got)
		}
	}
	if got := s.Stats().Pinned; got != int64(first)*100_000 {
		t.Errorf("%s %d bytes are pinned", when, got)
	}
}

func TestLowerLimitsHoldForPinsToo(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{MaxSize: 1 << 20})
	awaitLoaded(t, s)
	pinFive(t, s)
	s.SetLimits(Limits{MaxSize: 400_000})
	arePinned(t, s, 2, "with less room")
	// Nor is a pin promised that there is no room for, though the key had one.
	if err := s.Pin(context.Background(), numberedKey(4), time.Now().Add(time.Hour)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("pinned again: %v", err)
	}
	arePinned(t, s, 2, "after another try")
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Bytes > 400_000 {
		t.Errorf("%+v", stats)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{MaxSize: 1 << 20})
	awaitLoaded(t, s)
	arePinned(t, s, 2, "after a restart with more room")
}

func TestLowerLimitsAtTheStartHoldForPinsToo(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{MaxSize: 1 << 20})
	awaitLoaded(t, s)
	pinFive(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{MaxSize: 1 << 20, MaxPinned: 300_000})
	awaitLoaded(t, s)
	s.asJanitor(func() { s.removeGivenUpPins(false) }) // as happens once all is loaded
	arePinned(t, s, 3, "with less room")
}

func TestAPinThatOutgrewItsRoomIsNotBackAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{MaxSize: 1 << 20, MaxPinned: 100_000})
	awaitLoaded(t, s)
	s.put(t, testKey("a"), randomBytes(100_000, 1))
	if err := s.Pin(context.Background(), testKey("a"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	s.put(t, testKey("a"), randomBytes(100_001, 2))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{MaxSize: 1 << 20})
	awaitLoaded(t, s)
	if s.isPinned(testKey("a").hash()) {
		t.Error("it is pinned again")
	}
}

// pinsRefusingFS fails the index's transactions when it is told to.
type pinsRefusingFS struct {
	FS
	refuses atomic.Bool
}

func (f *pinsRefusingFS) UpdateIndex(transaction func() error) error {
	if f.refuses.Load() {
		return syscall.ENOSPC
	}
	return transaction()
}

func TestAPinThatTheIndexCannotBeRidOfIsTriedAgain(t *testing.T) {
	dir, fs := t.TempDir(), &pinsRefusingFS{FS: OS()}
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 20}, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	awaitLoaded(t, s)
	pinFive(t, s)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		fs.refuses.Store(true)
		s.SetLimits(Limits{MaxSize: 1 << 20, MaxPinned: 300_000})
		s.removeGivenUpPins(false) // fails
		fs.refuses.Store(false)
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{MaxSize: 1 << 20})
	awaitLoaded(t, s)
	arePinned(t, s, 3, "after a restart with more room")
}

func TestAPinThatCannotBeWrittenLeavesTheEarlierOne(t *testing.T) {
	fs := &pinsRefusingFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 20})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	h, until := testKey("a").hash(), time.Now().Add(time.Hour)
	for _, earlier := range []bool{false, true} {
		fs.refuses.Store(true)
		for _, other := range []time.Duration{2 * time.Hour, -time.Hour} {
			if err := s.Pin(context.Background(), testKey("a"), time.Now().Add(other)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("it was written: %v", err)
			}
			s.mu.Lock()
			if p := s.pins.ofKeys[h]; (p != nil) != earlier || earlier && (!p.until.Equal(until) || s.pins.bytes != 1000) {
				t.Errorf("with an earlier pin (%v) it is %+v, %d bytes", earlier, p, s.pins.bytes)
			}
			s.mu.Unlock()
		}
		fs.refuses.Store(false)
		if err := s.Pin(context.Background(), testKey("a"), until); err != nil {
			t.Fatal(err)
		}
	}
}
