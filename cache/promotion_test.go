package cache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
)

// checkIdleMemory holds that nobody is counted as reading from memory or bringing a file there, and that the totals are right.
func (s *Store) checkIdleMemory(t *testing.T, files int) {
	t.Helper()
	s.checkSums(t, "when all are done")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, segment := range s.memory.segments {
		if n := segment.readers.Load(); n != 0 {
			t.Errorf("%d readers are left", n)
		}
	}
	if n := s.memory.files.Len(); n != files || len(s.memory.promoting) != 0 || s.space.open != 0 {
		t.Errorf("%d files are in memory, %d on their way; %d bytes are being read", n, len(s.memory.promoting), s.space.open)
	}
}

// TestWhichFilesEnterMemory looks at sizes, and at how many are on their way already.
func TestWhichFilesEnterMemory(t *testing.T) {
	const limit = 1 << 20
	largest := int(largestInMemory(limit))
	for _, test := range []struct {
		name   string
		size   int
		limit  int64
		others int
		want   bool
	}{
		{name: "one byte", size: 1, limit: limit, want: true},
		{name: "no byte", size: 0, limit: limit},
		{name: "the largest", size: largest, limit: limit, want: true},
		{name: "one byte more", size: largest + 1, limit: limit},
		{name: "without a tier", size: 1, limit: 0},
		{name: "with a limit below nothing", size: 1, limit: -1},
		{name: "the sixteenth at a time", size: 1, limit: limit, others: maxPromotions - 1, want: true},
		{name: "the seventeenth", size: 1, limit: limit, others: maxPromotions},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, data := openStore(t, t.TempDir(), Limits{Memory: test.limit}), randomBytes(test.size, 1)
			s.put(t, testKey("a"), data)
			for i := range test.others {
				s.memory.promoting[Digest{byte(i)}] = struct{}{}
			}
			for range 2 {
				_ = s.hit(t, testKey("a"), data).Close()
			}
			if got := s.Stats().MemoryBlobs == 1; got != test.want {
				t.Errorf("the file is in memory: %v", got)
			}
			clear(s.memory.promoting)
			if stats := s.Stats(); !test.want && stats.MemoryBytes != 0 {
				t.Errorf("%d bytes are taken for nothing", stats.MemoryBytes)
			}
		})
	}
}

