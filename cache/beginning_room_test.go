package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// TestNoMoreBeginningsLeaveThanMust: the oldest go, until there is room, and none where there is.
func TestNoMoreBeginningsLeaveThanMust(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MinFree: 1 << 20})
	s.beginnings.least = 1000
	broken := 0
	breakOff := func() {
		s.breakOff(t, numberedKey(broken), FillSpec{Size: 100_000}, randomBytes(90_000, 1))
		broken++
	}
	breakOff()
	onDisk := s.beginnings.bytes
	for _, test := range []struct {
		short int64
		left  int
	}{{0, 3}, {1, 2}, {onDisk, 2}, {onDisk + 1, 1}, {3 * onDisk, 0}} {
		for len(s.beginnings.kept) < 3 {
			breakOff()
		}
		s.mu.Lock()
		s.space.unfreed = unfreed{}
		seen := sample{free: s.limits.MinFree - test.short, written: s.space.written}
		s.mu.Unlock()
		if dropped := s.dropBeginnings(seen); dropped != (test.left < 3) || len(s.beginnings.kept) != test.left {
			t.Errorf("for %d bytes: dropped %v, %d are left", test.short, dropped, len(s.beginnings.kept))
		}
		s.checkBytes(t, "dropped")
	}
}

// TestABeginningThatWasDroppedAndDoesNotShowAsFreeYetEvictsNothing: for what it frees no entry goes, too.
func TestABeginningThatWasDroppedAndDoesNotShowAsFreeYetEvictsNothing(t *testing.T) {
	s, fs, _ := openLate(t, 1<<20)
	s.breakOff(t, testKey("broken"), FillSpec{Size: 4 << 20}, randomBytes(2<<20, 1))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	fs.set(1<<20 + 500_000)
	if err := beginAndAbort(s, 1_000_000); !errors.Is(err, ErrNoRoom) {
		t.Errorf("room for what isn't free yet: %v", err)
	}
	if stats := s.Stats(); stats.Beginnings != 0 || stats.Entries != 200 {
		t.Errorf("%+v", stats)
	}
	fs.show()
	if err := beginAndAbort(s, 1_000_000); err != nil {
		t.Errorf("no room for what is free now: %v", err)
	}
}

// TestABeginningIsPutBackOnlyWhereThereIsRoomForIt: newer ones stay.
func TestABeginningIsPutBackOnlyWhereThereIsRoomForIt(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	s.beginnings.least = 100
	breakOff := func(i int) { s.breakOff(t, numberedKey(i), FillSpec{Size: 1000}, randomBytes(200, byte(i))) } //nolint:gosec // any byte will do
	for i := range maxBeginnings {
		breakOff(i)
	}
	first, second := s.mustTake(t, numberedKey(0)), s.mustTake(t, numberedKey(1))
	breakOff(maxBeginnings)
	first.PutBack()
	second.PutBack()
	if kept := s.Stats().Beginnings; kept != maxBeginnings {
		t.Errorf("%d are kept", kept)
	}
	s.mustTake(t, numberedKey(0)).Drop()
	if s.TakeBeginning(numberedKey(1), s.Generation(numberedKey(1))) != nil {
		t.Error("one too many was put back")
	}
	s.mustTake(t, numberedKey(maxBeginnings)).PutBack()
}

// TestAFileOfUnknownLengthGoesOn, beyond the room that it takes at first.
func TestAFileOfUnknownLengthGoesOn(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 100 << 20})
	awaitLoaded(t, s)
	k, data := numberedKey(1), randomBytes(3<<20, 1)
	s.breakOff(t, k, FillSpec{Size: -1}, data[:2<<20])
	f, err := s.Continue(s.mustTake(t, k), s.Generation(k), FillSpec{Size: -1, SHA256: sha256.Sum256(data)})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	growth := s.limits.growthStep(f.onDisk)
	s.mu.Unlock()
	if stats := s.Stats(); stats.Reserved != f.onDisk+growth {
		t.Errorf("%d bytes are reserved for %d and %d more", stats.Reserved, f.onDisk, growth)
	}
	f.write(t, data[2<<20:])
	if _, err := f.Commit(s.Generation(k)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.content(t, k), data) {
		t.Error("the stored file has other bytes")
	}
}

