package cache

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// beginCopy begins the copy of an upload that nobody has vouched for, and gives it some bytes.
func (s *Store) beginCopy(t testing.TB, name, address string, size int) (*Fill, error) {
	t.Helper()
	k := testKey(name)
	f, err := s.Begin(k, s.Generation(k), FillSpec{Size: -1, Copy: UnprovenUpload(address)})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { f.Abort(nil) })
	for piece := make([]byte, 64<<10); size > 0 && err == nil; {
		n := min(size, len(piece))
		_, err = f.Write(piece[:n])
		size -= n
	}
	return f, err
}

// mustBeginCopy is beginCopy for a test that expects no trouble.
func (s *Store) mustBeginCopy(t testing.TB, name, address string, size int) *Fill {
	t.Helper()
	f, err := s.beginCopy(t, name, address, size)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return f
}

func (f *Fill) isOver() bool {
	select {
	case <-f.Done():
		return true
	default:
		return false
	}
}

// checkCopies makes sure that exactly these of some copies go on.
func checkCopies(t *testing.T, when string, copies map[string]*Fill, over ...string) {
	t.Helper()
	gone := make(map[string]bool)
	for _, name := range over {
		gone[name] = true
	}
	for name, f := range copies {
		if f.isOver() != gone[name] {
			t.Errorf("%s: %s is over: %v", when, name, f.isOver())
		}
		if gone[name] && !errors.Is(f.Err(), ErrNoRoom) {
			t.Errorf("%s: %s ended with %v", when, name, f.Err())
		}
	}
}

// TestAnUnprovenUploadEvictsNothing has a full store meet many uploads held open, and one that is larger than the store.
func TestAnUnprovenUploadEvictsNothing(t *testing.T) {
	const maxSize, room, size = 256 << 20, 16 << 20, 4 << 20
	s, _ := openAt(t, Limits{MaxSize: maxSize, UploadRoom: room})
	data := randomBytes(size, 1)
	files := (maxSize - room - (maxSize-room)/headroomShare) / size
	for i := range files {
		copy(data, fmt.Sprint("file ", i))
		s.put(t, numberedKey(i), data)
	}
	nothingLost := func(when string) {
		t.Helper()
		s.asJanitor(s.evict)
		if stats := s.Stats(); stats.Entries < files || stats.Evictions != 0 || stats.Bytes > maxSize {
			t.Fatalf("%s: %+v", when, stats)
		}
	}
	for i := range 256 {
		if _, err := s.beginCopy(t, fmt.Sprint("open", i), fmt.Sprint("address", i), 1); err != nil {
			t.Errorf("upload %d: %v", i, err)
		}
	}
	nothingLost("with 256 uploads of a byte")
	if stats := s.Stats(); stats.Copies != maxCopies || stats.CopyBytes > room || stats.CopiesDropped != 256-maxCopies {
		t.Errorf("with 256 uploads of a byte: %+v", stats)
	}
	if _, err := s.beginCopy(t, "large", "another", 260<<20); !errors.Is(err, ErrNoRoom) {
		t.Errorf("one of 260 MiB: %v", err)
	}
	nothingLost("with one of 260 MiB")
	fill := s.begin(t, testKey("fetched"), FillSpec{Size: 1 << 20, Confirmed: s.now()})
	fill.write(t, data[:1<<20])
	if _, err := fill.Commit(s.Generation(testKey("fetched"))); err != nil {
		t.Errorf("a fetch meanwhile: %v", err)
	}
	if s.content(t, testKey("fetched")) == nil {
		t.Error("what was fetched meanwhile isn't there")
	}
}

