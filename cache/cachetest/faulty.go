package cachetest

import (
	"io/fs"
	"sync"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// Faulty stands in front of a file system. It lets one operation happen at a time, the index's transactions included,
// and counts them, so that a test can fail the first, the second, … or look at the disk after each.
type Faulty struct {
	inner cache.FS

	// turn is held by each operation, and guards all below. After runs under it.
	turn  sync.Mutex
	steps int
	first int
	last  int
	err   error
	fired []string
	// after is called when an operation is over.
	after func(step int, operation string)
}

var _ cache.IndexFS = (*Faulty)(nil)

// NewFaulty returns a file system that does what inner does.
func NewFaulty(inner cache.FS) *Faulty { return &Faulty{inner: inner, first: -1, last: -1} }

// FailAt makes the operation of that number, counted from 0, and times-1 after it fail with err. A write that fails
// has written half.
func (f *Faulty) FailAt(step, times int, err error) {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.first, f.last, f.err = step, step+times-1, err
}

// FailFromNow makes all operations fail with err, until Heal.
func (f *Faulty) FailFromNow(err error) {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.first, f.last, f.err = f.steps, int(^uint(0)>>1), err
}

// Heal ends the failing.
func (f *Faulty) Heal() {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.first, f.last = -1, -1
}

// After has a function called after each operation that changes or syncs something, before any other begins. It must
// not use this file system.
func (f *Faulty) After(call func(step int, operation string)) {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.after = call
}

// Steps is how many operations there were; Fired names those that failed.
func (f *Faulty) Steps() int {
	f.turn.Lock()
	defer f.turn.Unlock()
	return f.steps
}

// Fired names the operations that were made to fail.
func (f *Faulty) Fired() []string {
	f.turn.Lock()
	defer f.turn.Unlock()
	return f.fired
}

// failLocked counts an operation and says whether it fails.
func (f *Faulty) failLocked(operation, path string) error {
	step := f.steps
	f.steps++
	if f.first < 0 || step < f.first || step > f.last {
		return nil
	}
	f.fired = append(f.fired, operation+" "+path)
	return &fs.PathError{Op: operation, Path: path, Err: f.err}
}

func (f *Faulty) do(operation, path string, work func() error) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	if err := f.failLocked(operation, path); err != nil {
		return err
	}
	err := work()
	f.tellLocked(operation + " " + path)
	return err
}

func (f *Faulty) tellLocked(operation string) {
	if f.after != nil {
		f.after(f.steps-1, operation)
	}
}

// UpdateIndex implements cache.IndexFS. A transaction may fail without having happened, or although it has.
func (f *Faulty) UpdateIndex(transaction func() error) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	if err := f.failLocked("begin", "index"); err != nil {
		return err
	}
	if err := transaction(); err != nil {
		return err
	}
	f.tellLocked("index")
	return f.failLocked("end", "index")
}

// Create implements cache.FS.
func (f *Faulty) Create(path string) (cache.File, error) {
	return f.file("create", path, f.inner.Create)
}

// Open implements cache.FS.
func (f *Faulty) Open(path string) (cache.File, error) { return f.file("open", path, f.inner.Open) }

func (f *Faulty) file(operation, path string, open func(string) (cache.File, error)) (cache.File, error) {
	var file cache.File
	err := f.do(operation, path, func() (err error) {
		file, err = open(path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, fs: f, path: path}, nil
}

// Rename implements cache.FS.
func (f *Faulty) Rename(from, to string) error {
	return f.do("rename", to, func() error { return f.inner.Rename(from, to) })
}

// Remove implements cache.FS.
func (f *Faulty) Remove(path string) error {
	return f.do("remove", path, func() error { return f.inner.Remove(path) })
}

// MkdirAll implements cache.FS.
func (f *Faulty) MkdirAll(path string) error {
	return f.do("mkdir", path, func() error { return f.inner.MkdirAll(path) })
}

// ReadDir implements cache.FS.
func (f *Faulty) ReadDir(path string) (names []string, err error) {
	err = f.do("readdir", path, func() (err error) {
		names, err = f.inner.ReadDir(path)
		return err
	})
	return names, err
}

// SyncDir implements cache.FS.
func (f *Faulty) SyncDir(path string) error {
	return f.do("syncdir", path, func() error { return f.inner.SyncDir(path) })
}

// SyncAll implements cache.FS.
func (f *Faulty) SyncAll(path string) error {
	return f.do("syncall", path, func() error { return f.inner.SyncAll(path) })
}

// Free implements cache.FS.
func (f *Faulty) Free(path string) (free int64, err error) {
	err = f.do("free", path, func() (err error) {
		free, err = f.inner.Free(path)
		return err
	})
	return free, err
}

// faultyFile is an open file of Faulty. Seek and Close don't fail.
type faultyFile struct {
	cache.File
	fs   *Faulty
	path string
}

func (f *faultyFile) Read(p []byte) (n int, err error) {
	err = f.fs.do("read", f.path, func() (err error) {
		n, err = f.File.Read(p)
		return err
	})
	return n, err
}

func (f *faultyFile) ReadAt(p []byte, offset int64) (n int, err error) {
	err = f.fs.do("read", f.path, func() (err error) {
		n, err = f.File.ReadAt(p, offset)
		return err
	})
	return n, err
}

func (f *faultyFile) Write(p []byte) (int, error) {
	f.fs.turn.Lock()
	defer f.fs.turn.Unlock()
	if err := f.fs.failLocked("write", f.path); err != nil {
		n, _ := f.File.Write(p[:len(p)/2]) // that it failed is said already
		return n, err
	}
	n, err := f.File.Write(p)
	f.fs.tellLocked("write " + f.path)
	return n, err
}

func (f *faultyFile) Sync() error {
	return f.fs.do("sync", f.path, f.File.Sync)
}

func (f *faultyFile) Stat() (info fs.FileInfo, err error) {
	err = f.fs.do("stat", f.path, func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}
