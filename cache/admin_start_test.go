package cache

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

// openLoading opens a store whose start goes no further than before the index is read, until it is let go on.
func openLoading(t *testing.T, dir string) (s *Store, goOn func()) {
	t.Helper()
	held := &heldFS{FS: OS(), listing: make(chan struct{}), held: make(chan struct{})}
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: held})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	return s, func() {
		close(held.held)
		awaitLoaded(t, s)
	}
}

// TestAPurgeDuringTheStartTellsWhatThereWas purges twice, by the key and by a selector, what only the index knows yet.
func TestAPurgeDuringTheStartTellsWhatThereWas(t *testing.T) {
	for name, selector := range map[string]Selector{"a key": Selector(testKey("a")), "a project": {Project: "24"}} {
		t.Run(name, func(t *testing.T) {
			dir := leftWith(t, testKey("a"), randomBytes(1000, 1))
			s, goOn := openLoading(t, dir)
			for round, want := range []int{1, 0} {
				if purged, err := s.Purge(t.Context(), selector); err != nil || purged.Entries != want {
					t.Errorf("round %d: purged %+v, %v", round, purged, err)
				}
			}
			goOn()
			if left := s.Stats().Entries; left != 0 {
				t.Errorf("%d entries are left", left)
			}
		})
	}
}

// TestAPinThatTheStartHasNotComeToIsTakenBack unpins before the index's pins are read, and looks again after a restart.
func TestAPinThatTheStartHasNotComeToIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Pin(t.Context(), testKey("a"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, goOn := openLoading(t, dir)
	if pins, err := s.Unpin(t.Context(), Selector{}); err != nil || pins != 1 {
		t.Errorf("%d pins are taken back, %v", pins, err)
	}
	goOn()
	for range 2 {
		if pinned := s.Stats().Pinned; pinned != 0 {
			t.Errorf("%d bytes are pinned", pinned)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir, Limits{})
		awaitLoaded(t, s)
	}
}

// TestAPinThatIsBeingWrittenIsTakenBack unpins between what memory knows and what the index does.
func TestAPinThatIsBeingWrittenIsTakenBack(t *testing.T) {
	fs, unpinned := &purgingFS{FS: OS()}, false
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	fs.before = func() {
		if unpinned {
			return
		}
		unpinned = true
		if pins, err := s.Unpin(t.Context(), Selector{}); err != nil || pins != 1 {
			t.Errorf("%d pins are taken back, %v", pins, err)
		}
	}
	if err := s.Pin(t.Context(), testKey("a"), time.Now().Add(time.Hour)); err != nil || !unpinned {
		t.Fatal(err, unpinned)
	}
	read, err := s.pinsOfIndex()
	if pinned := s.Stats().Pinned; pinned != 0 || len(read) != 0 || err != nil {
		t.Errorf("%d bytes are pinned, the index has %d pins, %v", pinned, len(read), err)
	}
}

// TestAPurgeTellsNothingThatWasNotThere: a key that nobody has, during the start, and a record of what was purged already.
func TestAPurgeTellsNothingThatWasNotThere(t *testing.T) {
	s, goOn := openLoading(t, leftWith(t, testKey("a"), randomBytes(1000, 1)))
	if purged, err := s.Purge(t.Context(), Selector(testKey("b"))); err != nil || purged != (Purged{}) {
		t.Errorf("during the start: %+v, %v", purged, err)
	}
	goOn()
	fs := &aroundFS{FS: OS()}
	s = openOn(t, fs, Limits{MaxSize: 1 << 20})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	fs.set(func(func() error) error { return syscall.ENOSPC })
	if purged, err := s.Purge(t.Context(), Selector(testKey("a"))); !errors.Is(err, syscall.ENOSPC) || purged.Entries != 1 {
		t.Errorf("while the disk is full: %+v, %v", purged, err)
	}
	fs.set(nil)
	if purged, err := s.Purge(t.Context(), Selector{Project: "24"}); err != nil || purged != (Purged{}) {
		t.Errorf("afterwards: %+v, %v", purged, err)
	}
}

// TestWhatIsPurgedAfterTheStartHasReadItIsNotLoaded purges a project between what a start reads of the index and what it enters.
func TestWhatIsPurgedAfterTheStartHasReadItIsNotLoaded(t *testing.T) {
	s := newStore(Config{Dir: leftWith(t, testKey("a"), randomBytes(100, 1)), Limits: Limits{MaxSize: 1 << 30}})
	if err := errors.Join(s.takeDirectory(), s.beginIndex()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	nobodyWaits, leave := context.WithCancel(t.Context())
	leave()
	whole, asked := s.ctx, 0
	s.ctx = &askedContext{whole, func() error {
		if asked++; asked == 3 { // at the entry, at the end, and once it is over
			purged, err := s.Purge(&askedContext{nobodyWaits, func() error { return nil }}, Selector{Project: "24"})
			if err != nil || purged.Entries != 1 {
				t.Errorf("purged %+v, %v", purged, err)
			}
		}
		return nil
	}}
	s.load()
	s.ctx = whole
	if stats := s.Stats(); stats.Entries != 0 || stats.Loading || asked < 3 {
		t.Errorf("%+v", stats)
	}
}
