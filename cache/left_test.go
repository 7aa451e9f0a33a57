package cache

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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
	s.CloseAtEnd(t, t.Log)
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
	s.asJanitor(s.removeStuck)
	if use := diskUse(t, s.dir); use == 0 || s.Stats().Bytes != use {
		t.Errorf("tried in vain: %d bytes are on the disk, %d counted", use, s.Stats().Bytes)
	}
	fs.heal()
	s.asJanitor(s.removeStuck)
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

func TestFilesThatCannotBeRemovedDoNotStopEviction(t *testing.T) {
	const files, size = 100, 20_000
	core, logs := observer.New(zap.ErrorLevel)
	fs := &stickyFS{FS: OS()}
	s, err := Open(Config{
		Dir: t.TempDir(), Limits: Limits{MaxSize: files * size}, FS: fs, Now: new(testClock).now, Logger: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	awaitLoaded(t, s)
	sticky := make(map[string]struct{})
	for i := range files - 2 {
		entry := s.put(t, numberedKey(i), randomBytes(size, byte(i)))
		if i < 2*maxRefusals {
			sticky[blobPath(s.dir, entry.Digest)] = struct{}{}
		}
	}
	healthy := len(sticky)
	fs.keep(func(path string) bool { _, ok := sticky[path]; return ok })
	more := func(from, to int) (stored int) {
		for i := from; i < to; i++ {
			k := numberedKey(i)
			f, err := s.Begin(k, s.Generation(k), FillSpec{Size: size})
			if err != nil {
				continue
			}
			f.write(t, randomBytes(size, byte(i))) //nolint:gosec // any byte will do
			if _, err = f.Commit(s.Generation(k)); err == nil {
				stored++
			}
			f.Abort(err)
		}
		if stats := s.Stats(); stats.Bytes > files*size || diskUse(t, s.dir) > files*size {
			t.Errorf("%d bytes are on the disk: %+v", diskUse(t, s.dir), stats)
		}
		return stored
	}
	// So many in a row are the disk's fault, as far as can be told.
	more(100, 150)
	if tried, left := fs.tried.Load(), s.Stats().Entries; tried != maxRefusals || left < files-4-maxRefusals {
		t.Errorf("%d were tried in vain, %d entries are left", tried, left)
	}
	if n := logs.Len(); n != 1 {
		t.Errorf("%d lines of log", n)
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Error(err)
	}
	// With each tick one file more may show otherwise. The known ones are tried then, as far as is worthwhile.
	tick := func() {
		s.retry()
		s.evict()
	}
	for range healthy - maxRefusals {
		s.asJanitor(tick)
	}
	if tried := fs.tried.Load(); tried != int64(healthy+(healthy-maxRefusals)*maxStuck) {
		t.Errorf("%d were tried in vain", tried)
	}
	s.asJanitor(tick)
	before := fs.tried.Load()
	if stored := more(150, 200); stored != 50 {
		t.Errorf("%d of 50 were stored beside those that can't be removed", stored)
	}
	if again := fs.tried.Load() - before; again != 0 {
		t.Errorf("the stuck files were tried again %d times", again)
	}
	fs.heal()
	s.asJanitor(s.retry)
	if err := s.Sync(context.Background()); err != nil {
		t.Error(err)
	}
	if stats := s.Stats(); stats.Blobs != stats.Entries || stats.Bytes != diskUse(t, s.dir) {
		t.Errorf("healed: %+v", stats)
	}
}