func TestTheCopyThatHasGoneLongestWithoutAByteGivesWay(t *testing.T) {
	s, _ := openAt(t, Limits{MaxSize: 64 << 20, UploadRoom: 4 << 20}) // 16 steps, 4 of them for an address
	copies := make(map[string]*Fill)
	begin := func(name, address string, size int) {
		t.Helper()
		copies[name] = s.mustBeginCopy(t, name, address, size)
	}
	begin("a1", "a", 1)
	begin("a2", "a", copyStep)
	begin("a3", "a", 1)
	begin("b1", "b", 1)
	copies["a1"].write(t, []byte("x"))
	copies["a2"].write(t, nil)
	begin("a4", "a", 1)
	checkCopies(t, "a's quarter is full", copies)
	begin("a5", "a", 1)
	checkCopies(t, "a fifth of a's", copies, "a2")
	copies["a1"].write(t, make([]byte, copyStep))
	checkCopies(t, "a's first grows", copies, "a2", "a3")
	if _, err := copies["a3"].Write([]byte("x")); !errors.Is(err, ErrNoRoom) {
		t.Errorf("writing to what gave way: %v", err)
	}
	for i, address := range []string{"c", "d", "e"} {
		begin(address+"1", address, 1)
		begin(address+"2", address, (3-i/2)*copyStep)
	}
	checkCopies(t, "the room is full", copies, "a2", "a3")
	begin("f1", "f", 1)
	checkCopies(t, "one more over all", copies, "a2", "a3", "b1")
	if stats := s.Stats(); stats.CopyBytes > 4<<20 || stats.CopiesDropped != 3 {
		t.Errorf("%+v", stats)
	}
}

func TestAnUploadLargerThanItsShareDropsNoOther(t *testing.T) {
	s, _ := openAt(t, Limits{MaxSize: 64 << 20, UploadRoom: 4 << 20})
	copies := map[string]*Fill{"small": s.mustBeginCopy(t, "small", "a", 1)}
	if _, err := s.beginCopy(t, "large", "b", 1<<20+1); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v", err)
	}
	checkCopies(t, "one of more than a quarter", copies)
	if stats := s.Stats(); stats.Copies != 1 || stats.CopyBytes != copyStep {
		t.Errorf("%+v", stats)
	}
}

func TestOneAddressHoldsAQuarterOfTheCopies(t *testing.T) {
	s, _ := openAt(t, Limits{MaxSize: 1 << 30, UploadRoom: 256 << 20})
	other := s.mustBeginCopy(t, "other", "b", 1)
	for i := range 100 {
		s.mustBeginCopy(t, fmt.Sprint(i), "a", 1)
	}
	if stats := s.Stats(); other.isOver() || stats.Copies != maxCopies/copyShares+1 {
		t.Errorf("the other's is over: %v, %+v", other.isOver(), stats)
	}
}

func TestCopiesNeedRoomOfTheirOwn(t *testing.T) {
	for name, test := range map[string]struct {
		limits Limits
		free   int64
	}{
		"no upload room":        {Limits{MaxSize: 64 << 20}, 1 << 40},
		"less than min_free":    {Limits{MaxSize: 64 << 20, UploadRoom: 4 << 20, MinFree: 1 << 20}, 1 << 20},
		"less than one address": {Limits{MaxSize: 64 << 20, UploadRoom: 3}, 1 << 40},
	} {
		t.Run(name, func(t *testing.T) {
			s := openOn(t, tightFS{OS(), test.free}, test.limits)
			if _, err := s.beginCopy(t, "a", "a", 1); !errors.Is(err, ErrNoRoom) {
				t.Errorf("got %v", err)
			}
			if stats := s.Stats(); stats.NoRoom != 0 || stats.Copies != 0 || stats.CopyBytes != 0 {
				t.Errorf("%+v", stats)
			}
		})
	}
}

