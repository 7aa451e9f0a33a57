package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// refusingFS is a file system some of whose files can't be opened, or can and then not be read.
type refusingFS struct {
	FS
	mu sync.Mutex
	// refused and unread say why, by the file's name.
	refused, unread map[string]error
}

func (f *refusingFS) refuse(d Digest, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused[d.String()] = err
}

func (f *refusingFS) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.refused)
	clear(f.unread)
}

func (f *refusingFS) Open(path string) (File, error) {
	f.mu.Lock()
	err, unread := f.refused[filepath.Base(path)], f.unread[filepath.Base(path)]
	f.mu.Unlock()
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	file, err := f.FS.Open(path)
	if err != nil || unread == nil {
		return file, err
	}
	return unreadFile{file, unread}, nil
}

type unreadFile struct {
	File
	reason error
}

func (f unreadFile) Read([]byte) (int, error) { return 0, f.reason }

// openRefusing opens a store of files, all durable.
func openRefusing(t *testing.T, files int) (*Store, *refusingFS, *observer.ObservedLogs) {
	t.Helper()
	refusing := &refusingFS{FS: OS(), refused: make(map[string]error), unread: make(map[string]error)}
	core, logs := observer.New(zap.WarnLevel)
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, FS: refusing, Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	awaitLoaded(t, s)
	for i := range files {
		s.put(t, numberedKey(i), randomBytes(1000, byte(i)))
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s, refusing, logs
}

// ownErrors are those that a file has for itself and keeps, passingErrors those of a system that is short of something.
var (
	ownErrors     = []error{syscall.EACCES, syscall.EPERM, syscall.ELOOP, syscall.ENOTDIR, syscall.EIO}
	passingErrors = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}
)

func TestAFileThatCannotBeOpenedIsFetchedAgain(t *testing.T) {
	s, refusing, logs := openRefusing(t, len(ownErrors))
	for i, own := range ownErrors {
		key := numberedKey(i)
		entry, err := s.Lookup(key)
		if err != nil {
			t.Fatal(err)
		}
		refusing.refuse(entry.Digest, own)
		if _, err := s.OpenBlob(entry); !errors.Is(err, ErrMiss) {
			t.Errorf("%v: opened with %v", own, err)
		}
		if _, err := s.Lookup(key); !errors.Is(err, ErrMiss) {
			t.Errorf("%v: looked up with %v", own, err)
		}
		want := reasonUnreadable + ": open " + blobPath(s.dir, entry.Digest) + ": " + own.Error()
		if told := logs.TakeAll(); len(told) != 1 || told[0].ContextMap()["reason"] != want {
			t.Errorf("%v: told %v", own, told)
		}
		refusing.heal()
		s.put(t, key, randomBytes(1000, byte(i)))
		if s.content(t, key) == nil {
			t.Errorf("%v: not stored again", own)
		}
	}
}

func TestAFileThatCannotBeOpenedNowStays(t *testing.T) {
	s, refusing, _ := openRefusing(t, len(passingErrors))
	for i, passing := range passingErrors {
		entry, err := s.Lookup(numberedKey(i))
		if err != nil {
			t.Fatal(err)
		}
		refusing.refuse(entry.Digest, passing)
		if _, err := s.OpenBlob(entry); !errors.Is(err, ErrDisk) || !errors.Is(err, passing) {
			t.Errorf("%v: opened with %v", passing, err)
		}
		refusing.heal()
		if s.content(t, numberedKey(i)) == nil {
			t.Errorf("%v: the file is gone", passing)
		}
	}
}

func TestVerifyingGoesOnAfterAFileThatCannotBeOpened(t *testing.T) {
	const files = 20
	s, refusing, _ := openRefusing(t, files)
	refuse := func(i int, reason error) {
		entry, err := s.Lookup(numberedKey(i))
		if err != nil {
			t.Fatal(err)
		}
		refusing.refuse(entry.Digest, reason)
	}
	refuse(2, syscall.EACCES)
	result, err := s.Verify(context.Background(), 0, nil)
	if err != nil || result.Blobs != files || result.Damaged != 1 || result.Unread != 0 || result.Bytes != (files-1)*1000 {
		t.Errorf("one that isn't ours: %+v, %v", result, err)
	}
	if _, err := s.Lookup(numberedKey(2)); !errors.Is(err, ErrMiss) {
		t.Errorf("the one that isn't ours was looked up with %v", err)
	}

	before, err := s.LastVerified()
	if err != nil {
		t.Fatal(err)
	}
	refuse(5, syscall.EMFILE)
	result, err = s.Verify(context.Background(), 0, nil)
	if !errors.Is(err, syscall.EMFILE) || result.Blobs != files-1 || result.Damaged != 0 || result.Unread != 1 || result.Bytes != (files-2)*1000 {
		t.Errorf("one that can't be opened now: %+v, %v", result, err)
	}
	if after, err := s.LastVerified(); err != nil || !after.Equal(before) {
		t.Errorf("what was not read counts as verified at %v, %v", after, err)
	}

	for i := range files {
		if i != 2 {
			refuse(i, syscall.EMFILE)
		}
	}
	result, err = s.Verify(context.Background(), 0, nil)
	if !errors.Is(err, syscall.EMFILE) || result.Unread != maxUnread || result.Damaged != 0 {
		t.Errorf("where none can be opened: %+v, %v", result, err)
	}
	refusing.heal()
	if result, err = s.Verify(context.Background(), 0, nil); err != nil || result.Blobs != files-1 || result.Damaged != 0 || result.Unread != 0 {
		t.Errorf("at last: %+v, %v", result, err)
	}
}

func TestVerifyingRemovesOnlyWhatTheDiskCannotGiveBack(t *testing.T) {
	s, refusing, _ := openRefusing(t, 3)
	for i, reason := range []error{syscall.EIO, syscall.ENOMEM} {
		entry, err := s.Lookup(numberedKey(i))
		if err != nil {
			t.Fatal(err)
		}
		refusing.mu.Lock()
		refusing.unread[entry.Digest.String()] = reason
		refusing.mu.Unlock()
	}
	result, err := s.Verify(context.Background(), 0, nil)
	if !errors.Is(err, syscall.ENOMEM) || result.Damaged != 1 || result.Unread != 1 || result.Bytes != 1000 {
		t.Errorf("%+v, %v", result, err)
	}
	refusing.heal()
	for i := range 3 {
		if missing := s.content(t, numberedKey(i)) == nil; missing != (i == 0) {
			t.Errorf("%d is missing: %v", i, missing)
		}
	}
}
