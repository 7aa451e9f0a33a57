package cache

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// freeFS calls back before its free bytes are asked for.
type freeFS struct {
	FS
	before atomic.Pointer[func() error]
}

func (f *freeFS) Free(path string) (int64, error) {
	if before := f.before.Load(); before != nil {
		if err := (*before)(); err != nil {
			return 0, err
		}
	}
	return f.FS.Free(path)
}

// TestWhatFitsIfAllWereEvictedIsWhatNothingHolds: all that takes room and can't go counts, once, to the byte.
func TestWhatFitsIfAllWereEvictedIsWhatNothingHolds(t *testing.T) {
	const free = 1 << 20
	s := &Store{limits: Limits{MaxSize: 1_000_000, UploadRoom: 100_000, MinFree: 50_000}, pins: newPins(), leaving: newLeaving(), entries: newRecency(), now: time.Now}
	s.space.copies = newCopies()
	s.space.blobs, s.space.open, s.space.reserved, s.space.lingering = 500_000, 10_000, 20_000, 3_000
	s.space.copies.reserved, s.space.unwritten = 60_000, 15_000
	s.space.beginnings, s.beginnings.bytes = 7_000, 4_000 // 3,000 of these somebody has taken
	for _, test := range []struct {
		name string
		want claim
		fits bool
	}{
		{"max_size, less the uploads' room, and what is read, reserved, lingers and is taken", claim{bytes: 900_000 - 10_000 - 20_000 - 3_000 - 3_000}, true},
		{"a byte more", claim{bytes: 900_000 - 10_000 - 20_000 - 3_000 - 3_000 + 1}, false},
		{"what is free and can be, less what stays free or isn't written yet", claim{fresh: free - 50_000 - 15_000 + 490_000 + 60_000 + 4_000}, true},
		{"a byte more than that", claim{fresh: free - 50_000 - 15_000 + 490_000 + 60_000 + 4_000 + 1}, false},
	} {
		if fits := s.canFitLocked(test.want, free); fits != test.fits {
			t.Errorf("%s: %v", test.name, fits)
		}
	}
	// Copies that have more than their room, since that has become smaller, take it from the rest.
	s.limits = Limits{MaxSize: 1_000_000, UploadRoom: 40_000}
	s.space.copies.lingering = 5_000
	used, excess := int64(500_000+20_000+3_000+7_000), int64(25_000)
	if missing := s.space.missing(claim{bytes: 1_000}, math.MaxInt64, s.limits); missing != used+excess+1_000-960_000 {
		t.Errorf("%d bytes are missing", missing)
	}
}

