package cache

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
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

// linkMany makes so many keys entries of one blob.
func (s *Store) linkMany(t *testing.T, stored Entry, count int) {
	t.Helper()
	for i := range count {
		key := numberedKey(i)
		if _, err := s.Link(key, s.Generation(key), FillSpec{Size: stored.Size, SHA256: stored.Digest}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoTransactionChangesMoreThanAFewHundredEntries(t *testing.T) {
	const count = 3*maxChanges + 1
	fs := &countingIndexFS{FS: OS()}
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	awaitLoaded(t, s)
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
	work("storing", func() { s.linkMany(t, stored, count) })
	work("using", func() {
		for i := range count {
			if _, err := s.Lookup(numberedKey(i)); err != nil {
				t.Fatal(err)
			}
		}
	})
	work("purging", func() {
		purged, err := s.Purge(context.Background(), Selector{})
		if err != nil || purged.Entries != count+1 {
			t.Fatalf("%+v, %v", purged, err)
		}
	})
	work("storing again", func() { s.linkMany(t, s.put(t, testKey("a"), randomBytes(100, 1)), count) })
	work("evicting", func() {
		s.SetLimits(Limits{MaxSize: 150})
		s.put(t, testKey("b"), randomBytes(100, 2)) // has room only when the others' blob is gone
	})
}

func TestABatchThatIsWrittenInPartIsWrittenWholeTheNextTime(t *testing.T) {
	const count = 2 * maxChanges
	dir, fs := t.TempDir(), &countingIndexFS{FS: OS()}
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	awaitLoaded(t, s)
	data := randomBytes(100, 1)
	stored := s.put(t, testKey("a"), data)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	fs.transactions.Store(0)
	fs.failing.Store(2)
	s.linkMany(t, stored, count)
	if err := s.Sync(context.Background()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the second transaction: %v", err)
	}
	// What waits for the next time is there, and one that was written already can change before.
	other := randomBytes(100, 2)
	s.put(t, numberedKey(0), other)
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
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
