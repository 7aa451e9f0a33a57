package history

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Names of what lies beside the file at times: one on its way in, and the last one that was set aside.
const (
	NewSuffix     = ".new"
	DamagedSuffix = ".damaged"
)

// ErrNoFile says that what has the name is no regular file.
var ErrNoFile = errors.New("it is no file")

// Disk is what a history asks of the operating system. Tests put one in between that fails.
type Disk interface {
	// Open opens a file that is there, for reading and writing. The error is fs.ErrNotExist for none, and ErrNoFile for
	// something else.
	Open(path string) (File, error)
	// Create makes a file with this content and the mode 0600, which is there all at once, in the place of one that was.
	Create(path string, content []byte) error
	// SetAside gives a file the name with DamagedSuffix, in the place of what had it.
	SetAside(path string) error
}

// File is an open file of a Disk.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// IsAt reports whether a path leads to this file.
	IsAt(path string) bool
}

// readAll reads a file from its beginning, as far as there is room for, and returns how much that was.
func readAll(file File, into []byte) (int, error) {
	n, err := file.ReadAt(into, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// OS returns the operating system's disk.
func OS() Disk { return osDisk{} }

// osDisk is the operating system's.
type osDisk struct{}

func (osDisk) Open(path string) (File, error) {
	// Opening a pipe would wait for who writes to it.
	if info, err := os.Lstat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNoFile}
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the admin's own directory
	if err != nil {
		return nil, err
	}
	return osFile{file}, nil
}

func (osDisk) Create(path string, content []byte) error {
	next := path + NewSuffix
	// What a process that was killed has left may have another mode.
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.WriteFile(next, content, 0o600)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next) // which may not be there
	}
	return err
}

func (osDisk) SetAside(path string) error { return os.Rename(path, path+DamagedSuffix) }

type osFile struct{ *os.File }

func (f osFile) IsAt(path string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	found, err := os.Lstat(path)
	return err == nil && os.SameFile(ours, found)
}
