package cache

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
)

// atFS calls back, once armed, before the next question for free bytes, and before the next file is made.
type atFS struct {
	FS
	free, create atomic.Pointer[func() error]
	created      atomic.Int64
}

func (f *atFS) Free(path string) (int64, error) {
	if before := f.free.Swap(nil); before != nil {
		if err := (*before)(); err != nil {
			return 0, err
		}
	}
	return f.FS.Free(path)
}

func (f *atFS) Create(path string) (File, error) {
	f.created.Add(1)
	if before := f.create.Swap(nil); before != nil {
		if err := (*before)(); err != nil {
			return nil, err
		}
	}
	return f.FS.Create(path)
}

// openAlone opens a store whose janitor has ended, so that nobody else changes anything or asks for free bytes.
func openAlone(t *testing.T, fs FS, limits Limits) *Store {
	t.Helper()
	s := openOn(t, fs, limits)
	s.cancel()
	s.work.Wait()
	return s
}

func TestACopyMayHaveAllOfItsShareAndNoMore(t *testing.T) {
	for _, share := range []int64{100_000, copyStep, 300_000, 2*copyStep + 1} {
		s := openAlone(t, OS(), Limits{MaxSize: 64 << 20, UploadRoom: copyShares * share})
		f := s.mustBeginCopy(t, "a", "a", int(share))
		if stats := s.Stats(); stats.CopyBytes != share || stats.Bytes != share {
			t.Errorf("of %d: %+v", share, stats)
		}
		if _, err := f.Write([]byte("x")); !errors.Is(err, ErrNoRoom) {
			t.Errorf("of %d: a byte more is written with %v", share, err)
		}
	}
}

func TestCopiesMayTakeAllThatTheDiskHasToSpare(t *testing.T) {
	const minFree = 1 << 20
	for name, test := range map[string]struct {
		free int64
		fits bool
	}{
		"just a step":   {minFree + copyStep, true},
		"a byte less":   {minFree + copyStep - 1, false},
		"only min_free": {minFree, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := openAlone(t, tightFS{OS(), test.free}, Limits{MaxSize: 64 << 20, UploadRoom: 16 << 20, MinFree: minFree})
			if _, err := s.beginCopy(t, "a", "a", 0); (err == nil) != test.fits {
				t.Errorf("begun with %v", err)
			}
		})
	}
}

