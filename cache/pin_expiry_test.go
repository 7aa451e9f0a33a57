package cache

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestAPinEndsWithItsTimeWithoutAnyCleanup: the janitor forgets expired pins now and then, and nobody waits for that.
func TestAPinEndsWithItsTimeWithoutAnyCleanup(t *testing.T) {
	const size = 400_000
	for name, test := range map[string]struct {
		passed time.Duration
		pinned bool
	}{"just before": {time.Hour - 1, true}, "at its time": {time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			s, clock := openAt(t, Limits{MaxSize: 1 << 20})
			k, large := testKey("pinned"), testKey("large")
			s.put(t, k, randomBytes(size, 1))
			if err := s.Pin(context.Background(), k, clock.now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			clock.pass(test.passed)
			listed, err := s.Entries(context.Background(), Selector(k), nil, 1)
			if err != nil || len(listed) != 1 || listed[0].Pinned.IsZero() == test.pinned {
				t.Errorf("listed %+v, %v", listed, err)
			}
			// There is room for this only without the pinned file.
			f, err := s.Begin(large, s.Generation(large), FillSpec{Size: 1<<20 - size/2})
			if errors.Is(err, ErrNoRoom) != test.pinned {
				t.Errorf("a file that needs its room: %v", err)
			}
			if err == nil {
				f.Abort(nil)
			}
			if kept := s.content(t, k) != nil; kept != test.pinned {
				t.Errorf("the file is kept: %v", kept)
			}
		})
	}
}

// TestAFileThatIsPinnedTwiceTakesItsRoomOnce pins one file under two names.
func TestAFileThatIsPinnedTwiceTakesItsRoomOnce(t *testing.T) {
	s, clock := openAt(t, Limits{MaxSize: 1_000_000, MaxPinned: 1_000_000})
	for _, name := range []string{"one", "other"} {
		s.put(t, testKey(name), randomBytes(300_000, 1))
		if err := s.Pin(context.Background(), testKey(name), clock.now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	s.overfill(t, 2, 300_000)
	fill := s.begin(t, testKey("large"), FillSpec{Size: 650_000})
	fill.Abort(nil)
	for _, name := range []string{"one", "other"} {
		if s.content(t, testKey(name)) == nil {
			t.Errorf("%s is gone", name)
		}
	}
}