func TestACopyIsStoredOnceItIsAdopted(t *testing.T) {
	s, _ := openAt(t, Limits{MaxSize: 64 << 20, UploadRoom: 16 << 20})
	k, data := testKey("a"), randomBytes(1_000_000, 1)
	f := s.mustBeginCopy(t, "a", "a", 0)
	f.write(t, data[:700_000])
	if err := f.Adopt(); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Copies != 0 || stats.CopyBytes != 0 || stats.Reserved != 700_000 {
		t.Errorf("adopted: %+v", stats)
	}
	f.write(t, data[700_000:])
	if err := f.Adopt(); err != nil {
		t.Errorf("adopted twice: %v", err)
	}
	if _, err := f.Commit(s.Generation(k)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.content(t, k), data) {
		t.Error("other bytes were stored")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.space; p.blobs != 1_000_000 || p.holding != (holding{}) || p.copies.holding != (holding{}) || p.unwritten != 0 || len(p.copies.addresses) > 0 {
		t.Errorf("at rest: %+v", p)
	}
}

func TestAdoptingEvictsWhatWasUsedLeastRecently(t *testing.T) {
	s, _ := openAt(t, Limits{MaxSize: 5 << 20, UploadRoom: 4 << 20})
	s.put(t, testKey("old"), randomBytes(900_000, 1))
	f := s.mustBeginCopy(t, "new", "a", 800_000)
	s.asJanitor(s.evict)
	if s.content(t, testKey("old")) == nil {
		t.Fatal("evicted before anybody vouched for the upload")
	}
	if err := f.Adopt(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Commit(s.Generation(testKey("new"))); err != nil {
		t.Fatal(err)
	}
	if s.content(t, testKey("old")) != nil || s.content(t, testKey("new")) == nil {
		t.Error("the older file stayed, or the new one isn't there")
	}
}

func TestACopyThatFindsNoRoomWhenItIsAdoptedIsOver(t *testing.T) {
	s, _ := openAt(t, Limits{MaxSize: 5 << 20, UploadRoom: 4 << 20})
	blob, err := s.OpenBlob(s.put(t, testKey("read"), randomBytes(900_000, 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	f := s.mustBeginCopy(t, "new", "a", 800_000)
	if err := f.Adopt(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("adopted: %v", err)
	}
	if _, err := f.Commit(s.Generation(testKey("new"))); !errors.Is(err, ErrNoRoom) {
		t.Errorf("committed: %v", err)
	}
	if stats := s.Stats(); stats.Copies != 0 || stats.CopyBytes != 0 || stats.Reserved != 0 || stats.Lingering != 0 || stats.Evictions != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestWhatNobodyVouchedForIsNotCommitted(t *testing.T) {
	s, _ := openAt(t, Limits{MaxSize: 64 << 20, UploadRoom: 4 << 20})
	f := s.mustBeginCopy(t, "a", "a", 100)
	if _, err := f.Commit(s.Generation(testKey("a"))); !errors.Is(err, ErrUnproven) {
		t.Errorf("committed: %v", err)
	}
	dropped := s.mustBeginCopy(t, "b", "a", 100)
	s.SetLimits(Limits{MaxSize: 64 << 20})
	for name, try := range map[string]func() error{
		"adopting":   dropped.Adopt,
		"committing": func() error { _, err := dropped.Commit(s.Generation(testKey("b"))); return err },
		"writing":    func() error { _, err := dropped.Write([]byte("x")); return err },
	} {
		if err := try(); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%s what was dropped: %v", name, err)
		}
	}
	if stats := s.Stats(); stats.Entries != 0 || stats.Bytes != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestCopiesGiveWayBeforeEntriesWhenTheDiskIsShort: they take of what is free, and must not be a reason to evict.
func TestCopiesGiveWayBeforeEntriesWhenTheDiskIsShort(t *testing.T) {
	const size, minFree = 16 << 20, 4 << 20
	fs := &countedFS{FS: OS(), size: size, names: make(map[string]*countedFile)}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30, UploadRoom: 64 << 20, MinFree: minFree})
	for i := range 8 {
		s.put(t, numberedKey(i), randomBytes(1<<20, byte(i)))
	}
	copies := make([]*Fill, 3)
	for i := range copies {
		copies[i] = s.mustBeginCopy(t, fmt.Sprint(i), "a", 1<<20)
	}
	fill, err := s.Begin(testKey("fetched"), s.Generation(testKey("fetched")), FillSpec{Size: 3 << 20, Confirmed: s.now()})
	if err != nil {
		t.Fatalf("a fetch that has room without the copies: %v", err)
	}
	fill.write(t, randomBytes(3<<20, 20))
	if _, err := fill.Commit(s.Generation(testKey("fetched"))); err != nil {
		t.Error(err)
	}
	if stats := s.Stats(); stats.Entries != 9 || stats.Evictions != 0 {
		t.Errorf("%+v", stats)
	}
	if !copies[0].isOver() || !errors.Is(copies[0].Err(), ErrNoRoom) {
		t.Errorf("the copies stayed: %v", copies[0].Err())
	}
	if fs.most > size-minFree {
		t.Errorf("only %d bytes were free", size-fs.most)
	}
}
