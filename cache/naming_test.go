package cache

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// isToGo reports whether a blob's file is to be removed.
func (s *Store) isToGo(blob *blobState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, orphan := s.leaving.orphans[blob]
	return orphan
}

// TestAFileGoesWhenItsLastNameDoes, and one that is named again stays. One that is gone already is removed no second time.
func TestAFileGoesWhenItsLastNameDoes(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.stopJanitor() // which would remove it
	data := randomBytes(1000, 1)
	blob := s.put(t, testKey("a"), data).node.blob
	s.put(t, testKey("b"), data)
	s.put(t, testKey("a"), randomBytes(1000, 2))
	if s.isToGo(blob) {
		t.Error("a file goes that another entry names")
	}
	s.put(t, testKey("b"), randomBytes(1000, 2))
	if !s.isToGo(blob) {
		t.Error("a file stays that nothing names")
	}
	again := s.put(t, testKey("a"), data)
	if again.node.blob != blob || s.isToGo(blob) {
		t.Error("a file goes that is named again")
	}
	s.discard(blob, reasonChecksum)
	if s.unlinkOrphans(10, true); !blob.unlinked || s.isToGo(blob) {
		t.Fatalf("a damaged file stays: %+v", blob)
	}
	if _, err := s.Lookup(testKey("a")); !errors.Is(err, ErrMiss) || s.isToGo(blob) {
		t.Errorf("a file that is gone is to go: %v, %v", s.isToGo(blob), err)
	}
}

// TestARecordThatIsBeingWrittenIsTakenBackWhenItsFileIsReplaced: the index would name what the record replaced, whose file goes.
func TestARecordThatIsBeingWrittenIsTakenBackWhenItsFileIsReplaced(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.stopJanitor()
	k := testKey("a")
	var b *batch
	for version, removed := range []bool{false, false, true} {
		s.put(t, k, randomBytes(1000, byte(version)))
		removals := s.leaving.removals
		if is := len(removals) == 1 && slices.Equal(removals[0].hashes, []keyHash{k.hash()}); is != removed || (!removed && len(removals) != 0) {
			t.Errorf("after version %d, %d removals wait", version, len(removals))
		}
		switch version {
		case 0: // the index has it
			b = s.takeBatch(true)
			s.syncBlobs(b)
			s.recordBatch(b)
		case 1: // the index is about to have it
			b = s.takeBatch(true)
			s.syncBlobs(b)
		}
	}
	s.recordBatch(b)
}

// TestAFileThatWasNeverOpenedCountsAsUsedWhenItWasStored, also after a restart: else what came last would be evicted first.
func TestAFileThatWasNeverOpenedCountsAsUsedWhenItWasStored(t *testing.T) {
	clock, dir := new(testClock), t.TempDir()
	start := func() *Store {
		s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, Now: clock.now})
		if err != nil {
			t.Fatal(err)
		}
		s.CloseAtEnd(t, t.Log)
		awaitLoaded(t, s)
		return s
	}
	s := start()
	opened, stored := testKey("opened"), testKey("stored")
	data := randomBytes(1000, 1)
	s.put(t, opened, data)
	fill := s.begin(t, stored, FillSpec{Size: 1, Confirmed: clock.now()}) // which takes its time
	clock.pass(time.Hour)
	_ = s.hit(t, opened, data).Close()
	clock.pass(time.Hour)
	fill.write(t, []byte("x"))
	if _, err := fill.Commit(s.Generation(stored)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start()
	if oldest := s.entries.oldest(); oldest.hash != opened.hash() {
		t.Error("what was stored last is evicted first")
	}
	listed, err := s.Entries(t.Context(), Selector{}, nil, 2)
	if err != nil || len(listed) != 2 || !listed[0].LastUsed.Equal(clock.now().Add(-time.Hour)) || !listed[1].LastUsed.Equal(clock.now()) {
		t.Errorf("%+v, %v", listed, err)
	}
}

// TestWhatIsDroppedDuringTheStartStaysSo, although the index has it until the janitor comes to that.
func TestWhatIsDroppedDuringTheStartStaysSo(t *testing.T) {
	s, goOn := openLoading(t, leftWith(t, testKey("a"), randomBytes(1000, 1)))
	e := s.lookup(t, testKey("a"))
	record, err := s.readIndex(e.Key)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.forgetEntryLocked(e.node)
	s.mu.Unlock()
	if s.takeFromIndex(e.Key.hash(), nil, record) {
		t.Error("what the index has still is an entry again")
	}
	if listed := s.present([]*Entry{record}, nil, 10); len(listed) != 0 {
		t.Errorf("listed: %v", listedKeys(listed))
	}
	goOn()
	if got, err := s.Lookup(e.Key); !errors.Is(err, ErrMiss) {
		t.Errorf("after the start: %+v, %v", got, err)
	}
}

// TestWhatAPurgeHasNotComeToIsUnconfirmed, and what another one selects isn't.
func TestWhatAPurgeHasNotComeToIsUnconfirmed(t *testing.T) {
	s, clock := openAt(t, Limits{})
	s.put(t, testKey("a"), []byte("x"))
	for _, test := range []struct {
		project   string
		confirmed bool
	}{{"25", true}, {"24", false}} {
		s.generations.purge(Selector{Project: test.project})
		if e := s.lookup(t, testKey("a")); e.Confirmed.Equal(clock.now()) != test.confirmed || e.Questioned {
			t.Errorf("after a purge of %s: %+v", test.project, e)
		}
	}
}
