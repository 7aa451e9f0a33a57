package caddymodule

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// TestMetricsTellThatTheIndexCannotBeWritten is what the alert for an index that isn't durable rests on.
func TestMetricsTellThatTheIndexCannotBeWritten(t *testing.T) {
	disk := cachetest.NewFailingFS(nil)
	disk.Counts = func(_, path string) bool { return path == "index" }
	process.fileSystem = disk
	t.Cleanup(func() { process.fileSystem = nil }) // after the edge has ended
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	if failing := series(t)["indexes_failing"]; failing != 0 {
		t.Errorf("%v indexes fail at the start", failing)
	}
	disk.Fail(0, 1<<30, syscall.EIO)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	await(t, func() bool { return series(t)["indexes_failing"] == 1 })
	disk.Heal()
	await(t, func() bool { return series(t)["indexes_failing"] == 0 })
}

// TestMetricsTellThatADirectoryCannotBeUsed puts a file where the directory should be.
func TestMetricsTellThatADirectoryCannotBeUsed(t *testing.T) {
	setForTest(t, &process.storeLookPause, 20*time.Millisecond)
	setForTest(t, &process.storeRetryPause, 20*time.Millisecond)
	e := startEdge(t, newGitLab(t).URL, "")
	if unusable := series(t)["directories_unusable"]; unusable != 0 {
		t.Errorf("%v directories can't be used at the start", unusable)
	}
	mustRename(t, e.directory, e.directory+".mount")
	if err := os.WriteFile(e.directory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return series(t)["directories_unusable"] == 1 })
	remove(t, e.directory)
	mustRename(t, e.directory+".mount", e.directory)
	await(t, func() bool { return series(t)["directories_unusable"] == 0 })
}
