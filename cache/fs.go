package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// FS is what the store asks of a file system for blobs and fills. The index is bbolt's own matter. Tests put one in
// between that fails or loses what was not synced.
type FS interface {
	// Create makes a new file for reading and writing.
	Create(path string) (File, error)
	// Open opens a file for reading.
	Open(path string) (File, error)
	Rename(from, to string) error
	// Remove removes a file; one that isn't there is no error.
	Remove(path string) error
	MkdirAll(path string) error
	// ReadDir lists the names in a directory.
	ReadDir(path string) ([]string, error)
	// SyncDir makes what was created, renamed and removed in a directory survive a power cut.
	SyncDir(path string) error
	// Free returns how many bytes an unprivileged process may still write below path.
	Free(path string) (int64, error)
}

// File is an open file of an FS.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.Seeker
	io.Closer
	// Sync makes the file's bytes survive a power cut.
	Sync() error
	Stat() (fs.FileInfo, error)
}

// osFS is the operating system's file system. Its files are *os.File.
type osFS struct{}

func (osFS) Create(path string) (File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // paths are made in files.go
	if err != nil {
		return nil, err
	}
	return syncedFile{file}, nil
}

func (osFS) Open(path string) (File, error) {
	file, err := os.Open(path) //nolint:gosec // paths are made in files.go
	if err != nil {
		return nil, err
	}
	return syncedFile{file}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
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

func (osFS) Free(path string) (int64, error) { return freeBytes(path) }

// syncedFile is an *os.File whose Sync leaves out what a reader of the bytes doesn't need (access times).
type syncedFile struct{ *os.File }

func (f syncedFile) Sync() error { return syncData(f.File) }
