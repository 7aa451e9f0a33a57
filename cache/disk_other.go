//go:build darwin || freebsd

package cache

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// The edge is made for Linux. On these systems files are synced one by one, and nothing gives the index's pages back early.

// mediaErrors are what the system calls it when a disk can't give back what it holds.
var mediaErrors = []error{unix.EIO, unix.EBADMSG}

func syncData(file *os.File) error { return file.Sync() }

// syncFileSystem isn't to be had.
func syncFileSystem(*os.File) error { return errors.ErrUnsupported }

func unmapPages(uintptr) {}
