package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// brokenFiles is a file system whose open files fail in one way each.
type brokenFiles struct {
	FS
	mu                       sync.Mutex // guards all below
	read, stat, seek, closed error
	// short has files end before their length.
	short bool
}

type brokenFile struct {
	File
	fs *brokenFiles
}

func (f *brokenFiles) Open(path string) (File, error) {
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return &brokenFile{file, f}, nil
}

// breakWith sets what fails from now on.
func (f *brokenFiles) breakWith(read, stat, seek, closed error, short bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read, f.stat, f.seek, f.closed, f.short = read, stat, seek, closed, short
}

func (f *brokenFile) failure(of *error) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return *of
}

func (f *brokenFile) Read(p []byte) (int, error) {
	if err := f.failure(&f.fs.read); err != nil {
		return 0, err
	}
	f.fs.mu.Lock()
	short := f.fs.short
	f.fs.mu.Unlock()
	if short {
		return 0, io.EOF
	}
	return f.File.Read(p)
}

func (f *brokenFile) Stat() (fs.FileInfo, error) {
	if err := f.failure(&f.fs.stat); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

func (f *brokenFile) Seek(offset int64, whence int) (int64, error) {
	if err := f.failure(&f.fs.seek); err != nil {
		return 0, err
	}
	return f.File.Seek(offset, whence)
}

func (f *brokenFile) Close() error {
	return errors.Join(f.File.Close(), f.failure(&f.fs.closed))
}

// openSize is the size of a file that stays open while it is served; smaller ones are read at once (small_read.go).
const openSize = smallFile + 1000

func (s *Store) mustOpen(t testing.TB, e Entry) *Blob {
	t.Helper()
	blob, err := s.OpenBlob(e)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// TestAFileThatCannotBeReadIsGivenUpOnlyIfThatIsItsOwnFault, and who reads it hears of it in any case.
func TestAFileThatCannotBeReadIsGivenUpOnlyIfThatIsItsOwnFault(t *testing.T) {
	for name, test := range map[string]struct {
		read  error
		short bool
		want  error
		lost  bool
	}{
		"the disk can't give it back": {syscall.EIO, false, ErrDisk, true},
		"it ends too early":           {nil, true, ErrDisk, true},
		"it was closed meanwhile":     {os.ErrClosed, false, os.ErrClosed, false},
	} {
		for way, read := range map[string]func(*Blob) (int64, error){
			"Read":    func(b *Blob) (int64, error) { n, err := b.Read(make([]byte, 100)); return int64(n), err },
			"WriteTo": func(b *Blob) (int64, error) { return b.WriteTo(new(bytes.Buffer)) },
		} {
			t.Run(name+", by "+way, func(t *testing.T) {
				broken := &brokenFiles{FS: OS()}
				s := openOn(t, broken, Limits{MaxSize: 1 << 30})
				e := s.put(t, testKey("a"), randomBytes(openSize, 1))
				blob := s.mustOpen(t, e)
				broken.breakWith(test.read, nil, nil, nil, test.short)
				if n, err := read(blob); n != 0 || !errors.Is(err, test.want) {
					t.Errorf("%d bytes, %v", n, err)
				}
				broken.breakWith(nil, nil, nil, nil, false)
				if err := blob.Close(); err != nil {
					t.Error(err)
				}
				if _, err := s.Lookup(testKey("a")); errors.Is(err, ErrMiss) != test.lost || (s.Stats().Damaged == 1) != test.lost {
					t.Errorf("looked up: %v; %d damaged", err, s.Stats().Damaged)
				}
			})
		}
	}
}

// kernelReceiver takes a file as a connection does, and fails after some bytes.
type kernelReceiver struct {
	bytes.Buffer
	most int64
	err  error
}

func (r *kernelReceiver) ReadFrom(from io.Reader) (int64, error) {
	n, err := io.Copy(&r.Buffer, io.LimitReader(from, r.most))
	return n, errors.Join(err, r.err)
}

// TestAFileThatIsSentIsGivenUpOnlyIfThatIsItsOwnFault sends a file of the operating system: a client that hangs up costs none.
func TestAFileThatIsSentIsGivenUpOnlyIfThatIsItsOwnFault(t *testing.T) {
	data := randomBytes(openSize, 1)
	for name, test := range map[string]struct {
		most  int64
		err   error
		short bool
		want  error
		lost  bool
	}{
		"all of it":                              {1 << 20, nil, false, nil, false},
		"to a client that hangs up":              {300, syscall.EPIPE, false, syscall.EPIPE, false},
		"to a client that hangs up at the end":   {openSize, syscall.EPIPE, false, syscall.EPIPE, false},
		"by a disk that can't give it back":      {300, syscall.EIO, false, ErrDisk, true},
		"whose end somebody has cut off":         {1 << 20, nil, true, ErrDisk, true},
		"that is cut off, to one who hangs up":   {300, syscall.EPIPE, true, syscall.EPIPE, false},
		"by a disk that fails with its last bit": {openSize, syscall.EIO, false, ErrDisk, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			e := s.put(t, testKey("a"), data)
			blob := s.mustOpen(t, e)
			if test.short {
				if err := os.Truncate(blobPath(s.dir, e.Digest), 500); err != nil {
					t.Fatal(err)
				}
			}
			to := &kernelReceiver{most: test.most, err: test.err}
			n, err := blob.WriteTo(to)
			if !errors.Is(err, test.want) || (test.want == nil && err != nil) || n != int64(to.Len()) || !bytes.HasPrefix(data, to.Bytes()) {
				t.Errorf("%d of %d bytes, %v", n, to.Len(), err)
			}
			if err := blob.Close(); err != nil {
				t.Error(err)
			}
			if _, err := s.Lookup(testKey("a")); errors.Is(err, ErrMiss) != test.lost {
				t.Errorf("looked up: %v", err)
			}
		})
	}
}

// TestABlobIsWrittenWholeWhateverItIsAndWhoeverTakesIt also goes on from where it was read to.
func TestABlobIsWrittenWholeWhateverItIsAndWhoeverTakesIt(t *testing.T) {
	data := randomBytes(copyPiece+1000, 1)
	for name, disk := range map[string]FS{"a file that the kernel can send": OS(), "another file": &brokenFiles{FS: OS()}} {
		for takes, to := range map[string]func() (io.Writer, *bytes.Buffer){
			"who takes files": func() (io.Writer, *bytes.Buffer) { b := new(bytes.Buffer); return b, b },
			"who doesn't":     func() (io.Writer, *bytes.Buffer) { b := new(bytes.Buffer); return struct{ io.Writer }{b}, b },
		} {
			t.Run(name+", "+takes, func(t *testing.T) {
				s := openOn(t, disk, Limits{MaxSize: 1 << 30})
				blob := s.mustOpen(t, s.put(t, testKey("a"), data))
				defer blob.Close()
				for _, from := range []int64{0, 100} {
					if at, err := blob.Seek(from, io.SeekStart); at != from || err != nil {
						t.Fatal(at, err)
					}
					w, got := to()
					if n, err := blob.WriteTo(w); err != nil || n != int64(got.Len()) || !bytes.Equal(got.Bytes(), data[from:]) {
						t.Errorf("from %d: %d of %d bytes, %v", from, n, got.Len(), err)
					}
				}
			})
		}
	}
}

// TestABlobThatIsClosedGivesNothing, and what it takes is given back once.
func TestABlobThatIsClosedGivesNothing(t *testing.T) {
	broken := &brokenFiles{FS: OS()}
	s := openOn(t, broken, Limits{MaxSize: 1 << 30})
	e := s.put(t, testKey("a"), randomBytes(openSize, 1))
	held := s.mustOpen(t, e)
	blob := s.mustOpen(t, e)
	broken.breakWith(nil, nil, nil, syscall.EIO, false)
	if err := blob.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("closed with %v", err)
	}
	broken.breakWith(nil, nil, nil, nil, false)
	if err := blob.Close(); err != nil {
		t.Errorf("closed again with %v", err)
	}
	_, read := blob.Read(make([]byte, 10))
	_, written := blob.WriteTo(io.Discard)
	_, sought := blob.Seek(0, io.SeekStart)
	for way, err := range map[string]error{"read": read, "written": written, "sought": sought} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", way, err)
		}
	}
	if s.space.open != openSize {
		t.Errorf("%d bytes are being read", s.space.open)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
}

