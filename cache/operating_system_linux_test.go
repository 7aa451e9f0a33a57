package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhatTheSystemCannotSyncIsTold asks it of what no disk has.
func TestWhatTheSystemCannotSyncIsTold(t *testing.T) {
	null, err := OS().Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := null.Sync(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a file that is on no disk: synced with %v", err)
	}
	if err := OS().SyncDir("/proc"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a directory that is on no disk: synced with %v", err)
	}
	if err := null.Close(); err != nil {
		t.Fatal(err)
	}
	native, _ := osFileOf(null)
	if err := syncFileSystem(native); !errors.Is(err, unix.EBADF) {
		t.Errorf("the file system of a closed file: synced with %v", err)
	}
}

// TestASignalInterruptsNoSync: Go's runtime sends many, and an interrupted sync isn't a disk that fails.
func TestASignalInterruptsNoSync(t *testing.T) {
	for _, want := range []error{nil, unix.EIO} {
		calls := 0
		err := uninterrupted(func() error {
			if calls++; calls < 3 {
				return unix.EINTR
			}
			return want
		})
		if !errors.Is(err, want) || (want == nil && err != nil) || calls != 3 {
			t.Errorf("after %d calls: %v", calls, err)
		}
	}
}

// TestNoDirectoryStaysOpen: each batch syncs some, and descriptors would run out.
func TestNoDirectoryStaysOpen(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, listed := OS().ReadDir(dir)
	if err := errors.Join(listed, OS().SyncDir(dir), OS().SyncAll(dir)); err != nil {
		t.Fatal(err)
	}
	if n := openDescriptors(t, dir); n != 0 {
		t.Errorf("it is open %d times", n)
	}
	unmapPages(0)
	if n := openDescriptors(t, fmt.Sprintf("/proc/%d/maps", os.Getpid())); n != 0 {
		t.Errorf("the list of mappings is open %d times", n)
	}
}

// TestTheFreeBytesAreThoseThatTheSystemTells, up to what others write meanwhile.
func TestTheFreeBytesAreThoseThatTheSystemTells(t *testing.T) {
	dir := t.TempDir()
	var told unix.Statfs_t
	if err := unix.Statfs(dir, &told); err != nil {
		t.Fatal(err)
	}
	bytes := int64(told.Bavail) * told.Bsize //nolint:gosec // no file system has 2^63 bytes
	if free, err := freeBytes(dir); err != nil || free < bytes/2 || free > bytes*2 {
		t.Errorf("%d bytes, and there were %d, %v", free, bytes, err)
	}
}
