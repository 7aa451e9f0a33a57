package cache_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

func TestADirectoryWithBlobsOnAnotherDiskIsRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want error
	}{
		{"another disk", syscall.EXDEV, cache.ErrSplit},
		{"a disk that is full says nothing of it", syscall.ENOSPC, nil},
	} {
		failing := cachetest.NewFailingFS(nil)
		failing.Counts = func(operation, _ string) bool { return operation == "rename" }
		failing.Fail(0, 1, test.err)
		dir := t.TempDir()
		store, err := cache.Open(cache.Config{Dir: dir, Limits: cache.Limits{MaxSize: 1 << 20}, FS: failing})
		if !errors.Is(err, test.want) || (test.want == nil && err != nil) {
			t.Errorf("%s: %v", test.name, err)
		}
		if store != nil {
			<-store.Ready()
			_ = store.Close()
		}
		for _, pattern := range []string{"blobs/*.part", "fills/*"} {
			if left, _ := filepath.Glob(filepath.Join(dir, pattern)); len(left) > 0 {
				t.Errorf("%s: left behind: %v", test.name, left)
			}
		}
	}
}

func TestADirectoryOfBlobsThatLeadsToAnotherDiskIsRefused(t *testing.T) {
	const elsewhere = "/dev/shm"
	dir := t.TempDir()
	there, err := os.MkdirTemp(elsewhere, "blobs")
	if err != nil {
		t.Skip("there is no other file system: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(there) })
	var ours, theirs syscall.Stat_t
	if errors.Join(syscall.Stat(dir, &ours), syscall.Stat(there, &theirs)) != nil || ours.Dev == theirs.Dev {
		t.Skip("there is no other file system")
	}
	for _, name := range []string{"blobs", "blobs/7f"} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(there, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		layOut(t, dir, "fills/", "lock")
		store, err := cache.Open(cache.Config{Dir: dir, Limits: cache.Limits{MaxSize: 1 << 20}})
		if !errors.Is(err, cache.ErrSplit) {
			t.Errorf("%s: %v", name, err)
		}
		if store != nil {
			_ = store.Close()
		}
	}
}