// TestWhatIsNotEvictedCountsOnce: files that are pinned, read, or not removed by the disk, each in several ways.
func TestWhatIsNotEvictedCountsOnce(t *testing.T) {
	sticky := &stickyFS{FS: OS()}
	s := openOn(t, sticky, Limits{MaxSize: 1 << 30})
	sizes := map[string]int{"pinned": 1_000, "gone": 20_000, "forgotten": 300_000, "stuck": 4_000, "stuck and read": 50_000, "stuck and pinned": 600_000}
	entries := make(map[string]Entry)
	seed := byte(0)
	for name, size := range sizes {
		seed++
		entries[name] = s.put(t, testKey(name), randomBytes(size, seed))
	}
	for _, name := range []string{"pinned", "gone", "forgotten", "stuck and pinned"} {
		if err := s.Pin(context.Background(), testKey(name), s.now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(when string, want int64) {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		if got := s.keptLocked(); got != want {
			t.Errorf("%s: %d bytes, not %d", when, got, want)
		}
	}
	kept("pinned", 1_000+20_000+300_000+600_000)
	// Two prove damaged: one is looked up then, so that its pin has no entry, the other isn't, so that its entry has no file.
	for _, name := range []string{"gone", "forgotten"} {
		if err := os.Truncate(blobPath(s.dir, entries[name].Digest), 10); err != nil {
			t.Fatal(err)
		}
		if _, err := s.OpenBlob(entries[name]); !errors.Is(err, ErrMiss) {
			t.Fatal(err)
		}
	}
	if _, err := s.Lookup(testKey("forgotten")); !errors.Is(err, ErrMiss) {
		t.Fatal(err)
	}
	s.checkOpen(t, 1_000+4_000+50_000+600_000)
	kept("two have no file any more", 1_000+600_000)

	reader := s.mustOpen(t, entries["stuck and read"])
	sticky.keep(func(path string) bool { return filepath.Base(filepath.Dir(filepath.Dir(path))) == "blobs" })
	for _, name := range []string{"stuck", "stuck and read"} {
		if _, err := s.Purge(context.Background(), Selector(testKey(name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(blobPath(s.dir, entries["stuck and pinned"].Digest), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenBlob(entries["stuck and pinned"]); !errors.Is(err, ErrMiss) {
		t.Fatal(err)
	}
	s.removeAll()
	kept("the disk removes nothing", 1_000+4_000+50_000+600_000)
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	kept("and nobody reads", 1_000+4_000+50_000+600_000)
	sticky.heal()
	s.removeStuck()
	kept("the disk is well again", 1_000)
}

// waitingFill is a store of 1,000,000 bytes whose janitor is held while it removes a file of 400,000, and a fill that has 300,000 of
// the rest, which a reader follows.
func waitingFill(t *testing.T) (s *Store, fs *heldRemoval, fill *Fill) {
	t.Helper()
	fs = newHeldRemoval()
	s = openOn(t, fs, Limits{MaxSize: 1_000_000})
	e := s.put(t, testKey("evicted"), randomBytes(400_000, 1))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	fs.hold(e.Digest)
	fill = s.begin(t, testKey("first"), FillSpec{Size: 300_000})
	fill.follow(t)
	return s, fs, fill
}

// beginLate begins a fill for which something has to go. What it returns gets the end of that.
func (s *Store) beginLate(fs *heldRemoval, size int64) <-chan error {
	ended := make(chan error, 1)
	go func() { // ends when there is room, or won't be
		k := testKey("second")
		f, err := s.Begin(k, s.Generation(k), FillSpec{Size: size})
		if err == nil {
			f.Abort(nil)
		}
		ended <- err
	}()
	<-fs.removing
	synctest.Wait()
	return ended
}

// TestAFillThatWaitsForRoomTakesTheFirstThatThereIs, does nothing until then, and waits no longer than its caller can.
func TestAFillThatWaitsForRoomTakesTheFirstThatThereIs(t *testing.T) {
	const alone = "the store is closed, and has no other fill"
	for name, test := range map[string]struct {
		meanwhile func(t *testing.T, s *Store, fs *heldRemoval, first *Fill)
		want      error
		waits     time.Duration
	}{
		"another fill gives its own back": {func(_ *testing.T, _ *Store, _ *heldRemoval, first *Fill) { first.Abort(nil) }, nil, 0},
		"what is in its way is removed":   {func(_ *testing.T, _ *Store, fs *heldRemoval, _ *Fill) { close(fs.held) }, nil, 0},
		"the disk hangs":                  {func(*testing.T, *Store, *heldRemoval, *Fill) {}, ErrNoRoom, roomTimeout},
		"there was some for others": {func(_ *testing.T, s *Store, _ *heldRemoval, _ *Fill) {
			s.mu.Lock()
			s.space.announce()
			s.mu.Unlock()
			synctest.Wait() // it turns round if this doesn't return
		}, ErrNoRoom, roomTimeout},
		"the store is closed": {func(_ *testing.T, s *Store, _ *heldRemoval, _ *Fill) { go s.Close() }, ErrClosed, 0}, //nolint:errcheck // closed once more at the end
		alone:                 {func(_ *testing.T, s *Store, _ *heldRemoval, _ *Fill) { go s.Close() }, ErrClosed, 0}, //nolint:errcheck // closed once more at the end
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, fs, first := waitingFill(t)
				size := int64(500_000)
				if name == alone {
					first.Abort(nil)
					size = 700_000
				}
				ended, begun := s.beginLate(fs, size), time.Now()
				test.meanwhile(t, s, fs, first)
				if err := <-ended; !errors.Is(err, test.want) || (test.want == nil && err != nil) {
					t.Errorf("it ended with %v", err)
				}
				if took := time.Since(begun); took != test.waits {
					t.Errorf("it took %v", took)
				}
				first.Abort(nil)
				if name != "what is in its way is removed" {
					close(fs.held)
				}
				synctest.Wait()
			})
		})
	}
}

// TestADiskThatFailsWhileAFillWaitsForRoomIsTold, and isn't taken for a store that is full.
func TestADiskThatFailsWhileAFillWaitsForRoomIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := &freeFS{FS: OS()}
		s := openOn(t, failing, Limits{MaxSize: 1_000_000})
		s.put(t, testKey("a"), randomBytes(600_000, 1))
		if err := s.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the janitor has nothing to do
		var asked atomic.Int64
		fail := func() error {
			if asked.Add(1) > 1 {
				return syscall.EIO
			}
			return nil
		}
		failing.before.Store(&fail)
		begun := time.Now()
		k := testKey("b")
		if _, err := s.Begin(k, s.Generation(k), FillSpec{Size: 600_000}); !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.EIO) {
			t.Errorf("begun with %v", err)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
		failing.before.Store(nil)
	})
}

