package cache

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestADirectoryOfBlobsOnAnotherDeviceIsFound, and one that isn't there is on none.
func TestADirectoryOfBlobsOnAnotherDeviceIsFound(t *testing.T) {
	for name, test := range map[string]struct {
		there []string
		link  string
		want  error
	}{
		"nothing is there":        {},
		"only blobs are":          {there: []string{"blobs/00"}},
		"only fills are":          {there: []string{"fills"}},
		"all are on one device":   {there: []string{"fills", "blobs/00", "blobs/ff"}},
		"the first is on another": {there: []string{"fills", "blobs"}, link: "blobs/00", want: ErrSplit},
		"the last is on another":  {there: []string{"fills", "blobs/00"}, link: "blobs/ff", want: ErrSplit},
	} {
		s := newStore(Config{Dir: t.TempDir()})
		for _, path := range test.there {
			if err := os.MkdirAll(filepath.Join(s.dir, path), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if test.link != "" {
			skipWithoutProc(t)
			if err := os.Symlink("/proc", filepath.Join(s.dir, test.link)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.checkShards(); !errors.Is(err, test.want) || (test.want == nil && err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// skipWithoutProc ends a test where there is no device that no file can be on.
func skipWithoutProc(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("there is no other device: ", err)
	}
}

// stubbornFS doesn't make or remove directories that are called as parts are.
type stubbornFS struct {
	FS
	made, renamed, removed error
}

func (f stubbornFS) MkdirAll(path string) error {
	if filepath.Ext(path) == partSuffix && f.made != nil {
		return f.made
	}
	return f.FS.MkdirAll(path)
}

func (f stubbornFS) Rename(from, to string) error {
	if f.renamed != nil {
		return f.renamed
	}
	return f.FS.Rename(from, to)
}

func (f stubbornFS) Remove(path string) error {
	return errors.Join(f.removed, f.FS.Remove(path))
}

// TestOnlyWhatCannotBeRenamedMakesADirectoryUnusable: other trouble may pass. What is left behind the log tells of.
func TestOnlyWhatCannotBeRenamedMakesADirectoryUnusable(t *testing.T) {
	for name, test := range map[string]struct {
		disk   stubbornFS
		linked bool // one of the directories of blobs is on another device
		want   error
		told   int
	}{
		"all is well":                      {},
		"it can't be tried":                {disk: stubbornFS{made: syscall.ENOSPC, renamed: syscall.EXDEV}},
		"another mount":                    {disk: stubbornFS{renamed: syscall.EXDEV}, want: ErrSplit},
		"the disk fails":                   {disk: stubbornFS{renamed: syscall.EIO}},
		"the disk removes nothing":         {disk: stubbornFS{removed: syscall.EROFS}, told: 2},
		"another mount, where it ends":     {disk: stubbornFS{renamed: syscall.EXDEV, removed: syscall.EROFS}, want: ErrSplit, told: 2},
		"one of the directories is a link": {linked: true, want: ErrSplit},
	} {
		core, told := observer.New(zap.WarnLevel)
		test.disk.FS = OS()
		s := newStore(Config{Dir: t.TempDir(), FS: test.disk, Logger: zap.New(core)})
		for _, path := range []string{fillsPath(s.dir), blobsPath(s.dir)} {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if test.linked {
			skipWithoutProc(t)
			if err := os.Symlink("/proc", shardPath(s.dir, 0x7f)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.checkOneDisk(); !errors.Is(err, test.want) || (test.want == nil && err != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if told.Len() != test.told {
			t.Errorf("%s: the log has %d warnings", name, told.Len())
		}
		left, _ := filepath.Glob(filepath.Join(s.dir, "*", "*"+partSuffix))
		if len(left) != 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}
