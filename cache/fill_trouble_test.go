package cache_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// openFailing opens a store on a disk whose operations of that name can fail.
func openFailing(t *testing.T, operation string, limits cache.Limits) (store *cache.Store, failing *cachetest.FailingFS, dir string) {
	t.Helper()
	failing = cachetest.NewFailingFS(nil)
	failing.Counts = func(now, _ string) bool { return now == operation }
	dir = filepath.Join(t.TempDir(), "store")
	store = open(t, dir, failing, limits)
	<-store.Ready()
	return store, failing, dir
}

func TestADiskThatFailsUnderAFillIsToldToWriterReadersAndAdmin(t *testing.T) {
	for name, size := range map[string]int64{"of known length": 1 << 20, "of unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			store, failing, dir := openFailing(t, "write", cache.Limits{})
			data := cachetest.Content(1, 400_000)
			fill := mustBegin(t, store, cache.FillSpec{Size: size})
			reader := mustFollow(t, fill)
			if _, err := fill.Write(data[:200_000]); err != nil {
				t.Fatal(err)
			}
			failing.Fail(0, 1, syscall.EIO)
			for _, when := range []string{"when it fails", "afterwards"} {
				if n, err := fill.Write(data[200_000:]); n != 0 || !errors.Is(err, cache.ErrDisk) || !errors.Is(err, syscall.EIO) {
					t.Errorf("%s %d bytes are written, %v", when, n, err)
				}
			}
			if got, err := io.ReadAll(reader); !errors.Is(err, cache.ErrDisk) || len(got) == 0 || !bytes.HasPrefix(data[:200_000], got) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			if stats := store.Stats(); stats.DiskErrors != 1 || stats.Fills != 0 || stats.Reserved != 0 || stats.Lingering == 0 {
				t.Errorf("%+v", stats)
			}
			if err := reader.Close(); err != nil {
				t.Error(err)
			}
			holdsNothing(t, store, dir)
		})
	}
}

// TestWhatADiskTookBeforeItWasFullIsNotWrittenTwice has a disk that takes half of what is written, and the rest once something
// was evicted.
func TestWhatADiskTookBeforeItWasFullIsNotWrittenTwice(t *testing.T) {
	for first := range 3 {
		store, failing, _ := openFailing(t, "write", cache.Limits{})
		mustPut(t, store, cachetest.KeyOf("evicted"), cachetest.Content(1, 1000))
		data := cachetest.Content(2, 400_000)
		fill := mustBegin(t, store, cache.FillSpec{Size: -1})
		failing.Fail(first, 1, syscall.ENOSPC)
		for _, piece := range [][]byte{data[:200_000], data[200_000:]} {
			if _, err := fill.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fill.Commit(store.Generation(cachetest.KeyOf("a"))); err != nil {
			t.Fatal(err)
		}
		digest, err := cachetest.ReadDigest(store, cachetest.KeyOf("a"))
		if err != nil || digest != sha256.Sum256(data) || isStored(store, "evicted") || failing.Hit() == "" {
			t.Errorf("write %d: %s, %v", first, digest, err)
		}
	}
}

func TestAFillWhosePartCannotBeMadeHoldsNothing(t *testing.T) {
	for name, spec := range map[string]cache.FillSpec{
		"a fetch":             {Size: 100_000},
		"of unknown length":   {Size: -1},
		"a stranger's upload": {Size: -1, Copy: cache.UnprovenUpload("192.0.2.1")},
	} {
		t.Run(name, func(t *testing.T) {
			store, failing, dir := openFailing(t, "create", cache.Limits{UploadRoom: 16 << 20})
			failing.Fail(0, 1, syscall.EACCES)
			key := cachetest.KeyOf("a")
			_, err := store.Begin(key, store.Generation(key), spec)
			if !errors.Is(err, cache.ErrDisk) || !errors.Is(err, syscall.EACCES) {
				t.Errorf("begun with %v", err)
			}
			holdsNothing(t, store, dir)
		})
	}
}

func TestADirectoryOfPartsIsMadeAgainOnlyInAStoreThatIsThere(t *testing.T) {
	key := cachetest.KeyOf("a")
	begin := func(store *cache.Store) error {
		_, err := store.Begin(key, store.Generation(key), cache.FillSpec{Size: 1000})
		return err
	}
	t.Run("and it is told where it can't be", func(t *testing.T) {
		store, failing, dir := openFailing(t, "mkdir", cache.Limits{})
		if err := os.RemoveAll(filepath.Join(dir, "fills")); err != nil {
			t.Fatal(err)
		}
		failing.Fail(0, 1, syscall.EACCES)
		if err := begin(store); !errors.Is(err, cache.ErrDisk) || !errors.Is(err, syscall.EACCES) {
			t.Errorf("begun with %v", err)
		}
		mustPut(t, store, key, cachetest.Content(1, 100_000))
	})
	t.Run("and not where somebody took the store away", func(t *testing.T) {
		store, _, dir := openFailing(t, "mkdir", cache.Limits{})
		parts := filepath.Join(dir, "fills")
		if err := errors.Join(os.RemoveAll(parts), os.Remove(filepath.Join(dir, "lock"))); err != nil {
			t.Fatal(err)
		}
		if err := begin(store); !errors.Is(err, cache.ErrDisk) {
			t.Errorf("begun with %v", err)
		}
		if isThere(parts) {
			t.Error("it was made again")
		}
	})
}
