package cache

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestAPinThatIsPurgedWhileItIsWrittenInVainIsTold has a purge come while the disk refuses a pin, and the disk well again at once.
// Neither may the caller be told that the file is pinned, nor may the earlier pin be back.
func TestAPinThatIsPurgedWhileItIsWrittenInVainIsTold(t *testing.T) {
	for name, until := range map[string]time.Duration{"another pin": 2 * time.Hour, "taking it back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			fs := &aroundFS{FS: OS()}
			s := openOn(t, fs, Limits{MaxSize: 1 << 30})
			k := testKey("a")
			s.put(t, k, randomBytes(1000, 1))
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Pin(t.Context(), k, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			tries := 0
			fs.around = func(transaction func() error) error {
				if tries++; tries > 1 {
					return transaction()
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.pins.drop(k.hash()) // as a purge does first
				return syscall.ENOSPC
			}
			if err := s.Pin(t.Context(), k, time.Now().Add(until)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("pinned: %v", err)
			}
			if s.isPinned(k.hash()) {
				t.Error("the purged pin is back")
			}
		})
	}
}

// TestTakingAPinBackWritesTheIndexOnce: each transaction waits for the disk twice.
func TestTakingAPinBackWritesTheIndexOnce(t *testing.T) {
	fs, written := &aroundFS{FS: OS()}, 0
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		fs.around = func(transaction func() error) error {
			written++
			return transaction()
		}
		for _, until := range []time.Duration{time.Hour, -time.Hour} {
			written = 0
			if err := s.Pin(t.Context(), testKey("a"), time.Now().Add(until)); err != nil || written != 1 {
				t.Errorf("%d transactions, %v", written, err)
			}
		}
		fs.around = nil
	})
}

// TestAnExpiredPinLeavesTheIndexUnlessItIsPinnedAnew forgets a pin at its time, and one whose key is pinned anew meanwhile.
func TestAnExpiredPinLeavesTheIndexUnlessItIsPinnedAnew(t *testing.T) {
	for name, again := range map[string]bool{"expired": false, "pinned anew": true} {
		t.Run(name, func(t *testing.T) {
			fs, clock := &aroundFS{FS: OS()}, new(testClock)
			s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, FS: fs, Now: clock.now})
			if err != nil {
				t.Fatal(err)
			}
			s.CloseAtEnd(t, t.Log)
			awaitLoaded(t, s)
			k := testKey("a")
			s.put(t, k, randomBytes(1000, 1))
			if err := s.Pin(t.Context(), k, clock.now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			clock.pass(time.Hour)
			s.asJanitor(func() {
				if again {
					fs.around = func(transaction func() error) error {
						fs.around = nil
						if err := s.Pin(t.Context(), k, clock.now().Add(time.Hour)); err != nil {
							t.Error(err)
						}
						return transaction()
					}
				}
				s.removeExpiredPins()
			})
			read, err := s.pinsOfIndex()
			if err != nil || (len(read) == 1) != again || s.isPinned(k.hash()) != again {
				t.Errorf("the index has %d pins, %v; it is pinned: %v", len(read), err, s.isPinned(k.hash()))
			}
		})
	}
}

// TestHalfOfTheStoreMayBePinnedByDefault pins just as much, and a byte more.
func TestHalfOfTheStoreMayBePinnedByDefault(t *testing.T) {
	for size, fits := range map[int]bool{100_000: true, 100_001: false} {
		s := openOn(t, OS(), Limits{MaxSize: 200_000})
		s.put(t, testKey("a"), randomBytes(size, 1))
		err := s.Pin(t.Context(), testKey("a"), time.Now().Add(time.Hour))
		if fits != (err == nil) || !fits && !errors.Is(err, ErrNoRoom) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
