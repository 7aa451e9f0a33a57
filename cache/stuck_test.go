package cache_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// removals are the steps that remove blobs.
func removals(operation, path string) bool {
	return operation == "remove" && strings.Contains(path, "blobs")
}

func TestWhereNothingCanBeRemovedEvictingDoesNotEmptyTheStore(t *testing.T) {
	const files, size = 60, 20_000
	failing := cachetest.NewFailingFS(nil)
	failing.Counts = removals
	store := open(t, filepath.Join(t.TempDir(), "store"), failing, cache.Limits{MaxSize: files * size})
	<-store.Ready()
	for i := range files - 1 {
		mustPut(t, store, cachetest.KeyOf(fmt.Sprint(i)), cachetest.Content(byte(i), size))
	}
	failing.Fail(0, 1<<30, syscall.EROFS)
	for i := range 40 {
		if err := put(store, cachetest.KeyOf("more"), cachetest.Content(byte(100+i), 5*size)); !errors.Is(err, cache.ErrNoRoom) {
			t.Fatal(err)
		}
	}
	if left := store.Stats().Entries; left < files/2 {
		t.Errorf("%d of %d entries are left, and nothing was gained", left, files)
	}
	failing.Heal()
	await(t, "there is room again", func() bool {
		return put(store, cachetest.KeyOf("more"), cachetest.Content(200, 5*size)) == nil
	})
	if stats := store.Stats(); stats.Bytes > files*size {
		t.Errorf("%+v", stats)
	}
}

func TestAFileThatCannotBeRemovedDoesNotKeepTheOthers(t *testing.T) {
	const files, size = 20, 20_000
	dir := filepath.Join(t.TempDir(), "store")
	oldest := cachetest.Content(0, size)
	failing := cachetest.NewFailingFS(nil)
	failing.Counts = func(operation, path string) bool { return removals(operation, path) && path == pathOf(dir, oldest) }
	store := open(t, dir, failing, cache.Limits{MaxSize: files * size})
	<-store.Ready()
	failing.Fail(0, 1<<30, syscall.EIO)
	for i := range files * 3 {
		if err := put(store, cachetest.KeyOf(fmt.Sprint(i)), cachetest.Content(byte(i), size)); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	if stats := store.Stats(); stats.Bytes > files*size {
		t.Errorf("%+v", stats)
	}
	failing.Heal()
}
