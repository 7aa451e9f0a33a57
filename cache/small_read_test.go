package cache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
)

// badlyRead is a file that fails to be read.
type badlyRead struct {
	File
	err error
}

func (f badlyRead) Read([]byte) (int, error) { return 0, f.err }

// TestASmallFileFromTheDiskIsServedIfItIsWhatItsNameSays, and is given up if not, unless that says nothing about it. Nothing is kept
// of it then.
func TestASmallFileFromTheDiskIsServedIfItIsWhatItsNameSays(t *testing.T) {
	cut := func(size int64) func(path string) error {
		return func(path string) error { return os.Truncate(path, size) }
	}
	for name, test := range map[string]struct {
		size   int
		damage func(path string) error
		read   error
		want   error
		lost   bool
		sums   int64 // that were wrong
	}{
		"a small one":                {size: 1000},
		"the largest":                {size: smallFile},
		"an empty one":               {size: 0},
		"one that is short":          {size: 1000, damage: cut(999), want: ErrMiss, lost: true},
		"one that is empty":          {size: 1000, damage: cut(0), want: ErrMiss, lost: true},
		"one that is long":           {size: 1000, damage: cut(1001), want: ErrMiss, lost: true},
		"the largest, and it's long": {size: smallFile, damage: cut(smallFile + 1), want: ErrMiss, lost: true},
		"one that isn't there":       {size: 1000, damage: os.Remove, want: ErrMiss, lost: true},
		"one with other bytes":       {size: 1000, damage: func(path string) error { return os.WriteFile(path, make([]byte, 1000), 0o600) }, want: ErrMiss, lost: true, sums: 1},
		"one that the disk lost":     {size: 1000, read: syscall.EIO, want: ErrMiss, lost: true},
		"one that can't be read now": {size: 1000, read: syscall.ENOMEM, want: syscall.ENOMEM},
	} {
		disk := &openedFS{FS: OS()}
		s, data := openOn(t, disk, Limits{MaxSize: 1 << 30}), randomBytes(test.size, 1)
		e := s.put(t, testKey("a"), data)
		if test.damage != nil {
			if err := test.damage(blobPath(s.dir, e.Digest)); err != nil {
				t.Fatal(err)
			}
		}
		if test.read != nil {
			disk.opened = func(file File) (File, error) { return badlyRead{file, test.read}, nil }
		}
		taken := smallBuffersTaken.Load()
		blob, err := s.OpenBlob(e)
		if !errors.Is(err, test.want) || (test.want == nil && err != nil) || errors.Is(err, ErrDisk) != (test.want != nil && !errors.Is(test.want, ErrMiss)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if whole, ok := blob.Bytes(); !ok || !bytes.Equal(whole, data) || !blob.IsFromDisk() || blob.Size() != int64(test.size) {
				t.Errorf("%s: %d bytes in memory: %v", name, len(whole), ok)
			}
			if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
			if held := smallBuffersTaken.Load() - taken; held != 1 {
				t.Errorf("%s: %d buffers are taken", name, held)
			}
			for range 2 {
				if err := blob.Close(); err != nil {
					t.Error(err)
				}
			}
			if !s.blobs[e.Digest].checked {
				t.Errorf("%s: it would be compared again", name)
			}
		}
		if _, err := s.Lookup(e.Key); errors.Is(err, ErrMiss) != test.lost || s.counters.checksumFailures.Load() != test.sums {
			t.Errorf("%s: looked up with %v, %d sums count as wrong", name, err, s.counters.checksumFailures.Load())
		}
		if held := smallBuffersTaken.Load() - taken; held != 0 || disk.open.Load() != 0 || s.space.open != 0 {
			t.Errorf("%s: %d buffers are taken, %d files open, %d bytes being read", name, held, disk.open.Load(), s.space.open)
		}
	}
}

// TestNoMoreSmallFilesAreInMemoryThanThereMayBe: those beyond are served from open files.
func TestNoMoreSmallFilesAreInMemoryThanThereMayBe(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(1000, 1)
	e, before := s.put(t, testKey("a"), data), smallBuffersTaken.Load()
	var taken []*smallBuffer
	for buffer := takeSmallBuffer(); buffer != nil && len(taken) <= maxSmallBuffers; buffer = takeSmallBuffer() {
		taken = append(taken, buffer)
	}
	if n := before + int32(len(taken)); n != maxSmallBuffers || smallBuffersTaken.Load() != n { //nolint:gosec // few
		t.Errorf("%d buffers are taken, and %d count", n, smallBuffersTaken.Load())
	}
	inMemory := func() bool {
		blob := s.mustOpen(t, e)
		if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		_, is := blob.Bytes()
		if err := blob.Close(); err != nil {
			t.Error(err)
		}
		return is
	}
	if inMemory() {
		t.Error("one more is in memory")
	}
	for _, buffer := range taken {
		buffer.release()
	}
	if !inMemory() || smallBuffersTaken.Load() != before {
		t.Errorf("%d buffers count as taken", smallBuffersTaken.Load()-before)
	}
}
