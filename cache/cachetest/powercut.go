package cachetest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// PowerFS is a file system that remembers what a power cut would leave: of files, the bytes that they had when they
// were last synced; of directories, the names that they had then. After each step that changes something it calls back,
// so that a test can cut the power there. The index is bbolt's own, which syncs each transaction; its name is as
// durable as its directory.
type PowerFS struct {
	cache.FS
	root string
	// after is called with mu held after each step.
	after func(step string)

	// mu guards all below and is held during each operation that changes anything: a cut falls between two.
	mu sync.Mutex
	// files are by path what is there now.
	files map[string]*poweredFile
	// durable are by directory the names that would survive, with the files they stood for. Files that we don't know,
	// such as the index, are nil.
	durable map[string]map[string]*poweredFile
}

// poweredFile is a file, whatever its names.
type poweredFile struct {
	// synced are the bytes that would survive, size is how many there are now.
	synced []byte
	size   int64
}

// NewPowerFS returns a file system for the store in root.
func NewPowerFS(root string, after func(step string)) *PowerFS {
	return &PowerFS{
		FS: cache.OS(), root: root, after: after,
		files: make(map[string]*poweredFile), durable: make(map[string]map[string]*poweredFile),
	}
}

// Survival is what a power cut does to files that were not synced. File systems differ.
type Survival int

const (
	// OnlySynced: names and bytes survive only if they were synced.
	OnlySynced Survival = iota
	// NamesSurvive: all names are there, with the bytes that were synced.
	NamesSurvive
	// ZerosSurvive: all names are there, with the length that the files had, and zeros where bytes were not synced.
	ZerosSurvive
)

// Survivals are all ways to survive.
var Survivals = []Survival{OnlySynced, NamesSurvive, ZerosSurvive}

// String names the way.
func (v Survival) String() string {
	return [...]string{"only synced", "names survive", "zeros survive"}[v]
}

// Cut copies to another directory what a power cut now would leave. It is called from the callback after a step.
func (f *PowerFS) Cut(to string, survival Survival) error {
	for directory, names := range f.durable {
		relative, err := filepath.Rel(f.root, directory)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, relative), 0o700); err != nil {
			return err
		}
		if survival != OnlySynced {
			names = f.namesOf(directory, names)
		}
		for name, file := range names {
			target := filepath.Join(to, relative, name)
			if file == nil {
				err = copyFile(filepath.Join(directory, name), target)
			} else {
				err = os.WriteFile(target, file.survives(survival), 0o600)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *poweredFile) survives(survival Survival) []byte {
	if survival == ZerosSurvive && f.size > int64(len(f.synced)) {
		return append(bytes.Clone(f.synced), make([]byte, f.size-int64(len(f.synced)))...)
	}
	return f.synced
}

// namesOf are the names that a directory has now: those of files that we know, and those that we don't as they were.
func (f *PowerFS) namesOf(directory string, durable map[string]*poweredFile) map[string]*poweredFile {
	names := maps.Clone(durable)
	maps.DeleteFunc(names, func(_ string, file *poweredFile) bool { return file != nil })
	for path, file := range f.files {
		if filepath.Dir(path) == directory {
			names[filepath.Base(path)] = file
		}
	}
	return names
}

// copyFile copies what is no directory; one that isn't there any more is left out.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil || info.IsDir() {
		return nil //nolint:nilerr // gone, as after a cut it may be
	}
	data, err := os.ReadFile(from) //nolint:gosec // below the test's own directory
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600) //nolint:gosec // below the test's own directory
}

// change runs an operation and calls back.
func (f *PowerFS) change(operation, path string, run func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := run()
	f.after(fmt.Sprintf("%s %s", operation, filepath.Base(path)))
	return err
}

// Create implements cache.FS.
func (f *PowerFS) Create(path string) (file cache.File, err error) {
	err = f.change("create", path, func() error {
		created, err := f.FS.Create(path)
		if err != nil {
			return err
		}
		inode := new(poweredFile)
		f.files[path] = inode
		file = &powerFile{created, f, inode, path}
		return nil
	})
	return file, err
}

// Open implements cache.FS.
func (f *PowerFS) Open(path string) (cache.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	inode := f.files[path]
	if inode == nil {
		_ = file.Close()
		return nil, fmt.Errorf("opening %s: %w", path, fs.ErrNotExist)
	}
	return &powerFile{file, f, inode, path}, nil
}

// Rename implements cache.FS.
func (f *PowerFS) Rename(from, to string) error {
	return f.change("rename", to, func() error {
		if err := f.FS.Rename(from, to); err != nil {
			return err
		}
		f.files[to] = f.files[from]
		delete(f.files, from)
		return nil
	})
}

// Remove implements cache.FS.
func (f *PowerFS) Remove(path string) error {
	return f.change("remove", path, func() error {
		if err := f.FS.Remove(path); err != nil {
			return err
		}
		delete(f.files, path)
		return nil
	})
}

// SyncDir implements cache.FS.
func (f *PowerFS) SyncDir(path string) error {
	return f.change("sync directory", path, func() error { return f.syncDir(path) })
}

func (f *PowerFS) syncDir(path string) error {
	names, err := f.ReadDir(path)
	if err != nil {
		return err
	}
	durable := make(map[string]*poweredFile)
	for _, name := range names {
		durable[name] = f.files[filepath.Join(path, name)]
	}
	f.durable[path] = durable
	return nil
}

// SyncAll implements cache.FS.
func (f *PowerFS) SyncAll(path string) error {
	return f.change("sync all", path, func() error {
		for path, file := range f.files {
			data, err := os.ReadFile(path) //nolint:gosec // below the test's own directory
			if err != nil {
				return err
			}
			file.synced = data
		}
		directories := slices.Collect(maps.Keys(f.durable))
		for path := range f.files {
			directories = append(directories, filepath.Dir(path))
		}
		for _, directory := range directories {
			if err := f.syncDir(directory); err != nil {
				return err
			}
		}
		return nil
	})
}

// UpdateIndex implements cache.IndexFS.
func (f *PowerFS) UpdateIndex(transaction func() error) error {
	return f.change("transaction", "index", transaction)
}

// powerFile is an open file.
type powerFile struct {
	cache.File
	fs    *PowerFS
	inode *poweredFile
	path  string
}

func (f *powerFile) WriteAt(p []byte, offset int64) (n int, err error) {
	err = f.fs.change("write", f.path, func() error {
		n, err = f.File.WriteAt(p, offset)
		f.inode.size = max(f.inode.size, offset+int64(n))
		return err
	})
	return n, err
}

func (f *powerFile) Truncate(size int64) error {
	return f.fs.change("truncate", f.path, func() error {
		if err := f.File.Truncate(size); err != nil {
			return err
		}
		f.inode.size = size
		return nil
	})
}

func (f *powerFile) Sync() error {
	return f.fs.change("sync", f.path, func() error {
		data, err := io.ReadAll(io.NewSectionReader(f.File, 0, f.inode.size))
		f.inode.synced = data
		return err
	})
}
