package cache_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// TestFilesThatCannotBeOpenedToSyncThemStay: too many open files say nothing about a file.
func TestFilesThatCannotBeOpenedToSyncThemStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	failing := cachetest.NewFailingFS(cache.OS())
	failing.Counts = func(operation, _ string) bool { return operation == "open" || operation == "sync directory" }
	store := open(t, dir, failing, cache.Limits{})
	<-store.Ready()
	failing.Fail(0, 1<<30, syscall.EMFILE)
	for i := range 20 {
		mustPut(t, store, cachetest.KeyOf(strconv.Itoa(i)), cachetest.Content(byte(i), 1000))
	}
	if err := store.Sync(context.Background()); !errors.Is(err, syscall.EMFILE) {
		t.Error(err)
	}
	failing.Heal()
	mustSync(t, store)
	if stats := store.Stats(); stats.Damaged != 0 {
		t.Errorf("%+v", stats)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = open(t, dir, nil, cache.Limits{})
	<-store.Ready()
	for i := range 20 {
		digest, err := cachetest.ReadDigest(store, cachetest.KeyOf(strconv.Itoa(i)))
		if err != nil || digest != sha256.Sum256(cachetest.Content(byte(i), 1000)) {
			t.Errorf("file %d: %s, %v", i, digest, err)
		}
	}
}

// TestATransactionThatIsDoneAndReportedAsFailedNamesNoUnsyncedBytes: the index may name what it was said not to.
func TestATransactionThatIsDoneAndReportedAsFailedNamesNoUnsyncedBytes(t *testing.T) {
	data := cachetest.Content(1, 300_000)
	first, second := cachetest.KeyOf("first"), cachetest.KeyOf("second")
	dir := filepath.Join(t.TempDir(), "store")
	power, armed, cut := cutAtRenames(t, dir, first, data)
	failing := cachetest.NewFailingFS(power)
	failing.Counts = func(operation, _ string) bool { return operation == "end transaction" }
	store := open(t, dir, failing, cache.Limits{})
	<-store.Ready()
	failing.Fail(0, 1, syscall.EIO)
	mustPut(t, store, first, data)
	if err := store.Sync(context.Background()); err == nil {
		t.Fatal("the transaction didn't fail")
	}
	mustPut(t, store, first, cachetest.Content(2, 1000)) // published over before the record is tried again
	await(t, "the first file is gone", func() bool { return !isThere(pathOf(dir, data)) })
	armed.Store(true)
	mustPut(t, store, second, data)
	armed.Store(false)
	if !cut.Load() {
		t.Error("not stored again")
	}
}
