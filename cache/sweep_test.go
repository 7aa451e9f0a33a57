package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// leaveOrphan puts a file into a store's directory that nothing names.
func leaveOrphan(t *testing.T, dir string, data []byte) (digest Digest, path string) {
	t.Helper()
	digest = sha256.Sum256(data)
	path = blobPath(dir, digest)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return digest, path
}

// unlistedFS has a directory that can't be listed.
type unlistedFS struct {
	FS
	path string
}

func (f *unlistedFS) ReadDir(path string) ([]string, error) {
	if path == f.path {
		return nil, syscall.EIO
	}
	return f.FS.ReadDir(path)
}

// TestAStartTellsWhatItSweepsAndWhatNot: how many files, which aren't the store's, and where it couldn't look. Of nothing it tells
// nothing.
func TestAStartTellsWhatItSweepsAndWhatNot(t *testing.T) {
	dir := t.TempDir()
	if err := openStore(t, dir, Limits{}).Close(); err != nil {
		t.Fatal(err)
	}
	_, first := leaveOrphan(t, dir, []byte("one"))
	_, second := leaveOrphan(t, dir, []byte("two"))
	unlisted, _ := leaveOrphan(t, dir, []byte("three"))
	upper, _ := leaveOrphan(t, dir, []byte("four"))
	strange := []string{
		filepath.Join(shardPath(dir, 0), "README"),
		filepath.Join(shardPath(dir, unlisted[0]+1), unlisted.String()), // where none of that name belongs
		filepath.Join(shardPath(dir, upper[0]), strings.ToUpper(upper.String())),
	}
	for _, path := range strange {
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for round, removed := range []int64{3, 0} {
		core, logs := observer.New(zap.InfoLevel)
		listing := &unlistedFS{OS(), shardPath(dir, unlisted[0])}
		s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: listing, Logger: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		awaitLoaded(t, s)
		if told := s.Stats().DiskErrors; told != 1 {
			t.Errorf("round %d: %d errors of the disk", round, told)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		swept := logs.FilterMessage("files that nothing names were removed").All()
		if len(swept) != int(min(removed, 1)) || len(swept) == 1 && swept[0].ContextMap()["files"] != removed {
			t.Errorf("round %d: told %v", round, swept)
		}
		warned := make(map[any]bool)
		for _, line := range logs.FilterLevelExact(zap.WarnLevel).All() {
			warned[line.ContextMap()["path"]] = true
		}
		for _, path := range strange {
			if !warned[path] || !isOnDisk(path) {
				t.Errorf("round %d: %s: warned: %v, it stays: %v", round, path, warned[path], isOnDisk(path))
			}
		}
		if isOnDisk(first) || isOnDisk(second) || !isOnDisk(blobPath(dir, unlisted)) || len(warned) != len(strange) {
			t.Errorf("round %d: %d lines warn", round, len(warned))
		}
	}
}

// TestWhatIsSweptCanBeStoredMeanwhile and is there afterwards: the start doesn't remove what came in the place of what it found.
func TestWhatIsSweptCanBeStoredMeanwhile(t *testing.T) {
	dir, data := t.TempDir(), []byte("fetched again")
	if err := openStore(t, dir, Limits{}).Close(); err != nil {
		t.Fatal(err)
	}
	digest, _ := leaveOrphan(t, dir, data)
	synctest.Test(t, func(t *testing.T) {
		held := newHeldRemoval()
		held.hold(digest)
		s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: held})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		<-held.removing
		go func() { s.put(t, testKey("a"), data) }() // ends when the file is removed
		synctest.Wait()
		close(held.held)
		synctest.Wait()
		if !bytes.Equal(s.content(t, testKey("a")), data) {
			t.Error("it is gone")
		}
	})
}

// TestWhatCannotBeSweptIsTriedAgain and given to nobody meanwhile: nobody knows what it is.
func TestWhatCannotBeSweptIsTriedAgain(t *testing.T) {
	dir, data := t.TempDir(), []byte("left")
	if err := openStore(t, dir, Limits{}).Close(); err != nil {
		t.Fatal(err)
	}
	digest, path := leaveOrphan(t, dir, data)
	fs := newTroubledFS()
	fs.keep(func(kept string) bool { return kept == path })
	aloneIn(t, dir, fs, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, fs *troubledFS) {
		synctest.Wait()
		// By the start, and once more by the janitor.
		if told, tried := s.Stats().DiskErrors, fs.tried.Load(); told != 2 || tried != 2 {
			t.Errorf("it is tried %d times, and %d errors of the disk are told", tried, told)
		}
		k := testKey("a")
		if _, err := s.Link(k, s.Generation(k), FillSpec{Size: -1, SHA256: digest}); !errors.Is(err, ErrMiss) {
			t.Errorf("linked: %v", err)
		}
		fs.heal()
		s.asJanitor(s.retry)
		if stats := s.Stats(); stats.Blobs != 0 || isOnDisk(path) {
			t.Errorf("it stays: %+v", stats)
		}
	})
}
