package cache_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// namingFS notes which directories were made durable.
type namingFS struct {
	cache.FS
	mu     sync.Mutex
	synced []string
}

func (f *namingFS) SyncDir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced = append(f.synced, path)
	return f.FS.SyncDir(path)
}

func TestADirectoryOfFilesThatWasRemovedIsMadeAgain(t *testing.T) {
	data, other := cachetest.Content(1, 1000), cachetest.Content(2, 1000)
	for _, test := range []struct {
		name string
		gone func(dir string) string
	}{
		{"that of the file", func(dir string) string { return filepath.Dir(pathOf(dir, data)) }},
		{"that of all files", func(dir string) string { return filepath.Join(dir, "blobs") }},
		{"that of files on their way in", func(dir string) string { return filepath.Join(dir, "fills") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			naming := &namingFS{FS: cache.OS()}
			store := open(t, dir, naming, cache.Limits{})
			<-store.Ready()
			gone := test.gone(dir)
			if err := os.RemoveAll(gone); err != nil {
				t.Fatal(err)
			}
			naming.mu.Lock()
			naming.synced = nil
			naming.mu.Unlock()
			mustPut(t, store, cachetest.KeyOf("a"), data)
			naming.mu.Lock()
			if filepath.Base(gone) != "fills" && !slices.Contains(naming.synced, filepath.Dir(gone)) {
				t.Errorf("a power cut could take the directory: only %v was synced", naming.synced)
			}
			naming.mu.Unlock()
			mustSync(t, store)
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			store = open(t, dir, nil, cache.Limits{})
			if digest, err := cachetest.ReadDigest(store, cachetest.KeyOf("a")); err != nil || digest != sha256.Sum256(data) {
				t.Errorf("%s, %v", digest, err)
			}
		})
	}
	t.Run("but not when all of the store is gone", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		store := open(t, dir, nil, cache.Limits{})
		<-store.Ready()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := put(store, cachetest.KeyOf("a"), data); !errors.Is(err, cache.ErrDisk) {
			t.Errorf("stored with %v", err)
		}
		if isThere(dir) {
			t.Error("another process could take the directory, and both would use it")
		}
	})
	t.Run("and that fails", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		failing := cachetest.NewFailingFS(nil)
		failing.Counts = func(operation, _ string) bool { return operation == "mkdir" }
		store := open(t, dir, failing, cache.Limits{})
		<-store.Ready()
		if err := os.RemoveAll(filepath.Dir(pathOf(dir, data))); err != nil {
			t.Fatal(err)
		}
		failing.Fail(0, 1, syscall.EROFS)
		if err := put(store, cachetest.KeyOf("a"), data); !errors.Is(err, cache.ErrDisk) || !errors.Is(err, syscall.EROFS) {
			t.Errorf("stored with %v", err)
		}
		for _, kept := range [][]byte{other, data} {
			mustPut(t, store, cachetest.KeyOf("b"), kept)
		}
	})
}
