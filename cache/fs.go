package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// FS is what the store asks of a file system for blobs and fills. The index and the lock are the operating system's
// own. Tests put one in between that fails, or that loses what was not synced (package cachetest).
type FS interface {
	// Create makes a new file for reading and writing; one that is there already is an error.
	Create(path string) (File, error)
	// Open opens a file for reading.
	Open(path string) (File, error)
	// Rename gives a file another name, in the place of what had it.
	Rename(from, to string) error
	// Remove removes a file; one that isn't there is no error.
	Remove(path string) error
	MkdirAll(path string) error
	// ReadDir lists the names in a directory.
	ReadDir(path string) ([]string, error)
	// SyncDir makes what was created, renamed and removed in a directory survive a power cut.
	SyncDir(path string) error
	// SyncAll makes everything on the file system that holds path survive a power cut: bytes and names.
	SyncAll(path string) error
	// Free returns how many bytes an unprivileged process may still write below path.
	Free(path string) (int64, error)
}

// File is an open file of an FS. One that is an *os.File underneath says so by a method OSFile() *os.File, and can then
// be sent by the kernel itself.
type File interface {
	io.Reader
	io.ReaderAt
	// WriteAt may be called by several goroutines at a time, for ranges that don't overlap. What lies before a range and
	// was never written reads as zeros, and takes no room.
	io.WriterAt
	io.Seeker
	io.Closer
	// Truncate cuts off what lies behind size, and gives its room back.
	Truncate(size int64) error
	// Sync makes the file's bytes survive a power cut.
	Sync() error
	Stat() (fs.FileInfo, error)
}

// IndexFS is an FS that also stands around the index's transactions, which are bbolt's own matter otherwise. Tests make
// them fail, before and after.
type IndexFS interface {
	FS
	UpdateIndex(transaction func() error) error
}

// osFileOf returns what sendfile can take.
func osFileOf(file File) (*os.File, bool) {
	if native, ok := file.(interface{ OSFile() *os.File }); ok {
		return native.OSFile(), true
	}
	return nil, false
}

// OS returns the operating system's file system, which a store uses when it is given none.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Create(path string) (File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // paths are made in files.go
	if err != nil {
		return nil, err
	}
	return osFile{file}, nil
}

func (osFS) Open(path string) (File, error) {
	file, err := os.Open(path) //nolint:gosec // paths are made in files.go
	if err != nil {
		return nil, err
	}
	return osFile{file}, nil
}

func (osFS) Rename(from, to string) error { return renameFile(from, to) }

func (osFS) Remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (osFS) MkdirAll(path string) error { return os.MkdirAll(path, 0o700) }

func (osFS) ReadDir(path string) ([]string, error) {
	directory, err := os.Open(path) //nolint:gosec // paths are made in files.go
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	return directory.Readdirnames(-1)
}

func (osFS) SyncDir(path string) error {
	directory, err := os.Open(path) //nolint:gosec // paths are made in files.go
	if err != nil {
		return err
	}
	defer directory.Close()
	if err := directory.Sync(); err != nil {
		return fmt.Errorf("syncing directory %s: %w", path, err)
	}
	return nil
}

func (osFS) SyncAll(path string) error {
	directory, err := os.Open(path) //nolint:gosec // paths are made in files.go
	if err != nil {
		return err
	}
	defer directory.Close()
	return syncFileSystem(directory)
}

func (osFS) Free(path string) (int64, error) { return freeBytes(path) }

// osFile is an *os.File whose Sync leaves out what a reader of the bytes doesn't need (access times).
type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

// OSFile is the file that the kernel can send by itself.
func (f osFile) OSFile() *os.File { return f.File }