// TestAFileThatProvesWrongOnItsWayIntoMemoryIsAMiss, and what was kept for it is free again.
func TestAFileThatProvesWrongOnItsWayIntoMemoryIsAMiss(t *testing.T) {
	data := randomBytes(openSize, 1)
	for name, test := range map[string]struct {
		damage   func(t *testing.T, broken *brokenFiles, path string)
		checksum int64
		stays    bool
	}{
		"it can't be read": {damage: func(_ *testing.T, broken *brokenFiles, _ string) {
			broken.breakWith(syscall.EIO, nil, nil, nil, false)
		}},
		"it ends too early": {damage: func(_ *testing.T, broken *brokenFiles, _ string) { broken.breakWith(nil, nil, nil, nil, true) }},
		"it has other bytes": {damage: func(t *testing.T, _ *brokenFiles, path string) {
			t.Helper()
			if err := os.WriteFile(path, randomBytes(openSize, 2), 0o600); err != nil {
				t.Fatal(err)
			}
		}, checksum: 1},
		"it is gone": {damage: func(t *testing.T, _ *brokenFiles, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		"it can't be opened now": {damage: func(_ *testing.T, broken *brokenFiles, _ string) {
			broken.breakWith(nil, syscall.ENFILE, nil, nil, false)
		}, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			broken := &brokenFiles{FS: OS()}
			s := openOn(t, broken, Limits{MaxSize: 1 << 30, Memory: 16 << 20})
			e := s.put(t, testKey("a"), data)
			test.damage(t, broken, blobPath(s.dir, e.Digest))
			if blob, err := s.OpenHit(e); errors.Is(err, ErrMiss) == test.stays || err == nil {
				t.Errorf("opened: %v, %v", blob, err)
			}
			broken.breakWith(nil, nil, nil, nil, false)
			s.checkIdleMemory(t, 0)
			damaged := int64(1)
			if test.stays {
				damaged = 0
				if err := s.hit(t, testKey("a"), data).Close(); err != nil {
					t.Error(err)
				}
				s.checkIdleMemory(t, 1)
			} else if _, err := s.Lookup(testKey("a")); !errors.Is(err, ErrMiss) {
				t.Errorf("looked up: %v", err)
			}
			if stats := s.Stats(); stats.Damaged != damaged || stats.ChecksumFailures != test.checksum {
				t.Errorf("%d are damaged, %d with a wrong sum", stats.Damaged, stats.ChecksumFailures)
			}
		})
	}
}

// readHook is a file system that calls a function once before it reads from a file.
type readHook struct {
	FS
	during atomic.Pointer[func()]
}

type readHookFile struct {
	File
	hook *readHook
}

func (f *readHook) Open(path string) (File, error) {
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return &readHookFile{file, f}, nil
}

func (f *readHookFile) Read(p []byte) (int, error) {
	if during := f.hook.during.Swap(nil); during != nil {
		(*during)()
	}
	return f.File.Read(p)
}

// TestAFileThatLeavesOnItsWayIntoMemoryIsItsReadersAlone changes the store while the file is read: memory would go on serving
// what was purged or found damaged.
func TestAFileThatLeavesOnItsWayIntoMemoryIsItsReadersAlone(t *testing.T) {
	data := randomBytes(openSize, 1)
	for name, test := range map[string]struct {
		during, after func(t *testing.T, s *Store, blob *blobState)
		files         int
	}{
		"nothing happens": {files: 1},
		"it is purged": {during: func(t *testing.T, s *Store, _ *blobState) {
			t.Helper()
			if _, err := s.Purge(t.Context(), Selector{}); err != nil {
				t.Error(err)
			}
		}},
		"it is purged and comes again": {during: func(t *testing.T, s *Store, _ *blobState) {
			t.Helper()
			if _, err := s.Purge(t.Context(), Selector{}); err != nil {
				t.Error(err)
			}
			s.put(t, testKey("a"), data)
		}},
		"it is found damaged": {during: func(_ *testing.T, s *Store, blob *blobState) {
			s.stopJanitor() // which would remove it
			s.discard(blob, reasonChecksum)
		}},
		"it is being removed": {
			during: func(_ *testing.T, s *Store, blob *blobState) {
				s.mu.Lock()
				defer s.mu.Unlock()
				blob.busy = make(chan struct{})
			},
			after: func(_ *testing.T, s *Store, blob *blobState) {
				s.mu.Lock()
				defer s.mu.Unlock()
				blob.busy = nil
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			hook := &readHook{FS: OS()}
			s := openOn(t, hook, Limits{MaxSize: 1 << 30, Memory: 16 << 20})
			e := s.put(t, testKey("a"), data)
			state := e.node.blob
			if test.during != nil {
				during := func() { test.during(t, s, state) }
				hook.during.Store(&during)
			}
			blob, err := s.OpenHit(e)
			if err != nil {
				t.Fatal(err)
			}
			if test.after != nil {
				test.after(t, s, state)
			}
			if got, ok := blob.Bytes(); !ok || !bytes.Equal(got, data) {
				t.Errorf("%d bytes are read", len(got))
			}
			if files := s.Stats().MemoryBlobs; files != test.files {
				t.Errorf("%d files are in memory", files)
			}
			if err := blob.Close(); err != nil {
				t.Error(err)
			}
			s.checkIdleMemory(t, test.files)
		})
	}
}

// TestAHerdReadsAFileIntoMemoryOnce: who comes meanwhile is served from the disk.
func TestAHerdReadsAFileIntoMemoryOnce(t *testing.T) {
	data := randomBytes(openSize, 1)
	hook := &readHook{FS: OS()}
	s := openOn(t, hook, Limits{MaxSize: 1 << 30, Memory: 16 << 20})
	s.put(t, testKey("a"), data)
	var other *Blob
	during := func() { other = s.hit(t, testKey("a"), data) }
	hook.during.Store(&during)
	first := s.hit(t, testKey("a"), data)
	if first.IsFromDisk() || !other.IsFromDisk() {
		t.Errorf("from the disk come the first: %v, the second: %v", first.IsFromDisk(), other.IsFromDisk())
	}
	for _, blob := range []*Blob{first, other} {
		if err := blob.Close(); err != nil {
			t.Error(err)
		}
	}
	s.checkIdleMemory(t, 1)
}

// TestAnEntryThatWasListedIsServedWithoutMemory: of one that isn't loaded yet nothing is known of its uses.
func TestAnEntryThatWasListedIsServedWithoutMemory(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{Memory: 16 << 20}), randomBytes(1000, 1)
	e := s.put(t, testKey("a"), data)
	e.node = nil
	for range 3 {
		blob, err := s.OpenHit(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, data) || !blob.IsFromDisk() {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		_ = blob.Close()
	}
	s.checkIdleMemory(t, 0)
}

// TestMemoryComesFromTheSystemAndGoesBackOnce: what the system refuses counts nowhere, and of what went back nothing can be read.
func TestMemoryComesFromTheSystemAndGoesBackOnce(t *testing.T) {
	var mapped atomic.Int64
	page := os.Getpagesize()
	for _, size := range []int{-1, 0, 1 << 60} {
		if s, err := newSegment(size, &mapped); err == nil || s != nil || mapped.Load() != 0 {
			t.Errorf("of %d bytes there are %v; %v, %d are counted", size, s, err, mapped.Load())
		}
	}
	s, err := newSegment(page, &mapped)
	if err != nil || len(s.data) != page || mapped.Load() != int64(page) {
		t.Fatalf("%d bytes, %v", mapped.Load(), err)
	}
	s.enter()
	s.enter()
	s.leave()
	s.retire()
	if mapped.Load() != int64(page) || len(s.data) != page {
		t.Error("memory went back while somebody read")
	}
	s.leave()
	s.unmap()
	if mapped.Load() != 0 || s.data != nil {
		t.Errorf("%d bytes are counted, %d can be read", mapped.Load(), len(s.data))
	}
	wrong := &segment{data: make([]byte, page), mapped: &mapped} // not the system's
	if wrong.retire(); mapped.Load() != 0 || wrong.data == nil {
		t.Errorf("what could not go back counts as %d bytes less", -mapped.Load())
	}
}