// TestAFillThatTheStoresEndOvertakesIsNone has the store's fills end while room is looked for.
func TestAFillThatTheStoresEndOvertakesIsNone(t *testing.T) {
	for name, end := range map[string]func(*Store){"its fills": (*Store).EndFills, "the store": func(s *Store) { _ = s.Close() }} {
		for way, begin := range map[string]func(*Store, *Beginning) error{
			"begun": func(s *Store, b *Beginning) error {
				defer b.Drop()
				_, err := s.Begin(testKey("b"), s.Generation(testKey("b")), FillSpec{Size: 1000})
				return err
			},
			"goes on": func(s *Store, b *Beginning) error {
				_, err := s.Continue(b, s.Generation(testKey("a")), FillSpec{Size: 9000})
				return err
			},
		} {
			t.Run(name+", "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { overtakeByTheEnd(t, end, begin) })
			})
		}
	}
}

func overtakeByTheEnd(t *testing.T, end func(*Store), begin func(*Store, *Beginning) error) {
	fs := &freeFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	s.beginnings.least = 1000
	s.breakOff(t, testKey("a"), FillSpec{Size: 9000}, randomBytes(2000, 1))
	b := s.mustTake(t, testKey("a"))
	synctest.Wait() // the janitor asks for nothing
	var once atomic.Bool
	call := func() error {
		if !once.Swap(true) {
			end(s)
		}
		return nil
	}
	fs.before.Store(&call)
	if err := begin(s, b); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	fs.before.Store(nil)
	if use := diskUse(t, s.dir); use != 0 || s.Stats().Bytes != 0 {
		t.Errorf("%d bytes are left, %+v", use, s.Stats())
	}
}

// TestNobodyWaitsForRoomWhileTheStoreLoads: until it is known what was used least recently nothing is evicted.
func TestNobodyWaitsForRoomWhileTheStoreLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := openStore(t, dir, Limits{MaxSize: 1_000_000})
		s.put(t, testKey("a"), randomBytes(600_000, 1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		held := &heldFS{FS: OS(), listing: make(chan struct{}), held: make(chan struct{})}
		s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1_000_000}, FS: held})
		if err != nil {
			t.Fatal(err)
		}
		s.CloseAtEnd(t, t.Error)
		begun, k := time.Now(), testKey("b")
		if _, err := s.Begin(k, s.Generation(k), FillSpec{Size: 600_000}); !errors.Is(err, ErrNoRoom) {
			t.Errorf("begun with %v", err)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
		close(held.held)
		<-s.Ready()
	})
}

// TestOnlyAFullDiskIsToldOf: not a store that is full, be it to the byte.
func TestOnlyAFullDiskIsToldOf(t *testing.T) {
	const minFree = 50 << 20
	for name, test := range map[string]struct {
		free, size int64
		told       int
	}{
		"the disk, the store has just the room":    {minFree, 400_000, 1},
		"the disk, the store has more":             {minFree, 399_999, 1},
		"the store, of which much is read":         {1 << 40, 400_001, 0},
		"the store, and the disk has none, either": {minFree, 400_001, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var told atomic.Int64
			var free atomic.Int64
			free.Store(1 << 40)
			s, err := Open(Config{
				Dir: t.TempDir(), Limits: Limits{MaxSize: 1_000_000, MinFree: minFree}, FS: changingFS{FS: OS(), free: &free}, OnFull: func(bool) { told.Add(1) },
			})
			if err != nil {
				t.Fatal(err)
			}
			s.CloseAtEnd(t, t.Error)
			awaitLoaded(t, s)
			blob := s.mustOpen(t, s.put(t, testKey("read"), randomBytes(600_000, 1)))
			defer blob.Close()
			free.Store(test.free)
			k := testKey("a")
			if _, err := s.Begin(k, s.Generation(k), FillSpec{Size: test.size}); !errors.Is(err, ErrNoRoom) {
				t.Errorf("begun with %v", err)
			}
			if n := told.Load(); n != int64(test.told) {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// TestAFillThatEvictsNothingThatIsUsedHearsThatTheStoreIsClosed while it waits for what it has evicted to go.
func TestAFillThatEvictsNothingThatIsUsedHearsThatTheStoreIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs, first := waitingFill(t)
		first.Abort(nil)
		moment := s.Moment()
		defer s.EndMoment(moment)
		ended := make(chan error, 1)
		go func() { // ends with the store
			k := testKey("second")
			_, err := s.Begin(k, s.Generation(k), FillSpec{Size: 700_000, Keeps: moment})
			ended <- err
		}()
		<-fs.removing
		synctest.Wait()
		go s.Close() //nolint:errcheck // closed once more at the end
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("it ended with %v", err)
		}
		close(fs.held)
		synctest.Wait()
	})
}
