//go:build linux || darwin || freebsd

package cache

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes asks the file system how many bytes are left to us.
func freeBytes(path string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return 0, fmt.Errorf("asking for free space below %s: %w", path, err)
	}
	return int64(stat.Bavail) * int64(stat.Bsize), nil //nolint:gosec,unconvert,nolintlint // no file system has 2^63 bytes; systems differ in the types
}

// deviceOf names the device that holds a path; false if that isn't known.
func deviceOf(path string) (device uint64, ok bool) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, false
	}
	return uint64(stat.Dev), true //nolint:gosec,unconvert,nolintlint // a name, of another type on each system
}

// lockFile takes the lock of a directory, which ends with the process at the latest.
func lockFile(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // descriptors are small
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// renameFile does what os.Rename does for files, without its look at what has the new name: of a blob there is none.
func renameFile(from, to string) error {
	for {
		err := unix.Rename(from, to)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		default:
			return nil
		}
	}
}
