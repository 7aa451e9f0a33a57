package cache

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mediaErrors are what the system calls it when a disk can't give back what it holds: it fails to read, the file system's own
// structures are damaged, or a checksum of the file system's is wrong.
var mediaErrors = []error{unix.EIO, unix.EUCLEAN, unix.EBADMSG}

// syncData writes a file's bytes and length to the disk, without its times.
func syncData(file *os.File) error {
	return uninterrupted(func() error { return unix.Fdatasync(int(file.Fd())) }) //nolint:gosec // descriptors are small
}

// syncFileSystem writes everything to the disk that the file's file system holds back. Since Linux 5.8 it also tells
// when that failed.
func syncFileSystem(file *os.File) error {
	return uninterrupted(func() error { return unix.Syncfs(int(file.Fd())) }) //nolint:gosec // descriptors are small
}

func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// unmapPages gives back the pages that the mapping of a file at this address has in memory. They stay in the kernel's cache,
// as the file's, and come back when they are read.
//
// How long the mapping is only the kernel says for certain. What the file says of itself could be wrong and reach into other
// memory, which would be emptied.
func unmapPages(address uintptr) {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return // nothing depends on it
	}
	defer func() { _ = maps.Close() }()
	begin := strconv.FormatUint(uint64(address), 16) + "-"
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		rest, found := strings.CutPrefix(lines.Text(), begin)
		if !found {
			continue
		}
		end, _, _ := strings.Cut(rest, " ")
		if end, err := strconv.ParseUint(end, 16, 64); err == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, address, uintptr(end)-address, unix.MADV_DONTNEED) //nolint:dogsled // only advice
		}
		return
	}
}
