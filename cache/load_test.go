package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestLoadingPutsWhatHappenedMeanwhileAbove what the index had: an entry that was removed isn't back, one that was replaced has
// its new file, and the files of both go.
func TestLoadingPutsWhatHappenedMeanwhileAbove(t *testing.T) {
	s := newStore(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}})
	const kept, removed, replaced = 0, 1, 2
	found := make([]loaded, 0, 3)
	for i := range 3 {
		found = append(found, loaded{hash: numberedKey(i).hash(), digest: numberedDigest(i), size: 100})
	}
	twice := loaded{hash: keyHash{1}, digest: numberedDigest(3), size: 100}
	again := loaded{hash: keyHash{1}, digest: numberedDigest(4), size: 100} // of another key with the same hash
	entries := s.enterAll(append(found, twice, again))
	if stats := s.Stats(); stats.FoundBlobs != 5 || stats.FoundBytes != 500 || stats.Entries != 0 {
		t.Errorf("found: %+v", stats)
	}
	s.starting.forget(found[removed].hash)
	newer := &blobState{digest: numberedDigest(5), size: 100, entries: 1}
	s.blobs[newer.digest] = newer
	s.entries.add(&node{hash: found[replaced].hash, blob: newer})
	s.space.estimate = 1 << 20
	changed := s.space.change()
	s.merge(entries)
	select {
	case <-changed:
	default:
		t.Error("who waits for room doesn't hear that it isn't estimated any more")
	}
	for i, want := range map[keyHash]*blobState{
		found[kept].hash: s.blobs[found[kept].digest], found[removed].hash: nil, found[replaced].hash: newer,
		again.hash: s.blobs[again.digest],
	} {
		switch n := s.entries.peek(i); {
		case n == nil && want != nil, n != nil && n.blob != want:
			t.Errorf("%x is %+v", i, n)
		case n != nil && n.blob.entries != 1:
			t.Errorf("%d entries name a file", n.blob.entries)
		}
	}
	for _, gone := range []Digest{found[removed].digest, found[replaced].digest, twice.digest} {
		if _, orphan := s.leaving.orphans[s.blobs[gone]]; !orphan {
			t.Errorf("%s stays, and nothing names it", gone)
		}
	}
	linked := 0
	for range s.entries.all() {
		linked++
	}
	if len(s.leaving.orphans) != 3 || linked != 3 || s.Stats().Loading {
		t.Errorf("%d files go, %d entries are in the order of use", len(s.leaving.orphans), linked)
	}
}

// askedContext is asked whether it has ended whenever an entry of the index is read.
type askedContext struct {
	context.Context
	asked func() error
}

func (c *askedContext) Err() error { return c.asked() }

// Value hides the context inside, of which the cause would be asked for.
func (c *askedContext) Value(any) any { return nil }

// TestWhatWasReadOfAnIndexThatWasReplacedIsNot loaded: nothing says any more what its files are.
func TestWhatWasReadOfAnIndexThatWasReplacedIsNot(t *testing.T) {
	for name, failing := range map[string]error{"read to its end": nil, "and then not read to its end": syscall.EIO} {
		t.Run(name, func(t *testing.T) {
			dir := leftWith(t, testKey("a"), randomBytes(100, 1))
			core, logs := observer.New(zap.ErrorLevel)
			s := newStore(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, Logger: zap.New(core)})
			if err := errors.Join(s.takeDirectory(), s.beginIndex()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			whole, asked := s.ctx, 0
			s.ctx = &askedContext{whole, func() error {
				switch asked++; asked {
				case 1: // amid reading
					s.index.mu.Lock()
					s.index.replaced++
					s.index.mu.Unlock()
					return failing
				case 2: // why it ends
					return failing
				}
				return nil
			}}
			s.load()
			s.ctx = whole
			if stats := s.Stats(); stats.Entries != 0 || stats.Loading || asked < 2 {
				t.Errorf("%+v", stats)
			}
			if n := logs.Len(); n != 1 { // that the index was damaged, and not that it is tried again
				t.Errorf("told %v", logs.All())
			}
		})
	}
}

// TestAPartThatCannotBeRemovedIsTold and one that can isn't.
func TestAPartThatCannotBeRemovedIsTold(t *testing.T) {
	dir := t.TempDir()
	if err := openStore(t, dir, Limits{}).Close(); err != nil {
		t.Fatal(err)
	}
	fs := &stickyFS{FS: OS()}
	for i, sticks := range []bool{true, false} {
		part := filepath.Join(fillsPath(dir), "1-2.part")
		if err := os.WriteFile(part, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		fs.keep(func(path string) bool { return sticks && path == part })
		s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		awaitLoaded(t, s)
		if told := s.Stats().DiskErrors; told != int64(1-i) {
			t.Errorf("it sticks: %v, and %d errors of the disk are told", sticks, told)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// askingFS tells when the janitor asks for free room. Until it is let go no blobs are listed, and thus nothing is loaded.
type askingFS struct {
	FS
	until, asked chan struct{}
}

func (f *askingFS) ReadDir(path string) ([]string, error) {
	if filepath.Base(path) == "00" {
		<-f.until
	}
	return f.FS.ReadDir(path)
}

func (f *askingFS) Free(path string) (int64, error) {
	select {
	case f.asked <- struct{}{}:
	default:
	}
	return f.FS.Free(path)
}

// TestAStartEvictsWhatIsTooMuch by itself: nobody has to store anything, and half a minute is long on a disk that is full.
func TestAStartEvictsWhatIsTooMuch(t *testing.T) {
	dir := leftWithNumbered(t, 3)
	fs := &askingFS{FS: OS(), until: make(chan struct{}), asked: make(chan struct{}, 1)}
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 2500}, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if len(fs.asked) > 0 {
		t.Error("the janitor has looked; the test shows nothing")
	}
	close(fs.until)
	awaitLoaded(t, s)
	select {
	case <-fs.asked:
	case <-time.After(usesWithin * 2 / 3):
		t.Error("the janitor doesn't look") // before it would by itself
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Bytes > 2500 {
		t.Errorf("%+v", stats)
	}
}
