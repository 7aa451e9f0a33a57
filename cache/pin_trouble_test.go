package cache

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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
			fs.set(func(transaction func() error) error {
				if tries++; tries > 1 {
					return transaction()
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.pins.drop(k.hash()) // as a purge does first
				return syscall.ENOSPC
			})
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
		fs.set(func(transaction func() error) error {
			written++
			return transaction()
		})
		for _, until := range []time.Duration{time.Hour, -time.Hour, -time.Hour} {
			written = 0
			if err := s.Pin(t.Context(), testKey("a"), time.Now().Add(until)); err != nil || written != 1 {
				t.Errorf("%d transactions, %v", written, err)
			}
		}
		fs.set(nil)
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
					fs.set(func(transaction func() error) error {
						fs.set(nil)
						if err := s.Pin(t.Context(), k, clock.now().Add(time.Hour)); err != nil {
							t.Error(err)
						}
						return transaction()
					})
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

// TestAnExpiredPinThatStaysInTheIndexIsTold, and one that leaves it isn't worth a line of log.
func TestAnExpiredPinThatStaysInTheIndexIsTold(t *testing.T) {
	for name, lines := range map[string]int{"the disk is well": 0, "the disk is full": 1} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			fs, clock := &aroundFS{FS: OS()}, new(testClock)
			s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, FS: fs, Now: clock.now, Logger: zap.New(core)})
			if err != nil {
				t.Fatal(err)
			}
			s.CloseAtEnd(t, t.Log)
			awaitLoaded(t, s)
			s.put(t, testKey("a"), randomBytes(1000, 1))
			if err := s.Pin(t.Context(), testKey("a"), clock.now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			clock.pass(time.Hour)
			s.asJanitor(func() {
				if lines > 0 {
					fs.set(func(func() error) error { return syscall.ENOSPC })
				}
				s.removeExpiredPins()
				s.removeExpiredPins() // there are none any more
				fs.set(nil)
			})
			if told := logs.FilterMessage("removing expired pins from the index failed").Len(); told != lines {
				t.Errorf("%d lines of log", told)
			}
		})
	}
}

// TestAPinUntilNowIsNone: nothing is kept for no time.
func TestAPinUntilNowIsNone(t *testing.T) {
	s, clock := openAt(t, Limits{})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	for _, until := range []time.Duration{time.Hour, 0} {
		if err := s.Pin(t.Context(), testKey("a"), clock.now().Add(until)); err != nil {
			t.Fatal(err)
		}
	}
	if read, err := s.pinsOfIndex(); err != nil || len(read) != 0 || s.Stats().Pinned != 0 {
		t.Errorf("the index has %d pins, %v", len(read), err)
	}
}

// TestAnIndexThatCannotBeReadIsToldDuringTheStart: what a key has isn't known then, and nothing was done to it.
func TestAnIndexThatCannotBeReadIsToldDuringTheStart(t *testing.T) {
	s, goOn := openLoading(t, t.TempDir())
	db, err := s.index.current()
	if err != nil {
		t.Fatal(err)
	}
	s.index.mu.Lock()
	s.index.db = nil
	s.index.mu.Unlock()
	_, purged := s.Purge(t.Context(), Selector(testKey("a")))
	_, unpinned := s.Unpin(t.Context(), Selector{})
	for name, err := range map[string]error{
		"a purge": purged, "a pin taken back": unpinned, "a pin": s.Pin(t.Context(), testKey("a"), time.Now().Add(time.Hour)),
	} {
		if !errors.Is(err, errNoIndex) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.index.mu.Lock()
	s.index.db = db
	s.index.mu.Unlock()
	goOn()
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

// TestOfDamagedPinsNoneHolds: what stands before the damage may be damaged as well.
func TestOfDamagedPinsNoneHolds(t *testing.T) {
	const pins = 500
	s := openOn(t, OS(), Limits{MaxSize: 1 << 20})
	err := s.updateIndex(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(pinsBucket)
		for i := range pins {
			err = errors.Join(err, putPin(bucket, numberedKey(i).bytes(), time.Now().Add(time.Hour)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.pinsOfIndex()
	if err != nil || len(read) != pins {
		t.Fatalf("the index has %d pins, %v", len(read), err)
	}
	data, err := os.ReadFile(indexPath(s.dir))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(indexPath(s.dir), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	first, last, size := read[0].key, read[pins-1].key, os.Getpagesize()
	for page := range len(data) / size {
		if at := data[page*size : (page+1)*size]; bytes.Contains(at, last) && !bytes.Contains(at, first) {
			// It says that it is another one.
			if _, err := file.WriteAt([]byte{at[0] ^ 1}, int64(page*size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.readPins()
	if held := len(s.pins.ofKeys); held != 0 {
		t.Errorf("%d pins hold", held)
	}
}
