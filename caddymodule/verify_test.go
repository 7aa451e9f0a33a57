package caddymodule

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// TestStoredFilesAreVerifiedWhenVerifyEveryHasPassed changes a stored file on the disk and makes verify_every pass by a
// reload: other settings count at once.
func TestStoredFilesAreVerifiedWhenVerifyEveryHasPassed(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	settings := func(verify string) string {
		return "cache " + e.directory + " {\n memory 0\n min_free 0\n " + verify + "\n}"
	}
	e.reload(t, settings("verify_every 7d"))
	body := someBytes(100_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	if err := openStoreOf(t, e).Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	digest := hexSHA256(body)
	path := filepath.Join(e.directory, "blobs", digest[:2], digest)
	wrong := someBytes(100_000, 2)
	if err := os.WriteFile(path, wrong, 0o600); err != nil {
		t.Fatal(err)
	}
	// Verified a week ago is not due, verified two days ago with verify_every 1d is.
	putForward(48 * time.Hour)
	if damaged := openStoreOf(t, e).Stats().Damaged; damaged != 0 {
		t.Fatalf("%d files were found damaged before it was due", damaged)
	}
	e.reload(t, settings("verify_every 1d\n verify_rate 1GiB"))
	await(t, func() bool { return openStoreOf(t, e).Stats().Damaged == 1 })
	e.mustGet(t, "app.bin", developer, body)
}

// storeOf returns the store that an edge has open.
func openStoreOf(t *testing.T, e *edge) *cache.Store {
	t.Helper()
	var store *cache.Store
	process.states.Range(func(key, value any) bool {
		if key == e.directory {
			store = value.(*state).store.Load()
		}
		return true
	})
	if store == nil {
		t.Fatal("the edge has no store")
	}
	return store
}
