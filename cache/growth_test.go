package cache

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// heldFS is a file system that doesn't list blobs before it is let go: so long nothing of the index is loaded.
type heldFS struct {
	FS
	// listing is closed when somebody wants to, held when they may.
	listing, held chan struct{}
	once          sync.Once
}

func (f *heldFS) ReadDir(path string) ([]string, error) {
	if strings.HasSuffix(filepath.Dir(path), "blobs") {
		f.once.Do(func() { close(f.listing) })
		<-f.held
	}
	return f.FS.ReadDir(path)
}

// Two stores of which one has many times the entries of the other.
const fewEntries, moreEntries = 200, 24 * maxChanges

// sameCost fails where work in the larger store went through its entries: that allocates for each that it makes something
// of, and begins a transaction for each step.
func sameCost(t *testing.T, work func(entries int) (allocated int64, transactions int)) {
	t.Helper()
	fewAllocated, fewTransactions := work(fewEntries)
	allocated, transactions := work(moreEntries)
	// A tree that is one level higher takes a little more.
	if most := fewAllocated + (moreEntries-fewEntries)/10; allocated > most || transactions != fewTransactions {
		t.Errorf("%d entries took %d allocations and %d transactions, %d of them %d and %d", fewEntries, fewAllocated, fewTransactions,
			moreEntries, allocated, transactions)
	}
}

func TestTheFirstHitDoesNotWaitForTheLoad(t *testing.T) {
	data := randomBytes(1000, 1)
	sameCost(t, func(entries int) (int64, int) {
		dir := t.TempDir()
		writeIndex(t, dir, entries)
		s := openStore(t, dir, Limits{MaxSize: 1 << 40})
		awaitLoaded(t, s)
		key := numberedKey(entries / 2)
		s.put(t, key, data)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		held := &heldFS{FS: OS(), listing: make(chan struct{}), held: make(chan struct{})}
		var got []byte
		allocated := allocations(func() {
			var err error
			if s, err = Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 40}, FS: held}); err != nil {
				t.Fatal(err)
			}
			<-held.listing
			got = s.content(t, key)
		})
		select {
		case <-s.Ready():
			t.Error("it was loaded before")
		default:
		}
		transactions := s.transactions(t)
		if !bytes.Equal(got, data) || s.Stats().Entries != 1 {
			t.Errorf("of %d entries: got %d bytes, and %+v", entries, len(got), s.Stats())
		}
		if _, err := s.Lookup(testKey("a")); !errors.Is(err, ErrMiss) {
			t.Errorf("what isn't there: %v", err)
		}
		close(held.held)
		awaitLoaded(t, s)
		return allocated, transactions
	})
}

// allocations is how many there are while a function runs.
func allocations(run func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run()
	runtime.ReadMemStats(&after)
	return int64(after.Mallocs - before.Mallocs) //nolint:gosec // far below 2^63
}

func TestPurgingAKeyCostsNoMoreInALargeStore(t *testing.T) {
	sameCost(t, func(entries int) (int64, int) {
		dir := t.TempDir()
		writeIndex(t, dir, entries)
		s := openStore(t, dir, Limits{MaxSize: 1 << 40})
		awaitLoaded(t, s)
		before := s.transactions(t)
		allocated := allocations(func() {
			purged, err := s.Purge(context.Background(), Selector(numberedKey(entries/2)))
			if err != nil || purged.Entries != 1 {
				t.Errorf("%+v, %v", purged, err)
			}
		})
		return allocated, s.transactions(t) - before
	})
}
