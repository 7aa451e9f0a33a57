package cache

import (
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestWhatAnEvictionComesTo looks at what is left, and at what those hear who wait for room: that there is some, or that there won't
// be, without which each would wait until its time is over.
func TestWhatAnEvictionComesTo(t *testing.T) {
	const size, files = 10_000, 10
	full := Limits{MaxSize: files * size * headroomShare / (headroomShare - 1)}
	for name, test := range map[string]struct {
		before func(t *testing.T, s *Store, fs *lateFS)
		// left are the entries, blobs the files that are left; exhausted says that there won't be room for all.
		left, blobs int
		exhausted   bool
	}{
		"there is room":                 {func(*testing.T, *Store, *lateFS) {}, files, files, false},
		"a byte too little":             {func(_ *testing.T, s *Store, _ *lateFS) { s.limits.MaxSize-- }, files - 1, files - 1, false},
		"two files' worth, just":        {func(_ *testing.T, s *Store, _ *lateFS) { s.space.wanted.bytes = full.MaxSize - files*size + 2*size }, files - 2, files - 2, false},
		"more than all files":           {func(_ *testing.T, s *Store, _ *lateFS) { s.space.wanted.bytes = 2 * full.MaxSize }, 0, 0, true},
		"it isn't known what is oldest": {func(_ *testing.T, s *Store, _ *lateFS) { s.limits.MaxSize, s.starting.loading = size, true }, files, files, false},
		"what leaves makes it":          {func(t *testing.T, s *Store, _ *lateFS) { s.limits.MaxSize--; s.letGo(t, 3) }, files - 1, files - 1, false},
		"what leaves doesn't make it":   {func(t *testing.T, s *Store, _ *lateFS) { s.limits.MaxSize -= size * 3 / 2; s.letGo(t, 3) }, files - 2, files - 2, false},
		"what leaves isn't needed":      {func(t *testing.T, s *Store, _ *lateFS) { s.letGo(t, 3) }, files - 1, files, false},
		"others have filled the disk":   {func(_ *testing.T, s *Store, fs *lateFS) { s.limits.MinFree = 1 << 30; fs.set(0) }, files, files, true},
		"the disk lacks a byte":         {func(_ *testing.T, s *Store, fs *lateFS) { s.limits.MinFree = 1 << 30; fs.set(1<<30 - 1) }, files - 1, files - 1, false},
		"others have, and it is too full": {func(_ *testing.T, s *Store, fs *lateFS) {
			s.limits.MinFree, s.limits.MaxSize = 1<<30, s.limits.MaxSize-1
			fs.set(0)
		}, files - 1, files - 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			fs, clock := &lateFS{FS: OS(), free: 1 << 40}, new(testClock)
			s, err := Open(Config{Dir: t.TempDir(), Limits: full, FS: fs, Now: clock.now})
			if err != nil {
				t.Fatal(err)
			}
			s.CloseAtEnd(t, t.Log)
			awaitLoaded(t, s)
			s.put(t, numberedKey(0), randomBytes(size, files))
			if _, err := s.Purge(t.Context(), Selector{}); err != nil { // so that something was removed before
				t.Fatal(err)
			}
			for i := range files {
				s.put(t, numberedKey(i), randomBytes(size, byte(i)))
			}
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.asJanitor(func() {
				s.removeAll()
				limits := s.limits
				s.space.unfreed, s.space.exhausted = unfreed{}, 0
				test.before(t, s, fs)
				changed := s.space.change()
				s.evict()
				if entries := s.entries.len(); entries != test.left || len(s.blobs) != test.blobs {
					t.Errorf("%d entries and %d files are left", entries, len(s.blobs))
				}
				if exhausted := s.space.exhausted > 0; exhausted != test.exhausted {
					t.Errorf("there won't be room: %v", exhausted)
				}
				select {
				case <-changed:
				default:
					t.Error("who waits for room hears nothing")
				}
				s.limits, s.space.wanted, s.starting.loading = limits, claim{}, false
			})
		})
	}
}

// letGo takes an entry out, whose file is still there.
func (s *Store) letGo(t *testing.T, number int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.entries.peek(numberedKey(number).hash())
	if n == nil {
		t.Fatal("there is no such entry")
	}
	s.dropLocked(n)
	s.leaving.remove(&removal{hashes: []keyHash{n.hash}})
}

// TestADiskThatDoesNotSayWhatIsFreeCostsNothing: neither a beginning nor a copy goes for what isn't known, and who waits hears of it.
func TestADiskThatDoesNotSayWhatIsFreeCostsNothing(t *testing.T) {
	fs := &freeFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 20, UploadRoom: 1 << 18, MinFree: 1 << 10})
	s.beginnings.least = 1000
	s.put(t, testKey("a"), randomBytes(1000, 1))
	s.breakOff(t, testKey("b"), FillSpec{Size: 90_000}, randomBytes(80_000, 1))
	copied := s.mustBeginCopy(t, "c", "address", 1)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		fail := func() error { return syscall.EIO }
		fs.before.Store(&fail)
		s.space.exhausted = 0
		s.evict()
		fs.before.Store(nil)
		if s.entries.len() != 1 || len(s.beginnings.kept) != 1 || copied.isOver() || s.space.exhausted != 1 {
			t.Errorf("%d entries, %d beginnings; the copy is over: %v; told %d times", s.entries.len(), len(s.beginnings.kept), copied.isOver(), s.space.exhausted)
		}
	})
	copied.Abort(nil)
}

// partsFS has more free bytes when a part is removed.
type partsFS struct{ changingFS }

func (f partsFS) Remove(path string) error {
	if filepath.Ext(path) == partSuffix {
		f.free.Add(80_000)
	}
	return f.FS.Remove(path)
}

// TestABeginningThatMadeTheRoomLeavesNobodyWithoutIt: what is free is asked for again, before anybody hears that there is none.
func TestABeginningThatMadeTheRoomLeavesNobodyWithoutIt(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 40)
	s := openOn(t, partsFS{changingFS{FS: OS(), free: &free}}, Limits{MaxSize: 1 << 20, MinFree: 1 << 10})
	s.beginnings.least = 1000
	s.put(t, testKey("a"), randomBytes(1000, 1))
	s.breakOff(t, testKey("b"), FillSpec{Size: 90_000}, randomBytes(80_000, 1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		s.space.unfreed, s.space.exhausted = unfreed{}, 0
		free.Store(1<<10 - 1)
		s.evict()
		if s.entries.len() != 1 || len(s.beginnings.kept) != 0 || s.space.exhausted != 0 {
			t.Errorf("%d entries, %d beginnings; told %d times", s.entries.len(), len(s.beginnings.kept), s.space.exhausted)
		}
	})
}
