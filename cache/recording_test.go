package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// brokenSyncs is a file system that can't sync files while it is broken. It counts those that it does.
type brokenSyncs struct {
	FS
	broken, full atomic.Bool
	synced       atomic.Int64
}

func (f *brokenSyncs) Open(path string) (File, error) {
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return &brokenSync{file, f}, nil
}

// UpdateIndex implements IndexFS.
func (f *brokenSyncs) UpdateIndex(transaction func() error) error {
	if f.full.Load() {
		return syscall.ENOSPC
	}
	return transaction()
}

type brokenSync struct {
	File
	fs *brokenSyncs
}

func (f *brokenSync) Sync() error {
	if f.fs.broken.Load() {
		return syscall.EIO
	}
	f.fs.synced.Add(1)
	return f.File.Sync()
}

// recordAll does what the janitor does with a batch.
func (s *Store) recordAll() (ok bool) {
	s.asJanitor(func() {
		b := s.takeBatch(true)
		s.syncBlobs(b)
		ok = s.recordBatch(b)
	})
	return ok
}

// TestOfAFileThatCannotBeSyncedNothingStays, neither what it replaced: that was published over.
func TestOfAFileThatCannotBeSyncedNothingStays(t *testing.T) {
	files := &brokenSyncs{FS: OS()}
	s := openOn(t, files, Limits{MaxSize: 1 << 30})
	s.put(t, testKey("a"), randomBytes(100, 1))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	files.broken.Store(true)
	s.put(t, testKey("a"), randomBytes(100, 2))
	s.put(t, testKey("b"), randomBytes(100, 3))
	if !s.recordAll() {
		t.Error("the index could not be written")
	}
	for _, name := range []string{"a", "b"} {
		if record, err := s.readIndex(testKey(name)); err != nil || record != nil {
			t.Errorf("of %s the index has %v, %v", name, record, err)
		}
		if _, err := s.Lookup(testKey(name)); !errors.Is(err, ErrMiss) {
			t.Errorf("%s is looked up with %v", name, err)
		}
	}
	if stats := s.Stats(); stats.Damaged != 2 || stats.DiskErrors != 2 || stats.Bytes != 0 || stats.Entries != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestWhatTheIndexMayNameOfAFileThatIsGoneIsForgottenOnlyOnceTheFileIsBack and durable: until then whoever stores it again syncs
// it first.
func TestWhatTheIndexMayNameOfAFileThatIsGoneIsForgottenOnlyOnceTheFileIsBack(t *testing.T) {
	s := newStore(Config{Dir: t.TempDir()})
	blobs := batchOf(3).fresh
	back, damaged, gone := blobs[0], blobs[1], blobs[2]
	damaged.damaged = true
	s.blobs[back.digest], s.blobs[damaged.digest] = back, damaged
	s.blobs[gone.digest] = &blobState{digest: gone.digest} // stored again, and not synced yet
	for _, blob := range blobs {
		s.leaving.addDangling(blob.digest)
	}
	s.takeRecords(&batch{fresh: blobs})
	for _, blob := range blobs {
		if s.leaving.isDangling(blob.digest) == (blob == back) {
			t.Errorf("%s: dangling is %v", blob.digest, blob != back)
		}
	}
}

// TestAnIndexThatCannotBeWrittenIsToldAndLosesNoUse of what is still there.
func TestAnIndexThatCannotBeWrittenIsToldAndLosesNoUse(t *testing.T) {
	files := &brokenSyncs{FS: OS()}
	s := openOn(t, files, Limits{MaxSize: 1 << 30})
	for i := range 2 {
		s.put(t, numberedKey(i), randomBytes(100, byte(i)))
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		s.mu.Lock()
		for i := range 2 {
			s.durability.use(numberedKey(i).hash(), s.now())
		}
		s.mu.Unlock()
		files.full.Store(true)
		b := s.takeBatch(true)
		s.mu.Lock()
		s.dropLocked(s.entries.peek(numberedKey(1).hash())) // while the batch is on its way
		s.mu.Unlock()
		before := s.Stats().DiskErrors
		if s.recordBatch(b) {
			t.Error("the index was written")
		}
		if told := s.Stats().DiskErrors - before; told != 1 {
			t.Errorf("%d errors of the disk are told", told)
		}
		files.full.Store(false)
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range 2 {
			if _, waits := s.durability.touched[numberedKey(i).hash()]; waits != (i == 0) {
				t.Errorf("the use of file %d waits for the next time: %v", i, waits)
			}
		}
	})
}

