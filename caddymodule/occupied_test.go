package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func TestADirectoryWithOtherFilesIsNotTakenUntilTheyAreGone(t *testing.T) {
	setForTest(t, &process.storeLookPause, 20*time.Millisecond)
	setForTest(t, &process.storeRetryPause, 20*time.Millisecond)
	home := t.TempDir()
	notes := filepath.Join(home, "notes.txt")
	if err := os.WriteFile(notes, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	gitlab := newGitLab(t)
	publishOld(gitlab, "app.bin", []byte("bytes"))
	e := startEdge(t, gitlab.URL, "cache "+home+" {\n min_free 0\n}", withAdmin)
	for range 2 {
		if got := e.mustGet(t, "app.bin", developer, []byte("bytes")); strings.Contains(got.cacheStatus(), "; hit") {
			t.Errorf("served from a cache: %s", got.cacheStatus())
		}
	}
	e.expectCLI(t, 1, []string{"can't be used"}, "status", "--check")
	e.expectCLI(t, 0, []string{"the cache directory holds other files: " + home, `"notes.txt"`, "give the cache a directory that is empty"}, "status")
	if names, err := filepath.Glob(filepath.Join(home, "*")); err != nil || len(names) != 1 {
		t.Errorf("there are %v, %v", names, err)
	}

	if err := os.Remove(notes); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return mustCall[adminapi.Status](t, e, "GET", "status", "").Stores[0].Usable })
}
