package cache

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// putOwed stores a file whose bytes are owed.
func (s *Store) putOwed(t *testing.T, k Key, data []byte) Entry {
	t.Helper()
	return s.putOwedAfter(t, k, data, 0)
}

func (s *Store) putOwedAfter(t *testing.T, k Key, data []byte, after time.Duration) Entry {
	t.Helper()
	f, err := s.Begin(k, s.Generation(k), FillSpec{Size: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	f.Owe(after)
	entry, err := f.Commit(s.Generation(k))
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

func TestWhatIsOwedIsGivenOutOnceUntilItIsSettled(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(1000, 1)
	s.putOwed(t, testKey("a"), data)
	s.put(t, testKey("not owed"), randomBytes(500, 2))
	select {
	case <-s.OwedArrived():
	default:
		t.Error("nobody is told")
	}
	entry, err := s.NextOwed()
	if err != nil || entry.Key != testKey("a") || !entry.Owed {
		t.Fatalf("%+v, %v", entry, err)
	}
	if _, err := s.NextOwed(); !errors.Is(err, ErrMiss) {
		t.Errorf("given out twice: %v", err)
	}
	blob, err := s.OpenOwed(entry)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(blob); err != nil || string(got) != string(data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_ = blob.Close()
	s.ReturnOwed(entry)
	if entry, err = s.NextOwed(); err != nil {
		t.Errorf("what was given back isn't given out: %v", err)
	}
	if stats := s.Stats(); stats.Owed != 1 || stats.OwedBytes != 1000 {
		t.Errorf("%d, %d bytes", stats.Owed, stats.OwedBytes)
	}
	at := time.Unix(1_700_000_000, 5).UTC()
	s.SettleOwed(entry, at)
	if stats := s.Stats(); stats.Owed != 0 || stats.OwedBytes != 0 {
		t.Errorf("settled: %d, %d bytes", stats.Owed, stats.OwedBytes)
	}
	s.ReturnOwed(entry)
	if _, err := s.NextOwed(); !errors.Is(err, ErrMiss) {
		t.Errorf("settled, and given out: %v", err)
	}
	if now, err := s.Lookup(testKey("a")); err != nil || now.Owed || !now.Shared.Equal(at.Truncate(time.Second)) {
		t.Errorf("%+v, %v", now, err)
	}
}

func TestWhatIsOwedLaterIsMarkedAtOnceAndGivenOutThen(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	s.putOwedAfter(t, testKey("much later"), randomBytes(1000, 1), time.Hour)
	s.putOwedAfter(t, testKey("published over"), randomBytes(1000, 2), time.Nanosecond)
	s.putOwedAfter(t, testKey("published over"), randomBytes(1000, 3), time.Hour)
	s.putOwedAfter(t, testKey("later"), randomBytes(1000, 4), time.Nanosecond)
	var entry Entry
	err := ErrMiss
	for errors.Is(err, ErrMiss) { // what was to be given out may have been published over by then
		<-s.OwedArrived()
		entry, err = s.NextOwed()
	}
	if err != nil || entry.Key != testKey("later") {
		t.Errorf("%v, %v", entry.Key, err)
	}
	if _, err := s.NextOwed(); !errors.Is(err, ErrMiss) {
		t.Errorf("given out too early: %v", err)
	}
	if stats := s.Stats(); stats.Owed != 3 {
		t.Errorf("%d are marked", stats.Owed)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	for range 3 {
		if _, err := s.NextOwed(); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
}

// TestAContentThatIsOwedUnderSeveralNamesTakesItsRoomOnce, until the last of them is written.
func TestAContentThatIsOwedUnderSeveralNamesTakesItsRoomOnce(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(1000, 1)
	for i := range 3 {
		s.putOwed(t, numberedKey(i), data)
	}
	for left := 3; left > 0; left-- {
		if stats := s.Stats(); stats.Owed != left || stats.OwedBytes != 1000 {
			t.Errorf("%d are owed, %d bytes; want %d, 1000 bytes", stats.Owed, stats.OwedBytes, left)
		}
		entry, err := s.NextOwed()
		if err != nil {
			t.Fatal(err)
		}
		s.SettleOwed(entry, time.Now())
	}
	if stats := s.Stats(); stats.Owed != 0 || stats.OwedBytes != 0 {
		t.Errorf("%d are owed, %d bytes", stats.Owed, stats.OwedBytes)
	}
}

// TestMarksOfOwedFilesSurviveARestart, those that were settled too, with all else that is known of an entry.
func TestMarksOfOwedFilesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	for i := range 3 {
		s.putOwed(t, numberedKey(i), randomBytes(1000, byte(i)))
	}
	settled, err := s.NextOwed()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0).UTC()
	s.SettleOwed(settled, at)
	before, err := s.Lookup(settled.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	if stats := s.Stats(); stats.Owed != 2 || stats.OwedBytes != 2000 {
		t.Errorf("%d are owed, %d bytes", stats.Owed, stats.OwedBytes)
	}
	after, err := s.Lookup(settled.Key)
	if err != nil || after.Owed || !after.Shared.Equal(at) || after.Digest != before.Digest || after.Identity != before.Identity {
		t.Errorf("%+v, %v", after, err)
	}
	seen := make(map[Key]bool)
	for range 2 {
		entry, err := s.NextOwed()
		if err != nil || seen[entry.Key] || entry.Key == settled.Key {
			t.Errorf("%v, %v", entry.Key, err)
		}
		seen[entry.Key] = true
	}
}

func TestWhatIsPublishedOverPurgedOrEvictedIsOwedNoMore(t *testing.T) {
	for name, remove := range map[string]func(*testing.T, *Store){
		"published over": func(t *testing.T, s *Store) { s.put(t, testKey("a"), randomBytes(10, 9)) },
		"purged": func(t *testing.T, s *Store) {
			if _, err := s.Purge(t.Context(), Selector(testKey("a"))); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(t *testing.T, s *Store) {
			entry, err := s.Lookup(testKey("a"))
			if err != nil {
				t.Fatal(err)
			}
			blob, err := s.OpenOwed(entry)
			if err != nil {
				t.Fatal(err)
			}
			blob.ReportDamaged()
			_ = blob.Close()
			_, _ = s.Lookup(testKey("a")) // which drops it
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			entry := s.putOwed(t, testKey("a"), randomBytes(1000, 1))
			remove(t, s)
			if stats := s.Stats(); stats.Owed != 0 || stats.OwedBytes != 0 {
				t.Errorf("%d are owed, %d bytes", stats.Owed, stats.OwedBytes)
			}
			s.SettleOwed(entry, time.Now()) // too late
			s.ReturnOwed(entry)
			if _, err := s.NextOwed(); !errors.Is(err, ErrMiss) {
				t.Errorf("given out: %v", err)
			}
		})
	}
}

// TestOwedFilesAreEvictedLastAndOnlyWhenThereAreMany fills a store with files of which some are owed.
func TestOwedFilesAreEvictedLastAndOnlyWhenThereAreMany(t *testing.T) {
	const size, files = 10_000, 100
	for _, test := range []struct {
		owed int
		kept bool
	}{{20, true}, {60, false}} {
		t.Run(fmt.Sprintf("%d of %d", test.owed, files), func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{MaxSize: size * files, KeepsOwed: true})
			awaitLoaded(t, s)
			for i := range test.owed {
				s.putOwed(t, numberedKey(i), randomBytes(size, byte(i)))
			}
			for i := test.owed; i < 3*files; i++ {
				s.put(t, numberedKey(i), randomBytes(size, byte(i))) //nolint:gosec // G115: any byte will do
			}
			present := 0
			for i := range test.owed {
				if _, err := s.Lookup(numberedKey(i)); err == nil {
					present++
				}
			}
			stats := s.Stats()
			if kept := present == test.owed; kept != test.kept || stats.Owed != present || stats.OwedEvicted != int64(test.owed-present) {
				t.Errorf("of %d that are owed %d are there; %d are said to be owed, %d to have been evicted", test.owed, present, stats.Owed, stats.OwedEvicted)
			}
			if !test.kept && stats.OwedBytes > size*files/owedShare {
				t.Errorf("%d bytes are owed still", stats.OwedBytes)
			}
		})
	}
}

func TestFilesInUseThatWerentSharedForLongAreOwedAgain(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	now := time.Now()
	share := func(k Key, size int, at time.Time) {
		s.SettleOwed(s.putOwed(t, k, randomBytes(size, 7)), at)
	}
	share(testKey("old"), 1000, now.Add(-20*24*time.Hour))
	share(testKey("young"), 1001, now.Add(-time.Hour))
	share(testKey("small"), 10, now.Add(-20*24*time.Hour))
	s.put(t, testKey("never shared"), randomBytes(1002, 3))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := now.Add(-14 * 24 * time.Hour)
	owed := func(which Unshared) (names map[string]bool) {
		names = make(map[string]bool)
		for after, more := []byte(nil), true; more; {
			next, err := s.OweUnshared(t.Context(), after, 2, which)
			if err != nil {
				t.Fatal(err)
			}
			after, more = next, next != nil
		}
		for {
			entry, err := s.NextOwed()
			if err != nil {
				return names
			}
			names[entry.Key.File] = true
			s.SettleOwed(entry, now)
		}
	}
	if names := owed(Unshared{Least: 100, Shared: old, Used: now.Add(time.Hour)}); len(names) != 0 {
		t.Errorf("unused for long, and owed: %v", names)
	}
	names := owed(Unshared{Least: 100, Shared: old, Used: old})
	if len(names) != 2 || !names[testKey("old").File] || !names[testKey("never shared").File] {
		t.Errorf("owed: %v", names)
	}
	if names := owed(Unshared{Least: 100, Shared: old, Used: old}); len(names) != 0 {
		t.Errorf("settled, and owed again: %v", names)
	}
}

func TestRecordsWithFieldsOfALaterVersionAreRead(t *testing.T) {
	entry := &Entry{Key: testKey("a"), Digest: Digest{1}, Size: 5, Stored: time.Unix(1, 0).UTC(), Owed: true, Shared: time.Unix(1_700_000_000, 0).UTC()}
	entry.Identity.Length = 5
	key := entry.Key.bytes()
	record := encodeRecord(key, entry)
	record = appendText(append(record, 99), "what nobody knows yet")
	record = resum(key, record)
	got, err := decodeRecord(key, record)
	if err != nil || !got.Owed || !got.Shared.Equal(entry.Shared) {
		t.Errorf("%+v, %v", got, err)
	}
	for cut := 1; cut < 20; cut++ {
		if _, err := decodeRecord(key, resum(key, record[:len(record)-cut])); err == nil {
			t.Errorf("%d bytes less are a record", cut)
		}
	}
}

func TestRecordsSayWhatIsOwedAndSharedAndNothingElseChanges(t *testing.T) {
	for _, owed := range []bool{false, true} {
		for _, shared := range []time.Time{{}, time.Unix(1_700_000_000, 0).UTC()} {
			entry := &Entry{Key: testKey("a"), Digest: Digest{1}, Size: 5, Stored: time.Unix(1, 0).UTC(), Owed: owed, Shared: shared}
			key := entry.Key.bytes()
			got, err := decodeRecord(key, encodeRecord(key, entry))
			if err != nil || got.Owed != owed || !got.Shared.Equal(shared) || got.Size != 5 {
				t.Errorf("%v, %v: %+v, %v", owed, shared, got, err)
			}
			if _, _, marked, err := checkRecord(key, encodeRecord(key, entry)); err != nil || marked != owed {
				t.Errorf("at the start: %v, %v", marked, err)
			}
		}
	}
}

// TestAnIndexThatCantBeReadIsntAskedAgainAtOnce for what is owed: who waits for more isn't told of what was given back.
func TestAnIndexThatCantBeReadIsntAskedAgainAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	s.putOwed(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	<-s.OwedArrived()
	s.index.mu.Lock()
	db := s.index.db
	s.index.db = nil
	s.index.mu.Unlock()
	_, err := s.NextOwed()
	s.index.mu.Lock()
	s.index.db = db
	s.index.mu.Unlock()
	if !errors.Is(err, errNoIndex) {
		t.Fatalf("%v", err)
	}
	select {
	case <-s.OwedArrived():
		t.Error("who waits is told to ask again at once")
	default:
	}
	if _, err := s.NextOwed(); err != nil {
		t.Errorf("later it isn't given out: %v", err)
	}
}

// TestWithoutASharedStoreOwedFilesAreEvictedLikeTheRest is of a store whose shared store was taken out of the config.
func TestWithoutASharedStoreOwedFilesAreEvictedLikeTheRest(t *testing.T) {
	const size, files = 10_000, 100
	s := openStore(t, t.TempDir(), Limits{MaxSize: size * files, KeepsOwed: true})
	awaitLoaded(t, s)
	for i := range 20 {
		s.putOwed(t, numberedKey(i), randomBytes(size, byte(i)))
	}
	s.SetLimits(Limits{MaxSize: size * files})
	for i := 20; i < 3*files; i++ {
		s.put(t, numberedKey(i), randomBytes(size, byte(i))) //nolint:gosec // G115: any byte will do
	}
	if stats := s.Stats(); stats.Owed != 0 || stats.OwedEvicted != 0 {
		t.Errorf("%d are owed, %d evictions are told of", stats.Owed, stats.OwedEvicted)
	}
}

// TestWhatTheSharedStoreHasWronglyIsKnownAfterARestartUntilItIsWritten is of the mark that such an entry has.
func TestWhatTheSharedStoreHasWronglyIsKnownAfterARestartUntilItIsWritten(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	f := s.begin(t, testKey("a"), FillSpec{Size: 4})
	f.write(t, []byte("data"))
	f.OweInPlaceOfWrong()
	if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir, Limits{})
		awaitLoaded(t, s)
		entry, err := s.Lookup(testKey("a"))
		if err != nil || entry.SharedWrongly != want || entry.Owed != want {
			t.Fatalf("%+v, %v", entry, err)
		}
		s.SettleOwed(entry, time.Now())
	}
}
