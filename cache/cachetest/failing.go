package cachetest

import (
	"fmt"
	"sync"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// FailingFS is a file system whose operations fail when it is told so. Steps are counted from 0 in the order in which
// they happen; what only closes or asks for a position isn't one. The zero value is not usable; see NewFailingFS.
type FailingFS struct {
	cache.FS
	// Counts says which operations are steps; nil for all.
	Counts func(operation, path string) bool

	// mu guards all below. Nothing is called under it.
	mu    sync.Mutex
	steps int
	first int // the first step that fails; -1 for none
	last  int // the last
	err   error
	hit   string // the first step that did fail
}

// NewFailingFS returns a file system over another one, or over the operating system's if that is nil, that works until
// told otherwise.
func NewFailingFS(over cache.FS) *FailingFS {
	if over == nil {
		over = cache.OS()
	}
	return &FailingFS{FS: over, first: -1}
}

// Fail makes steps fail with err: count of them, from the given one on, counted from now.
func (f *FailingFS) Fail(first, count int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps, f.first, f.last, f.err, f.hit = 0, first, first+count-1, err, ""
}

// Heal makes all steps work again.
func (f *FailingFS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first = -1
}

// Hit describes the first step that failed; empty if none did.
func (f *FailingFS) Hit() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

// step counts one and says whether it fails.
func (f *FailingFS) step(operation, path string) error {
	if f.Counts != nil && !f.Counts(operation, path) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	number := f.steps
	f.steps++
	if f.first < 0 || number < f.first || number > f.last {
		return nil
	}
	if f.hit == "" {
		f.hit = fmt.Sprintf("step %d: %s %s", number, operation, path)
	}
	return fmt.Errorf("%s %s: %w", operation, path, f.err)
}

// Create implements cache.FS.
func (f *FailingFS) Create(path string) (cache.File, error) {
	if err := f.step("create", path); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(path)
	if err != nil {
		return nil, err
	}
	return &failingFile{file, f, path}, nil
}

// Open implements cache.FS.
func (f *FailingFS) Open(path string) (cache.File, error) {
	if err := f.step("open", path); err != nil {
		return nil, err
	}
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return &failingFile{file, f, path}, nil
}

// Rename implements cache.FS.
func (f *FailingFS) Rename(from, to string) error {
	if err := f.step("rename", from); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// Remove implements cache.FS.
func (f *FailingFS) Remove(path string) error {
	if err := f.step("remove", path); err != nil {
		return err
	}
	return f.FS.Remove(path)
}

// MkdirAll implements cache.FS.
func (f *FailingFS) MkdirAll(path string) error {
	if err := f.step("mkdir", path); err != nil {
		return err
	}
	return f.FS.MkdirAll(path)
}

// ReadDir implements cache.FS.
func (f *FailingFS) ReadDir(path string) ([]string, error) {
	if err := f.step("list", path); err != nil {
		return nil, err
	}
	return f.FS.ReadDir(path)
}

// SyncDir implements cache.FS.
func (f *FailingFS) SyncDir(path string) error {
	if err := f.step("sync directory", path); err != nil {
		return err
	}
	return f.FS.SyncDir(path)
}

// SyncAll implements cache.FS.
func (f *FailingFS) SyncAll(path string) error {
	if err := f.step("sync all", path); err != nil {
		return err
	}
	return f.FS.SyncAll(path)
}

// Free implements cache.FS.
func (f *FailingFS) Free(path string) (int64, error) {
	if err := f.step("free", path); err != nil {
		return 0, err
	}
	return f.FS.Free(path)
}

// UpdateIndex implements cache.IndexFS. A transaction can fail before it has done anything, and, worse, when all is
// done and only the word of it is lost.
func (f *FailingFS) UpdateIndex(transaction func() error) error {
	if err := f.step("begin transaction", "index"); err != nil {
		return err
	}
	if err := transaction(); err != nil {
		return err
	}
	return f.step("end transaction", "index")
}

type failingFile struct {
	cache.File
	fs   *FailingFS
	path string
}

func (f *failingFile) Read(p []byte) (int, error) {
	if err := f.fs.step("read", f.path); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *failingFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.fs.step("read", f.path); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, offset)
}

// WriteAt writes half of p when it fails.
func (f *failingFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.fs.step("write", f.path); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], offset)
		return n, err
	}
	return f.File.WriteAt(p, offset)
}

func (f *failingFile) Truncate(size int64) error {
	if err := f.fs.step("truncate", f.path); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *failingFile) Sync() error {
	if err := f.fs.step("sync", f.path); err != nil {
		return err
	}
	return f.File.Sync()
}
