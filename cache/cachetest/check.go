package cachetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// Check opens what is left in a directory and makes sure that nothing in it is wrong: all that is found was promised,
// all that must be found is, and no file is there that nothing names. Unless the disk was troubled, the index names no
// file that isn't there.
func Check(t testing.TB, dir, when string, promises map[cache.Key]Promise, troubled bool) {
	t.Helper()
	store, err := cache.Open(cache.Config{Dir: dir, Limits: cache.Limits{MaxSize: 1 << 30}})
	if err != nil {
		t.Errorf("%s: opening what is left: %v", when, err)
		return
	}
	defer store.Close()
	<-store.Ready()
	entries, err := store.Entries(context.Background(), cache.Selector{}, nil, 1000)
	if err != nil {
		t.Errorf("%s: listing what is left: %v", when, err)
	}
	found := make(map[cache.Key]bool)
	sizes := make(map[cache.Digest]int64)
	for _, entry := range entries {
		if !entry.Confirmed.IsZero() {
			t.Errorf("%s: %s is confirmed after a start", when, entry.Key)
		}
		digest, err := ReadDigest(store, entry.Key)
		switch {
		case errors.Is(err, cache.ErrMiss) && troubled:
			continue
		case err != nil:
			t.Errorf("%s: the index names what can't be read: %v", when, err)
			continue
		case !promises[entry.Key].May[digest]:
			t.Errorf("%s: %s has bytes that it must not have", when, entry.Key)
		}
		found[entry.Key] = true
		sizes[digest] = entry.Size
	}
	for key, promise := range promises {
		if !promise.Missing && !found[key] {
			t.Errorf("%s: %s is lost", when, key)
		}
	}
	if err := store.Sync(context.Background()); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	checkFiles(t, store, dir, when, sizes)
}

// checkFiles makes sure that the directory holds the files that entries name, and no others.
func checkFiles(t testing.TB, store *cache.Store, dir, when string, sizes map[cache.Digest]int64) {
	t.Helper()
	var total int64
	for _, size := range sizes {
		total += size
	}
	if stats := store.Stats(); stats.Bytes != total || stats.Loading {
		t.Errorf("%s: the store counts %d bytes of %d: %+v", when, stats.Bytes, total, stats)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "??", "*"))
	if err != nil {
		t.Error(err)
	}
	if len(blobs) != len(sizes) {
		t.Errorf("%s: %d files for %d blobs", when, len(blobs), len(sizes))
	}
	parts, err := os.ReadDir(filepath.Join(dir, "fills"))
	if err != nil || len(parts) > 0 {
		t.Errorf("%s: unfinished fills are left: %d, %v", when, len(parts), err)
	}
}

// ReadDigest reads what a store has under a key.
func ReadDigest(store *cache.Store, key cache.Key) (cache.Digest, error) {
	entry, err := store.Lookup(key)
	if err != nil {
		return cache.Digest{}, err
	}
	blob, err := store.OpenBlob(entry)
	if err != nil {
		return cache.Digest{}, err
	}
	defer blob.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, blob); err != nil {
		return cache.Digest{}, err
	}
	digest := cache.Digest(sum.Sum(nil))
	if digest != entry.Digest {
		return digest, fmt.Errorf("%s has the bytes of %s, not of %s", key, digest, entry.Digest)
	}
	return digest, nil
}
