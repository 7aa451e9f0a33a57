package cache

import (
	"testing"
	"time"
)

// TestUnpinTakesBackTheSelectedPinsForGood unpins one of two projects, and looks again after a restart.
func TestUnpinTakesBackTheSelectedPinsForGood(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	mine, others := testKey("a"), testKey("a")
	others.Project = "25"
	for i, k := range []Key{mine, others} {
		s.put(t, k, randomBytes(1000, byte(i)))
		if err := s.Pin(t.Context(), k, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if pins, err := s.Unpin(t.Context(), Selector{Project: "24"}); err != nil || pins != 1 {
		t.Errorf("%d pins are taken back, %v", pins, err)
	}
	if pins, err := s.Unpin(t.Context(), Selector{Project: "24"}); err != nil || pins != 0 {
		t.Errorf("again: %d pins, %v", pins, err)
	}
	look := func(when string) {
		t.Helper()
		if s.isPinned(mine.hash()) || !s.isPinned(others.hash()) {
			t.Errorf("%s: pinned are %v and %v", when, s.isPinned(mine.hash()), s.isPinned(others.hash()))
		}
		if s.content(t, mine) == nil {
			t.Errorf("%s: the file is gone", when)
		}
		if pinned := s.Stats().Pinned; pinned != 1000 {
			t.Errorf("%s: %d bytes are pinned", when, pinned)
		}
	}
	look("at once")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	look("after a restart")
}