// TestASeekThatFailsLeavesTheReaderWhereItWas: it reads on, and its file isn't taken for one that ends too early.
func TestASeekThatFailsLeavesTheReaderWhereItWas(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(openSize, 1)
	blob := s.mustOpen(t, s.put(t, testKey("a"), data))
	defer blob.Close()
	if _, err := io.ReadFull(blob, make([]byte, 600)); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Seek(-1, io.SeekStart); err == nil {
		t.Error("there is something before the beginning")
	}
	if rest, err := io.ReadAll(blob); err != nil || !bytes.Equal(rest, data[600:]) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
	if damaged := s.Stats().Damaged; damaged != 0 {
		t.Errorf("%d files count as damaged", damaged)
	}
}

// TestAFileThatCannotBeLookedAtNowStays: too few file descriptors say nothing about it.
func TestAFileThatCannotBeLookedAtNowStays(t *testing.T) {
	broken := &brokenFiles{FS: OS()}
	s := openOn(t, broken, Limits{MaxSize: 1 << 30})
	data := randomBytes(openSize, 1)
	e := s.put(t, testKey("a"), data)
	broken.breakWith(nil, syscall.ENFILE, nil, nil, false)
	if _, err := s.OpenBlob(e); !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.ENFILE) {
		t.Errorf("opened: %v", err)
	}
	broken.breakWith(nil, nil, nil, nil, false)
	if s.space.open != 0 {
		t.Errorf("%d bytes are being read", s.space.open)
	}
	if !bytes.Equal(s.content(t, testKey("a")), data) {
		t.Error("the file is gone")
	}
}

