package cache

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// TestASoundIndexThatGrowsIsNotTakenForDamaged: whoever looks while it grows must not find it shorter than it says.
func TestASoundIndexThatGrowsIsNotTakenForDamaged(t *testing.T) {
	for round := range 3 {
		db, err := openIndex(filepath.Join(t.TempDir(), "index.db"))
		if err != nil {
			t.Fatal(err)
		}
		db.NoSync = true
		x, stop := &index{db: db}, make(chan struct{})
		var readers sync.WaitGroup
		for range 64 {
			// Ends with stop.
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := x.view(func(*bolt.Tx) error { return nil }); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for i := range 150 {
			_, err := x.update(func(tx *bolt.Tx) error {
				for j := range 50 {
					if err := tx.Bucket(entriesBucket).Put(fmt.Appendf(nil, "%d-%08d", round, i*50+j), make([]byte, 2000)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				break
			}
		}
		close(stop)
		readers.Wait()
		if err := x.close(); err != nil {
			t.Error(err)
		}
	}
}

// listingFS lets the start's listing of blobs wait.
type listingFS struct {
	FS
	until chan struct{}
}

func (f *listingFS) ReadDir(path string) ([]string, error) {
	names, err := f.FS.ReadDir(path)
	if filepath.Base(path) == "00" {
		<-f.until
	}
	return names, err
}

// TestAStartThatCannotReadTheIndexForNowSweepsNothing: only a damaged index names nothing any more.
func TestAStartThatCannotReadTheIndexForNowSweepsNothing(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	for i := range 20 {
		s.put(t, numberedKey(i), randomBytes(1000, byte(i)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs := &listingFS{FS: OS(), until: make(chan struct{})}
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	closed, err := os.Open(indexPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	// There is no index for whoever asks now, and the database itself is well.
	swap := func(file *os.File) (before *os.File) {
		s.index.mu.Lock()
		defer s.index.mu.Unlock()
		db := *s.index.db
		before, db.file = db.file, file
		s.index.db = &db
		return before
	}
	file := swap(closed)
	close(fs.until)
	select {
	case <-s.Ready():
		t.Error("the start is over")
	case <-time.After(loadPause / 2): // enough for it to have swept, were it to
	}
	swap(file)
	awaitLoaded(t, s)
	for i := range 20 {
		if s.content(t, numberedKey(i)) == nil {
			t.Errorf("file %d is gone", i)
		}
	}
}

func TestPinsOutlastAnIndexThatIsReplaced(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Pin(context.Background(), testKey("a"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(indexPath(dir), 4096); err != nil {
		t.Fatal(err)
	}
	s.put(t, testKey("b"), randomBytes(1000, 2))
	_ = s.Sync(context.Background()) // finds the damage
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	if pinned := s.Stats().Pinned; pinned != 1000 || s.content(t, testKey("a")) == nil {
		t.Errorf("%d bytes are pinned", pinned)
	}
}
