package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// countingIndexFS counts the transactions that change the index, and lets one of them fail.
type countingIndexFS struct {
	FS
	transactions, failing atomic.Int64
}

func (f *countingIndexFS) UpdateIndex(transaction func() error) error {
	if f.transactions.Add(1) == f.failing.Load() {
		return syscall.ENOSPC
	}
	return transaction()
}

// linkMany makes numbered keys entries of one blob.
func (s *Store) linkMany(t *testing.T, stored Entry, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		key := numberedKey(i)
		if _, err := s.Link(key, s.Generation(key), FillSpec{Size: stored.Size, SHA256: stored.Digest}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoTransactionChangesMoreThanAFewHundredEntries(t *testing.T) {
	const count = 3*maxChanges + 1
	fs := &countingIndexFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	stored := s.put(t, testKey("a"), randomBytes(100, 1))
	work := func(name string, do func()) {
		t.Helper()
		do()
		if err := s.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := fs.transactions.Swap(0); n < count/maxChanges {
			t.Errorf("%s took %d transactions", name, n)
		}
	}
	work("storing", func() { s.linkMany(t, stored, 0, count) })
	work("using", func() {
		for i := range count {
			blob, err := s.OpenBlob(must(s.Lookup(numberedKey(i))))
			if err != nil {
				t.Fatal(err)
			}
			_ = blob.Close() // it was only opened
		}
	})
	work("purging", func() {
		purged, err := s.Purge(context.Background(), Selector{})
		if err != nil || purged.Entries != count+1 {
			t.Fatalf("%+v, %v", purged, err)
		}
	})
	work("storing again", func() { s.linkMany(t, s.put(t, testKey("a"), randomBytes(100, 1)), 0, count) })
	work("purging what was stored anew and isn't recorded yet", func() {
		s.linkMany(t, s.put(t, testKey("b"), randomBytes(100, 3)), 0, count)
		purged, err := s.Purge(context.Background(), Selector{})
		if err != nil || purged.Entries != count+2 {
			t.Fatalf("%+v, %v", purged, err)
		}
	})
	work("storing for the third time", func() { s.linkMany(t, s.put(t, testKey("a"), randomBytes(100, 1)), 0, count) })
	work("evicting", func() {
		s.SetLimits(Limits{MaxSize: 150})
		s.put(t, testKey("b"), randomBytes(100, 2)) // has room only when the others' blob is gone
	})
}

func TestABatchThatIsWrittenInPartIsWrittenWholeTheNextTime(t *testing.T) {
	const count = 2 * maxChanges
	fs := &countingIndexFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	dir := s.dir
	data := randomBytes(100, 1)
	stored := s.put(t, testKey("a"), data)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	fs.transactions.Store(0)
	fs.failing.Store(2)
	first := s.put(t, numberedKey(0), randomBytes(100, 3))
	s.linkMany(t, stored, 1, count)
	if err := s.Sync(context.Background()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the second transaction: %v", err)
	}
	if waiting := s.Stats().Pending; waiting != maxChanges {
		t.Errorf("%d of %d wait for the next time; half of them is written", waiting, count)
	}
	// What is written can change before. The index names the bytes until then, and they must not go.
	other := randomBytes(100, 2)
	s.put(t, numberedKey(0), other)
	s.mu.Lock()
	kept := s.blobs[first.Digest] != nil && s.blobs[first.Digest].entries > 0
	s.mu.Unlock()
	if !kept {
		t.Error("a file is removed that the index names")
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(blobPath(dir, first.Digest)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a replaced file, after all: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{MaxSize: 1 << 30})
	awaitLoaded(t, s)
	for i := range count {
		want := data
		if i == 0 {
			want = other
		}
		if got := s.content(t, numberedKey(i)); !bytes.Equal(got, want) {
			t.Fatalf("file %d has %d bytes after all", i, len(got))
		}
	}
}

// TestNobodyWaitsForAnIndexThatCannotBeWritten has more to remove than one transaction does.
func TestNobodyWaitsForAnIndexThatCannotBeWritten(t *testing.T) {
	const purges = 4
	fs := &fullIndexFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	s.linkMany(t, s.put(t, testKey("a"), randomBytes(100, 1)), 0, (purges+1)*maxChanges)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	fs.full.Store(true)
	s.mu.Lock()
	s.leaving.remove(s.victimsLocked(1<<40, maxChanges)) // an eviction, which comes first
	s.mu.Unlock()
	// Far more than it takes, and less than it takes until the janitor looks by itself.
	ctx, cancel := context.WithTimeout(context.Background(), usesWithin/2)
	defer cancel()
	var group sync.WaitGroup
	for i := 1; i <= purges; i++ {
		group.Go(func() {
			keys := make([]Key, maxChanges)
			for j := range keys {
				keys[j] = numberedKey(i*maxChanges + j)
			}
			if err := s.purgeKeys(ctx, keys, new(purging)); !errors.Is(err, syscall.ENOSPC) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if _, err := s.Purge(ctx, Selector(testKey("a"))); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	fs.full.Store(false)
	if _, err := s.Purge(context.Background(), Selector{}); err != nil {
		t.Error(err)
	}
	if err := s.viewIndex(func(tx *bolt.Tx) error {
		if n := tx.Bucket(entriesBucket).Stats().KeyN; n != 0 {
			t.Errorf("the index still has %d entries", n)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// blockingIndexFS holds changes of the index until it is let go.
type blockingIndexFS struct {
	FS
	blocked   atomic.Bool
	held, let chan struct{}
}

func (f *blockingIndexFS) UpdateIndex(transaction func() error) error {
	if f.blocked.CompareAndSwap(true, false) {
		close(f.held)
		<-f.let
	}
	return transaction()
}

// TestAPurgeIsOverWhenAnEarlierOnesRemovalsAre has a purge that nobody waited for, of a file on its way into the index.
func TestAPurgeIsOverWhenAnEarlierOnesRemovalsAre(t *testing.T) {
	fs := &blockingIndexFS{FS: OS(), held: make(chan struct{}), let: make(chan struct{})}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	fs.blocked.Store(true)
	s.put(t, testKey("a"), randomBytes(100, 1))
	<-fs.held
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Purge(ctx, Selector(testKey("a"))); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	purged := make(chan error, 1)
	go func() { // ends with the purge
		_, err := s.Purge(context.Background(), Selector{Project: testKey("a").Project})
		purged <- err
	}()
	for waiting := false; !waiting; runtime.Gosched() {
		s.mu.Lock()
		waiting = len(s.leaving.removals) > 1
		s.mu.Unlock()
		if len(purged) > 0 {
			t.Error("it is over before the index is rid of the file")
			break
		}
	}
	close(fs.let)
	if err := <-purged; err != nil {
		t.Fatal(err)
	}
	if record, err := s.readIndex(testKey("a")); record != nil || err != nil {
		t.Errorf("the index has %v, %v", record, err)
	}
}