// TestNothingIsOpenedOfWhatIsGone: of a file that was purged, of one that is known to be wrong and still there, of what no look-up
// has given, and of a store that is closed.
func TestNothingIsOpenedOfWhatIsGone(t *testing.T) {
	sticky := &stickyFS{FS: OS()}
	s := openOn(t, sticky, Limits{MaxSize: 1 << 30})
	purged, wrong, good := s.put(t, testKey("purged"), randomBytes(1000, 1)), s.put(t, testKey("wrong"), randomBytes(1000, 2)), s.put(t, testKey("good"), randomBytes(1000, 3))
	if _, err := s.Purge(context.Background(), Selector(purged.Key)); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	sticky.keep(func(path string) bool { return filepath.Base(path) == wrong.Digest.String() })
	if err := os.WriteFile(blobPath(s.dir, wrong.Digest), randomBytes(1000, 4), 0o600); err != nil {
		t.Fatal(err)
	}
	if result, err := s.Verify(context.Background(), 0, nil); err != nil || result.Damaged != 1 {
		t.Fatalf("verified: %+v, %v", result, err)
	}
	for name, e := range map[string]Entry{"purged": purged, "wrong": wrong, "none": {}} {
		if _, err := s.OpenBlob(e); !errors.Is(err, ErrMiss) {
			t.Errorf("%s: opened: %v", name, err)
		}
		s.Use(e)
	}
	unknown := Entry{Key: good.Key, Digest: good.Digest}
	s.Use(unknown)
	if err := s.mustOpen(t, unknown).Close(); err != nil {
		t.Error(err)
	}
	sticky.heal()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.OpenBlob(good); !errors.Is(err, ErrClosed) {
		t.Errorf("opened in a store that is closed: %v", err)
	}
	k := testKey("linked")
	if _, err := s.Link(k, s.Generation(k), FillSpec{Size: -1, SHA256: good.Digest}); !errors.Is(err, ErrClosed) {
		t.Errorf("linked in a store that is closed: %v", err)
	}
}
