package cache

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// stickyFS doesn't remove what it is told to keep.
type stickyFS struct {
	FS
	keeps atomic.Pointer[func(path string) bool]
	// tried counts attempts that failed.
	tried atomic.Int64
}

func (f *stickyFS) keep(which func(path string) bool) { f.keeps.Store(&which) }

func (f *stickyFS) heal() { f.keeps.Store(nil) }

func (f *stickyFS) Remove(path string) error {
	if keeps := f.keeps.Load(); keeps != nil && (*keeps)(path) {
		f.tried.Add(1)
		return syscall.EPERM
	}
	return f.FS.Remove(path)
}

func openSticky(t *testing.T, limits Limits, now *testClock) (*Store, *stickyFS) {
	t.Helper()
	fs := &stickyFS{FS: OS()}
	s, err := Open(Config{Dir: t.TempDir(), Limits: limits, FS: fs, Now: now.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	awaitLoaded(t, s)
	return s, fs
}

func TestPartsThatCannotBeRemovedCountUntilTheyAre(t *testing.T) {
	const maxSize = 1 << 20
	s, fs := openSticky(t, Limits{MaxSize: maxSize}, new(testClock))
	fs.keep(func(path string) bool {
		return filepath.Base(filepath.Dir(path)) == "fills" && strings.HasSuffix(path, ".part")
	})
	refused := 0
	var reader *FillReader
	for i := range 20 {
		k := numberedKey(i)
		f, err := s.Begin(k, s.Generation(k), FillSpec{Size: 300_000})
		if err != nil {
			refused++
			continue
		}
		f.write(t, randomBytes(200_000, byte(i)))
		if reader == nil {
			reader = f.follow(t)
		}
		f.Abort(errors.New("the upstream broke off"))
		if use := diskUse(t, s.dir); use > maxSize || s.Stats().Bytes != use {
			t.Fatalf("%d bytes are on the disk, %d counted", use, s.Stats().Bytes)
		}
	}
	if refused == 0 {
		t.Error("no fill was refused")
	}
	s.removeLeftParts()
	if use := diskUse(t, s.dir); use == 0 || s.Stats().Bytes != use {
		t.Errorf("tried in vain: %d bytes are on the disk, %d counted", use, s.Stats().Bytes)
	}
	fs.heal()
	s.removeLeftParts()
	if stats := s.Stats(); diskUse(t, s.dir) != 0 || stats.Bytes == 0 || stats.Bytes > 200_000 {
		t.Errorf("with a reader: %+v", stats)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if stats := s.Stats(); stats.Bytes != 0 || stats.Lingering != 0 {
		t.Errorf("at the end: %+v", stats)
	}
}
