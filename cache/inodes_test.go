package cache_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// inodeFS has room for a number of files and says that bytes are free.
type inodeFS struct {
	cache.FS
	left atomic.Int64
}

func (f *inodeFS) Create(path string) (cache.File, error) {
	if f.left.Add(-1) < 0 {
		f.left.Add(1)
		return nil, syscall.ENOSPC
	}
	return f.FS.Create(path)
}

func (f *inodeFS) Remove(path string) error {
	there := isThere(path)
	err := f.FS.Remove(path)
	if there && err == nil {
		f.left.Add(1)
	}
	return err
}

// openWithInodes opens a store on a disk with room for that many files.
func openWithInodes(t *testing.T, files int64, limits cache.Limits) *cache.Store {
	disk := &inodeFS{FS: cache.OS()}
	disk.left.Store(1000)
	store := open(t, t.TempDir(), disk, limits)
	<-store.Ready()
	disk.left.Store(files)
	return store
}

func isStored(store *cache.Store, name string) bool {
	_, err := store.Lookup(cachetest.KeyOf(name))
	return err == nil
}

func TestWithoutInodesWhatWasUsedLeastRecentlyMakesRoomForFetches(t *testing.T) {
	const files = 40
	store := openWithInodes(t, files, cache.Limits{})
	names := make([]string, 0, files+20)
	for i := range files + 20 {
		names = append(names, fmt.Sprint(i))
		mustPut(t, store, cachetest.KeyOf(names[i]), cachetest.Content(byte(i), 1000))
	}
	if isStored(store, names[0]) || !isStored(store, names[files-1]) || !isStored(store, names[files+19]) {
		t.Errorf("first %t, late %t, last %t", isStored(store, names[0]), isStored(store, names[files-1]), isStored(store, names[files+19]))
	}
}

func TestWithoutInodesAStrangersUploadEvictsNothing(t *testing.T) {
	store := openWithInodes(t, 2, cache.Limits{UploadRoom: 1 << 20})
	mustPut(t, store, cachetest.KeyOf("a"), cachetest.Content(1, 1000))
	mustPut(t, store, cachetest.KeyOf("b"), cachetest.Content(2, 1000))
	key := cachetest.KeyOf("c")
	_, err := store.Begin(key, store.Generation(key), cache.FillSpec{Size: 1000, Copy: cache.UnprovenUpload("192.0.2.1")})
	if !errors.Is(err, syscall.ENOSPC) || !isStored(store, "a") || !isStored(store, "b") {
		t.Errorf("%v; a %t, b %t", err, isStored(store, "a"), isStored(store, "b"))
	}
}

func TestWithoutInodesCopiesOfStrangersUploadsGoBeforeStoredFiles(t *testing.T) {
	store := openWithInodes(t, 2, cache.Limits{UploadRoom: 1 << 20})
	mustPut(t, store, cachetest.KeyOf("a"), cachetest.Content(1, 1000))
	key := cachetest.KeyOf("b")
	copied, err := store.Begin(key, store.Generation(key), cache.FillSpec{Size: 1000, Copy: cache.UnprovenUpload("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, store, cachetest.KeyOf("c"), cachetest.Content(3, 1000))
	<-copied.Done()
	if !isStored(store, "a") || !isStored(store, "c") {
		t.Errorf("a %t, c %t", isStored(store, "a"), isStored(store, "c"))
	}
}

func TestAnAcceptedUploadMakesRoomOnADiskThatIsFullWhateverItSaysOfBytes(t *testing.T) {
	failing := cachetest.NewFailingFS(nil)
	failing.Counts = func(operation, _ string) bool { return operation == "write" }
	store := open(t, t.TempDir(), failing, cache.Limits{UploadRoom: 1 << 20})
	<-store.Ready()
	mustPut(t, store, cachetest.KeyOf("a"), cachetest.Content(1, 1000))
	key := cachetest.KeyOf("b")
	g := store.Generation(key)
	copied, err := store.Begin(key, g, cache.FillSpec{Size: 1000, Copy: cache.UnprovenUpload("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copied.Write(cachetest.Content(2, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := copied.Adopt(); err != nil {
		t.Fatal(err)
	}
	failing.Fail(0, 1, syscall.ENOSPC)
	if _, err := copied.Commit(g); err != nil {
		t.Errorf("accepted, and kept with %v", err)
	}
	if failing.Hit() == "" || isStored(store, "a") || !isStored(store, "b") {
		t.Errorf("failed at %q; a %t, b %t", failing.Hit(), isStored(store, "a"), isStored(store, "b"))
	}
}

func TestADiskThatStaysFullIsNotEmptiedInVain(t *testing.T) {
	const files = 200
	full := cachetest.NewFailingFS(nil)
	full.Counts = func(operation, _ string) bool { return operation == "create" }
	store := open(t, t.TempDir(), full, cache.Limits{})
	<-store.Ready()
	for i := range files {
		mustPut(t, store, cachetest.KeyOf(fmt.Sprint(i)), cachetest.Content(byte(i), 1000+i))
	}
	full.Fail(0, 1<<30, syscall.ENOSPC)
	for range 20 {
		if err := put(store, cachetest.KeyOf("new"), cachetest.Content(1, 5000)); !errors.Is(err, cache.ErrDisk) {
			t.Fatalf("stored with %v", err)
		}
	}
	if entries := store.Stats().Entries; entries < files/2 {
		t.Errorf("%d of %d files are left", entries, files)
	}
}
