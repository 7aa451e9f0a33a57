package cache

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lateFS is a file system of its own size, on which the bytes of removed files are free only once it is told so.
type lateFS struct {
	FS
	mu         sync.Mutex // guards all below
	free, late int64
}

func (f *lateFS) Free(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.free, nil
}

func (f *lateFS) Remove(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.late += info.Size()
	f.mu.Unlock()
	return f.FS.Remove(path)
}

func (f *lateFS) set(free int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = free
}

// show makes removed files count as free.
func (f *lateFS) show() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free, f.late = f.free+f.late, 0
}

// testClock is a time that moves when it is told to.
type testClock struct{ passed atomic.Int64 }

func (c *testClock) now() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(c.passed.Load()))
}

func (c *testClock) pass(d time.Duration) { c.passed.Add(int64(d)) }

// openLate returns a store of 200 files of 20,000 bytes each.
func openLate(t *testing.T, minFree int64) (*Store, *lateFS, *testClock) {
	t.Helper()
	fs, clock := &lateFS{FS: OS(), free: 1 << 40}, new(testClock)
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30, MinFree: minFree}, FS: fs, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	awaitLoaded(t, s)
	for i := range 200 {
		s.put(t, numberedKey(i), randomBytes(20_000, byte(i)))
	}
	return s, fs, clock
}

// beginAndAbort asks for room and gives it back.
func beginAndAbort(s *Store, size int64) error {
	k := testKey("asked for")
	f, err := s.Begin(k, s.Generation(k), FillSpec{Size: size})
	if err == nil {
		f.Abort(nil)
	}
	return err
}

func TestWhatIsRemovedAndIsNotFreeYetIsNotRemovedTwice(t *testing.T) {
	const minFree = 1 << 20
	s, fs, clock := openLate(t, minFree)
	left := func(wanted int, when string) {
		t.Helper()
		if got := s.Stats().Entries; got != wanted {
			t.Errorf("%s %d entries are left, not %d", when, got, wanted)
		}
	}
	fs.set(minFree + 10_000) // half a file
	for range 5 {
		if err := beginAndAbort(s, 20_000); !errors.Is(err, ErrNoRoom) {
			t.Errorf("without room: %v", err)
		}
	}
	left(199, "while nothing becomes free")
	// Whoever removes something that is seen nowhere may try again, in time.
	clock.pass(freedWithin)
	if err := beginAndAbort(s, 20_000); !errors.Is(err, ErrNoRoom) {
		t.Errorf("without room: %v", err)
	}
	left(198, "later")
	fs.show()
	if err := beginAndAbort(s, 20_000); err != nil {
		t.Errorf("once the files show as free: %v", err)
	}
	left(198, "at the end")
}

func TestADiskThatOthersFillIsNotWorthEmptyingTheStoreFor(t *testing.T) {
	const minFree = 100 << 20
	s, fs, _ := openLate(t, minFree)
	fs.set(minFree - 50<<20) // the store has 4 MB
	s.asJanitor(s.evict)     // as happens now and then
	if stats := s.Stats(); stats.Entries != 200 {
		t.Errorf("%d entries were evicted for nothing", stats.Evictions)
	}
	// What it can make up for, it does.
	fs.set(minFree - 30_000)
	s.asJanitor(s.evict)
	if stats := s.Stats(); stats.Entries != 198 {
		t.Errorf("%d entries were evicted", stats.Evictions)
	}
}

func TestWhatIsWrittenWhileTheFileSystemIsAskedIsNotFree(t *testing.T) {
	s, _, _ := openLate(t, 0)
	k := testKey("a")
	f, err := s.Begin(k, s.Generation(k), FillSpec{Size: 200_000})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort(nil)
	seen, err := s.sampleFree()
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, randomBytes(150_000, 1))
	s.mu.Lock()
	defer s.mu.Unlock()
	if free := s.freeLocked(seen); seen.free-free != f.flushed {
		t.Errorf("%d bytes were written, and free are %d less", f.flushed, seen.free-free)
	}
}