func TestCopiesAndFetchesMayTakeAllOfMaxSizeAtOnce(t *testing.T) {
	const maxSize, room = 64 << 20, 4 << 20
	s := openAlone(t, OS(), Limits{MaxSize: maxSize, UploadRoom: room})
	defer s.begin(t, testKey("fetched"), FillSpec{Size: maxSize - room}).Abort(nil)
	for i := range room / copyStep {
		s.mustBeginCopy(t, fmt.Sprint(i), fmt.Sprint("address", i%copyShares), 1)
	}
	if stats := s.Stats(); stats.Bytes != maxSize || stats.CopyBytes != room || stats.CopiesDropped != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestCopiesThatGrowDropNoOthersForTheirNumber: only one that begins is one more.
func TestCopiesThatGrowDropNoOthersForTheirNumber(t *testing.T) {
	s := openAlone(t, OS(), Limits{MaxSize: 1 << 30, UploadRoom: 512 << 20})
	grow := func(f *Fill, when string) {
		t.Helper()
		f.write(t, make([]byte, copyStep))
		if stats := s.Stats(); stats.CopiesDropped != 0 {
			t.Fatalf("%s: %+v", when, stats)
		}
	}
	for address := range copyShares {
		var first *Fill
		for i := range maxCopies / copyShares {
			f := s.mustBeginCopy(t, fmt.Sprint(address, ".", i), fmt.Sprint("address", address), 1)
			if i == 0 {
				first = f
			}
		}
		grow(first, "with all copies of an address")
	}
	if stats := s.Stats(); stats.Copies != maxCopies || stats.CopiesDropped != 0 {
		t.Errorf("all there may be: %+v", stats)
	}
	s.mustBeginCopy(t, "one more", "another address", 1)
	if stats := s.Stats(); stats.Copies != maxCopies || stats.CopiesDropped != 1 {
		t.Errorf("one more: %+v", stats)
	}
}

func TestNoMoreCopiesAreDroppedThanTheDiskNeeds(t *testing.T) {
	const minFree, size = 1 << 20, 200_000
	for name, test := range map[string]struct {
		short   int64 // how much the disk lacks of min_free and what is unwritten
		dropped int64
	}{
		"nothing is lacking":       {0, 0},
		"a byte":                   {1, 1},
		"as much as one has":       {copyStep, 1},
		"a byte more than one has": {copyStep + 1, 2},
		"more than all have":       {10 * copyStep, 3},
	} {
		t.Run(name, func(t *testing.T) {
			fs := &lateFS{FS: OS(), free: 1 << 40}
			s := openAlone(t, fs, Limits{MaxSize: 1 << 30, MinFree: minFree, UploadRoom: 16 << 20})
			for i := range 3 {
				s.mustBeginCopy(t, fmt.Sprint(i), "a", size)
			}
			lack := func(short int64) {
				s.mu.Lock()
				fs.set(minFree + s.space.unwritten - short)
				s.mu.Unlock()
				s.evict()
				if stats := s.Stats(); stats.CopiesDropped != test.dropped {
					t.Errorf("%d are dropped, not %d", stats.CopiesDropped, test.dropped)
				}
			}
			lack(test.short)
			if test.short == 1 {
				lack(1000) // what was dropped isn't free yet, and will do
			}
		})
	}
}

func TestASmallerUploadRoomDropsNoMoreCopiesThanItMust(t *testing.T) {
	for room, dropped := range map[int64]int{4 * copyStep: 0, 4*copyStep - 1: 1, 3 * copyStep: 1, 2 * copyStep: 2, 1: 4, 0: 4} {
		s := openAlone(t, OS(), Limits{MaxSize: 64 << 20, UploadRoom: 16 << 20})
		copies, over := make(map[string]*Fill), make([]string, 0, 4)
		for i := range 4 {
			name := fmt.Sprint(i)
			copies[name] = s.mustBeginCopy(t, name, "a", 1)
			if i < dropped {
				over = append(over, name)
			}
		}
		s.SetLimits(Limits{MaxSize: 64 << 20, UploadRoom: room})
		checkCopies(t, fmt.Sprint("with room for ", room), copies, over...)
		if stats := s.Stats(); stats.Copies != 4-dropped || stats.CopyBytes != int64(4-dropped)*copyStep {
			t.Errorf("with room for %d: %+v", room, stats)
		}
	}
}

func TestACopyThatIsReadStillCountsAfterItsEnd(t *testing.T) {
	s := openAlone(t, OS(), Limits{MaxSize: 64 << 20, UploadRoom: 4 << 20})
	f := s.mustBeginCopy(t, "a", "a", 200_000)
	reader := f.follow(t)
	f.Abort(nil)
	if stats := s.Stats(); stats.Copies != 0 || stats.CopyBytes != 200_000-heldBack || stats.Bytes != stats.CopyBytes || stats.Lingering != stats.CopyBytes {
		t.Errorf("while it is read: %+v", stats)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.CopyBytes != 0 || stats.Bytes != 0 {
		t.Errorf("then: %+v", stats)
	}
}

// TestACopyWhosePartIsBeingMadeGivesWayToNone: it can't be dropped yet, and its room isn't given away.
func TestACopyWhosePartIsBeingMadeGivesWayToNone(t *testing.T) {
	fs := &atFS{FS: OS()}
	s := openAlone(t, fs, Limits{MaxSize: 64 << 20, UploadRoom: copyShares * copyStep})
	fs.create.Store(new(func() error {
		if _, err := s.beginCopy(t, "second", "a", 0); !errors.Is(err, ErrNoRoom) {
			t.Errorf("the second of the address began with %v", err)
		}
		return nil
	}))
	if first := s.mustBeginCopy(t, "first", "a", 1); first.isOver() {
		t.Errorf("the first ended with %v", first.Err())
	}
	if stats := s.Stats(); stats.Copies != 1 || stats.CopyBytes != copyStep {
		t.Errorf("%+v", stats)
	}
}

func TestNoPartIsMadeInAStoreThatIsClosed(t *testing.T) {
	for name, spec := range map[string]FillSpec{"a fetch": {Size: 1}, "a stranger's upload": {Size: -1, Copy: UnprovenUpload("a")}} {
		fs := &atFS{FS: OS()}
		s := openAlone(t, fs, Limits{MaxSize: 64 << 20, UploadRoom: 4 << 20})
		fs.free.Store(new(s.Close)) // while room is looked for
		for range 2 {
			if _, err := s.Begin(testKey("a"), s.Generation(testKey("a")), spec); !errors.Is(err, ErrClosed) {
				t.Errorf("%s began with %v", name, err)
			}
		}
		if made := fs.created.Load(); made != 0 {
			t.Errorf("%s: %d parts were made", name, made)
		}
	}
}

func TestAnUploadThatIsVouchedForInVainHoldsNothing(t *testing.T) {
	given := errors.New("given up")
	for name, test := range map[string]struct {
		before func(f *Fill) error // while room is looked for
		want   error
		noRoom int64
	}{
		"it was given up meanwhile": {func(f *Fill) error { f.Abort(given); return nil }, given, 0},
		"the disk fails":            {func(*Fill) error { return syscall.EIO }, ErrDisk, 0},
		"there is no room": {func(f *Fill) error {
			f.store.mu.Lock()
			defer f.store.mu.Unlock()
			f.store.limits.MaxSize = 4<<20 + 1000
			return nil
		}, ErrNoRoom, 1},
	} {
		t.Run(name, func(t *testing.T) {
			fs := &atFS{FS: OS()}
			s := openAlone(t, fs, Limits{MaxSize: 64 << 20, UploadRoom: 4 << 20})
			f := s.mustBeginCopy(t, "a", "a", 200_000)
			fs.free.Store(new(func() error { return test.before(f) }))
			for range 2 {
				if err := f.Adopt(); !errors.Is(err, test.want) {
					t.Errorf("adopted with %v", err)
				}
			}
			if _, err := f.Write([]byte("x")); !errors.Is(err, test.want) {
				t.Errorf("then written with %v", err)
			}
			if stats := s.Stats(); stats.Bytes != 0 || stats.Copies != 0 || stats.Reserved != 0 || stats.NoRoom != test.noRoom {
				t.Errorf("%+v", stats)
			}
		})
	}
}