// closeCounter counts the files that are open.
type closeCounter struct {
	FS
	open atomic.Int64
}

type countedClose struct {
	File
	fs *closeCounter
}

func (f *closeCounter) Create(path string) (File, error) {
	file, err := f.FS.Create(path)
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	return countedClose{file, f}, nil
}

func (f countedClose) Close() error {
	f.fs.open.Add(-1)
	return f.File.Close()
}

// TestAStoreThatIsAbandonedClosesItsBeginningsAndRemovesNothing: what has their names now may be another's.
func TestAStoreThatIsAbandonedClosesItsBeginningsAndRemovesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*Store) error
		left int
	}{"abandoned": {(*Store).Abandon, 1}, "closed": {(*Store).Close, 0}} {
		fs := &closeCounter{FS: OS()}
		s := openOn(t, fs, Limits{MaxSize: 1 << 30})
		s.beginnings.least = 1000
		s.breakOff(t, testKey("a"), FillSpec{Size: 100_000}, randomBytes(90_000, 1))
		before := fs.open.Load()
		if err := test.end(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		parts, _ := filepath.Glob(filepath.Join(fillsPath(s.dir), "*"+partSuffix))
		if before != 1 || fs.open.Load() != 0 || len(parts) != test.left || s.Stats().Bytes != 0 {
			t.Errorf("%s: %d files were open and %d are, %d are left: %+v", name, before, fs.open.Load(), len(parts), s.Stats())
		}
		for _, part := range parts {
			if err := OS().Remove(part); err != nil {
				t.Error(err)
			}
		}
	}
}

// atRemoval calls a function, once, before a file is removed.
type atRemoval struct {
	FS
	before atomic.Pointer[func(path string)]
}

func (f *atRemoval) Remove(path string) error {
	if before := f.before.Swap(nil); before != nil {
		(*before)(path)
	}
	return f.FS.Remove(path)
}

// TestNothingIsKeptOfWhatBreaksOffWhileTheStoreEnds: the store ends one fill after the other, and another breaks off meanwhile.
func TestNothingIsKeptOfWhatBreaksOffWhileTheStoreEnds(t *testing.T) {
	fs := &atRemoval{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	s.beginnings.least = 1000
	fills := make([]*Fill, 0, 2)
	for i := range 2 {
		f := s.begin(t, numberedKey(i), FillSpec{Size: 100_000})
		f.write(t, randomBytes(90_000, byte(i)))
		fills = append(fills, f)
	}
	leave := func(path string) {
		for _, f := range fills {
			if f.path != path && f.Leave(errLine, nil) {
				t.Error("it is kept")
			}
		}
	}
	fs.before.Store(&leave)
	s.EndFills()
	if use := diskUse(t, s.dir); use != 0 || s.Stats().Beginnings != 0 || s.Stats().Bytes != 0 {
		t.Errorf("%d bytes are left: %+v", use, s.Stats())
	}
}

// TestWithoutAnIndexNothingIsCommittedWhileTheStoreLoads: what it has of the key isn't known then, and would stay for ever.
func TestWithoutAnIndexNothingIsCommittedWhileTheStoreLoads(t *testing.T) {
	held := &heldFS{FS: OS(), listing: make(chan struct{}), held: make(chan struct{})}
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, FS: held})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	<-held.listing
	e := s.put(t, testKey("a"), []byte("data"))
	f := s.begin(t, testKey("b"), FillSpec{Size: 4})
	f.write(t, []byte("data"))
	index := func(db *database) (before *database) {
		s.index.mu.Lock()
		defer s.index.mu.Unlock()
		before, s.index.db = s.index.db, db
		return before
	}
	had := index(nil)
	if _, err := f.Commit(s.Generation(testKey("b"))); !errors.Is(err, errNoIndex) {
		t.Errorf("committed with %v", err)
	}
	if _, err := s.Link(testKey("c"), s.Generation(testKey("c")), FillSpec{Size: -1, SHA256: e.Digest}); !errors.Is(err, errNoIndex) {
		t.Errorf("linked with %v", err)
	}
	index(had)
	close(held.held)
	awaitLoaded(t, s)
	if stats := s.Stats(); stats.Entries != 1 {
		t.Errorf("%+v", stats)
	}
}