// TestARecordThatIsWrittenAnewCountsAsUsedWhenItWasStored: when it was used last is gone with the index that knew.
func TestARecordThatIsWrittenAnewCountsAsUsedWhenItWasStored(t *testing.T) {
	clock := new(testClock)
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	awaitLoaded(t, s)
	stored := s.put(t, testKey("a"), randomBytes(100, 1)).Stored
	h := testKey("a").hash()
	used := func() (at int64) {
		t.Helper()
		if err := s.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := s.viewIndex(func(tx *bolt.Tx) error {
			at, _ = decodeUse(tx.Bucket(usesBucket).Get(h[:]))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return at
	}
	if at := used(); at != stored.UnixNano() {
		t.Errorf("new, it was used at %d, not %d", at, stored.UnixNano())
	}
	clock.pass(1000)
	s.keepRemembered() // as for a new index
	if at := used(); at != stored.UnixNano() {
		t.Errorf("written anew, it was used at %d, not %d", at, stored.UnixNano())
	}
	s.mu.Lock()
	record := *s.durability.record(h)
	record.used = stored.Add(500) // of a use that the index has not heard of
	s.durability.add(h, &record)
	s.mu.Unlock()
	if at := used(); at != stored.UnixNano()+500 {
		t.Errorf("used since, it was used at %d, not %d", at, stored.UnixNano()+500)
	}
}

// TestALongBatchMakesRoomForWhoWaits and for nobody else: evicting is other people's, once it is over.
func TestALongBatchMakesRoomForWhoWaits(t *testing.T) {
	const size = 100_000
	s := openOn(t, OS(), Limits{MaxSize: 2 * size})
	s.stopJanitor()
	for i := range 2 { // all that there is room for, so that there is none to spare
		s.put(t, numberedKey(i), randomBytes(size, byte(i)))
	}
	for _, test := range []struct {
		name    string
		records int
		wanted  int64
		evicts  bool
	}{
		{"a full transaction, and nobody waits", maxChanges, 0, false},
		{"one that isn't full is the last", maxChanges - 1, size, false},
		{"a full transaction, and somebody waits", maxChanges, size, true},
	} {
		s.mu.Lock()
		s.space.wanted.bytes = test.wanted
		s.mu.Unlock()
		err := writePieces(s, make([]int, test.records), func(*bolt.Tx, []int) error { return nil }, nil)
		s.mu.Lock()
		s.space.wanted.bytes = 0
		s.mu.Unlock()
		if evicted := s.Stats().Evictions > 0; err != nil || evicted != test.evicts {
			t.Errorf("%s: evicted %v, %v", test.name, evicted, err)
		}
	}
}

// TestAPieceOfABatchThatIsRefusedIsTheLast and is told.
func TestAPieceOfABatchThatIsRefusedIsTheLast(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
	refused, tried := errors.New("refused"), 0
	err := writePieces(s, make([]int, 2*maxChanges), func(*bolt.Tx, []int) error {
		tried++
		return refused
	}, func([]int) { t.Error("it counts as written") })
	if !errors.Is(err, refused) || tried != 1 {
		t.Errorf("%v after %d pieces", err, tried)
	}
}

// TestClosingFinishesWhatTheJanitorHasBegun and what it hasn't.
func TestClosingFinishesWhatTheJanitorHasBegun(t *testing.T) {
	files := &brokenSyncs{FS: OS()}
	s := openOn(t, files, Limits{MaxSize: 1 << 30})
	s.put(t, testKey("gone"), randomBytes(100, 1))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.stopJanitor()
	s.put(t, testKey("begun"), randomBytes(100, 2))
	b := s.takeBatch(true)
	s.syncBlobs(b)
	s.synced <- b
	s.put(t, testKey("not begun"), randomBytes(100, 3))
	before := files.synced.Load()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := files.synced.Load() - before; n != 1 {
		t.Errorf("%d files were synced", n)
	}
	s = openStore(t, s.dir, Limits{})
	awaitLoaded(t, s)
	for _, name := range []string{"gone", "begun", "not begun"} {
		if s.content(t, testKey(name)) == nil {
			t.Errorf("%q is gone", name)
		}
	}
	// And with nothing but a removal to do.
	s.stopJanitor()
	s.mu.Lock()
	s.forgetEntryLocked(s.entries.peek(testKey("gone").hash()))
	s.durability = newDurability() // uses would be a batch
	s.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, s.dir, Limits{})
	if record, err := s.readIndex(testKey("gone")); err != nil || record != nil {
		t.Errorf("removed just before, and the index has %v, %v", record, err)
	}
}

// TestClosingRemovesAllFilesThatWereReplaced however many there are.
func TestClosingRemovesAllFilesThatWereReplaced(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
	s.stopJanitor()
	s.mu.Lock()
	for i := range unlinkBatch + 10 {
		blob := &blobState{digest: numberedDigest(i), entries: 1}
		s.blobs[blob.digest] = blob
		s.durability.hold(blob)
	}
	s.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := len(s.blobs); left != 0 {
		t.Errorf("%d files are left", left)
	}
}

func TestClosingTellsWhatIsLost(t *testing.T) {
	files := &brokenSyncs{FS: OS()}
	s := openOn(t, files, Limits{MaxSize: 1 << 30})
	s.stopJanitor()
	s.put(t, testKey("a"), randomBytes(100, 1))
	files.full.Store(true)
	if err := s.Close(); !errors.Is(err, ErrDisk) {
		t.Errorf("closed with %v", err)
	}
}

// TestWhoWaitsForSyncWaitsNoLongerThanTheStoreIsOpen nor than the caller wants to.
func TestWhoWaitsForSyncWaitsNoLongerThanTheStoreIsOpen(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
	s.stopJanitor() // so that nobody syncs
	gone := errors.New("the caller is gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	s.ctx = context.Background()
	cancel(gone)
	if err := s.Sync(ctx); !errors.Is(err, gone) {
		t.Errorf("given up with %v", err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	s.ctx = ended
	if err := s.Sync(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("while it closes: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.ctx = context.Background()
	if err := s.Sync(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("once it is closed: %v", err)
	}
}
