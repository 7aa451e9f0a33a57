package cache_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// TestADirectoryThatCannotBeOpenedIsGivenBack whichever call of the disk failed, with its error: once the disk is well, whoever
// opens it next has it.
func TestADirectoryThatCannotBeOpenedIsGivenBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for _, test := range []struct {
		operation string
		calls     int
	}{{"mkdir", 4}, {"list", 2}, {"sync directory", 2}} {
		for call := range test.calls {
			failing := cachetest.NewFailingFS(nil)
			failing.Counts = func(operation, _ string) bool { return operation == test.operation }
			failing.Fail(call, 1, syscall.EIO)
			store, err := cache.Open(cache.Config{Dir: dir, FS: failing, Limits: cache.Limits{MaxSize: 1 << 30}})
			if err == nil {
				_ = store.Close()
			}
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: opened with %v", failing.Hit(), err)
			}
		}
	}
	if err := open(t, dir, nil, cache.Limits{}).Close(); err != nil {
		t.Error(err)
	}
}

// unmadeFS says that it makes directories.
type unmadeFS struct{ cache.FS }

func (unmadeFS) MkdirAll(string) error { return nil }

func TestADirectoryThatCannotBeLockedIsNotTaken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	_, err := cache.Open(cache.Config{Dir: dir, FS: unmadeFS{cache.OS()}, Limits: cache.Limits{MaxSize: 1 << 30}})
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "locking") {
		t.Errorf("taken with %v", err)
	}
}
