package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
)

// putKeeping stores a file that evicts nothing used since a moment.
func (s *Store) putKeeping(k Key, data []byte, since *Moment) error {
	g := s.Generation(k)
	f, err := s.Begin(k, g, FillSpec{Size: int64(len(data)), Confirmed: s.now(), Keeps: since})
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	_, err = f.Commit(g)
	return err
}

// TestAFillThatKeepsWhatIsUsedEvictsOnlyWhatIsNot fills a store, uses a part of it, and stores more than the rest has room for.
func TestAFillThatKeepsWhatIsUsedEvictsOnlyWhatIsNot(t *testing.T) {
	const size, old, used = 100_000, 40, 20
	s := openStore(t, t.TempDir(), Limits{MaxSize: (old + used) * size * headroomShare / (headroomShare - 1)})
	awaitLoaded(t, s)
	name := func(kind string, i int) Key { return testKey(fmt.Sprint(kind, i)) }
	for i := range old {
		s.put(t, name("old", i), randomBytes(size, byte(i)))
	}
	for i := range used {
		s.put(t, name("used", i), randomBytes(size, byte(100+i)))
	}
	since := s.Moment()
	defer s.EndMoment(since)
	for i := range used {
		entry, err := s.Lookup(name("used", i))
		if err != nil {
			t.Fatal(err)
		}
		s.Use(entry)
	}
	stored := 0
	var failed error
	for ; stored < old+used && failed == nil; stored++ {
		if !s.CanSpare(size, Digest{}, since) {
			failed = ErrNoSpareRoom
		}
		if err := s.putKeeping(name("new", stored), randomBytes(size, byte(150+stored)), since); (err == nil) != (failed == nil) {
			t.Fatalf("file %d: there is said to be room: %v; storing it: %v", stored, failed == nil, err)
		} else if err != nil {
			failed = err
			stored--
		}
	}
	if !errors.Is(failed, ErrNoSpareRoom) || !errors.Is(failed, ErrNoRoom) || stored < old-2 || stored > old {
		t.Errorf("%d files are stored, of %d that there is room for; %v", stored, old, failed)
	}
	for i := range used {
		if s.content(t, name("used", i)) == nil {
			t.Errorf("file %d, which was used since, is evicted", i)
		}
	}
	for i := range stored {
		if s.content(t, name("new", i)) == nil {
			t.Errorf("file %d, which was stored since, is evicted", i)
		}
	}
	if here := sha256.Sum256(randomBytes(size, 150)); !s.CanSpare(size, here, since) {
		t.Error("bytes that are here need room")
	}
	if no := s.Stats().NoRoom; no != 0 {
		t.Errorf("%d files count as not stored for want of room", no)
	}
	// An ordinary fill goes on to evict what was used least recently.
	s.put(t, testKey("other"), randomBytes(size, 1))
	if !s.CanSpare(1<<40, Digest{}, since) {
		t.Error("a file that can never be kept counts as one that lacks room now")
	}
}

// TestAFileOfUnknownLengthThatKeepsWhatIsUsedEndsWhereTheRoomEnds grows one beyond what isn't used.
func TestAFileOfUnknownLengthThatKeepsWhatIsUsedEndsWhereTheRoomEnds(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 4 << 20})
	awaitLoaded(t, s)
	since := s.Moment()
	defer s.EndMoment(since)
	for i := range 3 {
		s.put(t, testKey(fmt.Sprint(i)), randomBytes(1<<20, byte(i)))
	}
	k := testKey("growing")
	f, err := s.Begin(k, s.Generation(k), FillSpec{Size: -1, Keeps: since})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	if !errors.Is(err, ErrNoSpareRoom) || f.Written() < 1<<19 {
		t.Errorf("after %d bytes: %v", f.Written(), err)
	}
	for i := range 3 {
		if !bytes.Equal(s.content(t, testKey(fmt.Sprint(i))), randomBytes(1<<20, byte(i))) {
			t.Errorf("file %d is evicted", i)
		}
	}
}

// TestAMomentOutlivesTheLoadingOfTheStore makes one while the index is read.
func TestAMomentOutlivesTheLoadingOfTheStore(t *testing.T) {
	s := newStore(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 20}})
	s.starting.loading = true
	before := &node{hash: keyHash{1}, blob: &blobState{digest: Digest{1}, size: 1, entries: 1}}
	s.entries.add(before)
	since := s.Moment()
	s.entries.add(&node{hash: keyHash{2}, blob: &blobState{digest: Digest{2}, size: 1, entries: 1}})
	loaded := newRecency()
	loaded.add(&node{hash: keyHash{3}, blob: &blobState{digest: Digest{3}, size: 1, entries: 1}})
	s.merge(loaded)
	unused, enough := s.unusedLocked(2, since)
	if !enough || len(unused) != 2 || unused[0].hash != (keyHash{3}) || unused[1] != before {
		t.Errorf("not used since: %v, enough: %v", unused, enough)
	}
	if _, enough := s.unusedLocked(3, since); enough {
		t.Error("what was used since counts as unused")
	}
	if s.entries.oldest().hash != (keyHash{3}) {
		t.Error("the oldest is another one")
	}
	s.EndMoment(since)
	if _, enough := s.unusedLocked(1, since); enough {
		t.Error("after the moment was given back, something counts as unused")
	}
}

// TestBytesThatAUsedEntryNamesAreKept has two entries of one file, of which one was used.
func TestBytesThatAUsedEntryNamesAreKept(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(1000, 1)
	s.put(t, testKey("one"), data)
	s.put(t, testKey("other"), data)
	s.put(t, testKey("alone"), randomBytes(1000, 2))
	since := s.Moment()
	defer s.EndMoment(since)
	entry, err := s.Lookup(testKey("one"))
	if err != nil {
		t.Fatal(err)
	}
	s.Use(entry)
	s.mu.Lock()
	defer s.mu.Unlock()
	if unused, enough := s.unusedLocked(1000, since); !enough || len(unused) != 1 || unused[0].hash != testKey("alone").hash() {
		t.Errorf("unused are %d, enough %v", len(unused), enough)
	}
	if _, enough := s.unusedLocked(1001, since); enough {
		t.Error("bytes that a used entry names count as unused")
	}
}

// TestHitsAreOnlyWhatWasServedFromTheStore opens a file as who fetched it does, and as a hit.
func TestHitsAreOnlyWhatWasServedFromTheStore(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	entry := s.put(t, testKey("a"), []byte("a"))
	hits := func() uint32 {
		listed, err := s.Entries(t.Context(), Selector{}, nil, 1)
		if err != nil || len(listed) != 1 {
			t.Fatal(listed, err)
		}
		return listed[0].Hits
	}
	if _, err := s.OpenBlob(entry); err != nil || hits() != 0 {
		t.Errorf("opened: %d hits, %v", hits(), err)
	}
	if _, err := s.OpenHit(entry); err != nil || hits() != 1 {
		t.Errorf("served: %d hits, %v", hits(), err)
	}
}
