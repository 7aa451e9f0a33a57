package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
)

// openedFS gives what it opens, or makes, another form.
type openedFS struct {
	FS
	// made and opened return what Create and Open do; nil for what they would.
	made, opened func(File) (File, error)
	// times is how often a file was opened, open how many are open still.
	times, open atomic.Int64
}

// openedFile is a file of which each call may be another.
type openedFile struct {
	File
	fs     *openedFS
	readAt func(p []byte, offset int64) (int, error)
	stat   func() (fs.FileInfo, error)
}

func (f *openedFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.readAt != nil {
		return f.readAt(p, offset)
	}
	return f.File.ReadAt(p, offset)
}

func (f *openedFile) Stat() (fs.FileInfo, error) {
	if f.stat != nil {
		return f.stat()
	}
	return f.File.Stat()
}

func (f *openedFile) Close() error {
	f.fs.open.Add(-1)
	return f.File.Close()
}

// sentFile is one that the kernel can send.
type sentFile struct {
	File
	native *os.File
}

func (f sentFile) OSFile() *os.File { return f.native }

func (f *openedFS) Create(path string) (File, error) {
	file, err := f.FS.Create(path)
	if err == nil && f.made != nil {
		return f.made(file)
	}
	return file, err
}

func (f *openedFS) Open(path string) (File, error) {
	f.times.Add(1)
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	counted := &openedFile{File: file, fs: f}
	if f.opened != nil {
		return f.opened(counted)
	}
	native, _ := osFileOf(file)
	return sentFile{counted, native}, nil
}

// receiver takes a file itself, as a connection does, and notes how it got its bytes.
type receiver struct {
	bytes.Buffer
	// most bounds what it takes of a file; then comes err. files counts the files, written the bytes that came otherwise.
	most           int64
	err            error
	files, written int
}

func (r *receiver) ReadFrom(from io.Reader) (int64, error) {
	if r.files++; r.files > 10 {
		return 0, errors.New("the same is sent again and again")
	}
	n, err := io.Copy(&r.Buffer, io.LimitReader(from, r.most))
	return n, errors.Join(err, r.err)
}

func (r *receiver) Write(p []byte) (int, error) {
	r.written += len(p)
	return r.Buffer.Write(p)
}

// TestAFillIsSentByTheKernelWhereItCanAndIsWholeInAnyCase: whatever opening its file once more comes to.
func TestAFillIsSentByTheKernelWhereItCanAndIsWholeInAnyCase(t *testing.T) {
	const size = 300_000
	data := randomBytes(size, 1)
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		opened func(File) (File, error)
		most   int64
		sent   bool
		files  int
	}{
		"it is the file":                {nil, 1 << 20, true, 1},
		"it can't be opened":            {func(file File) (File, error) { return nil, errors.Join(syscall.EMFILE, file.Close()) }, 1 << 20, false, 0},
		"it is no file of the system's": {func(file File) (File, error) { return file, nil }, 1 << 20, false, 0},
		"it is another one": {func(file File) (File, error) {
			other, err := os.Open(os.DevNull)
			return sentFile{&openedFile{File: osFile{other}, fs: file.(*openedFile).fs}, other}, errors.Join(err, file.(*openedFile).File.Close())
		}, 1 << 20, false, 0},
		"it can't be looked at": {func(file File) (File, error) {
			native, _ := osFileOf(file.(*openedFile).File)
			file.(*openedFile).stat = closed.Stat
			return sentFile{file, native}, nil
		}, 1 << 20, false, 0},
		"it can't be read from there on": {func(file File) (File, error) { return sentFile{file, closed}, nil }, 1 << 20, false, 0},
		"nothing comes of it":            {nil, 0, false, 1},
	} {
		for when, commit := range map[string]bool{"stored": true, "arriving": false} {
			disk := &openedFS{FS: OS(), opened: test.opened}
			s := openOn(t, disk, Limits{MaxSize: 1 << 30})
			f := s.begin(t, testKey("a"), FillSpec{Size: size})
			reader := f.follow(t)
			to := &receiver{most: test.most}
			var n int64
			want := int64(size)
			if commit {
				f.write(t, data)
				if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
					t.Fatal(err)
				}
				n, err = reader.WriteTo(to)
			} else {
				f.write(t, data[:200_000])
				want = 200_000
				ended, cancel := context.WithCancel(context.Background())
				cancel()
				reader.ctx = ended
				if n, err = reader.WriteTo(to); errors.Is(err, context.Canceled) {
					err = nil
				}
			}
			if n != want || err != nil || !bytes.Equal(to.Bytes(), data[:want]) || to.files != test.files {
				t.Errorf("%s, %s: %d bytes of %d, %v; %d files", name, when, n, want, err, to.files)
			}
			if test.sent && to.written != 0 {
				t.Errorf("%s, %s: %d bytes were copied", name, when, to.written)
			}
			if _, err := reader.Seek(0, io.SeekStart); err != nil {
				t.Error(err)
			}
			if n, err := reader.WriteTo(struct{ io.Writer }{new(bytes.Buffer)}); n != want || (commit && err != nil) {
				t.Errorf("%s, %s: %d bytes to who takes no files, %v", name, when, n, err)
			}
			if err := reader.Close(); err != nil {
				t.Error(err)
			}
			f.Abort(nil)
			if open := disk.open.Load(); open != 0 {
				t.Errorf("%s, %s: %d files are open", name, when, open)
			}
		}
	}
}

// TestTheEndOfAFileIsNotSentBeforeItIsStored: until then what is in the part is counted, and the file isn't handed on without a
// limit.
func TestTheEndOfAFileIsNotSentBeforeItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(300_000, 1)
		f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data))})
		reader := f.follow(t)
		f.write(t, data)
		to, ended := &receiver{most: 1 << 20}, make(chan error, 1)
		go func() { // ends with the fill
			_, err := reader.WriteTo(to)
			ended <- err
		}()
		synctest.Wait()
		if to.files != 0 || to.Len() != len(data)-heldBack {
			t.Errorf("%d bytes came, of %d files", to.Len(), to.files)
		}
		if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || !bytes.Equal(to.Bytes(), data) {
			t.Errorf("%d bytes, %v", to.Len(), err)
		}
	})
}

// TestAReaderHearsWhatBroke: the disk, of which the rest can come from elsewhere, or whoever takes the bytes, of whom the disk knows
// nothing.
func TestAReaderHearsWhatBroke(t *testing.T) {
	for name, test := range map[string]struct {
		readAt func(p []byte, offset int64) (int, error)
		want   error
		n      int
	}{
		"the disk fails":                {func([]byte, int64) (int, error) { return 0, syscall.EIO }, syscall.EIO, 0},
		"the part ends too early":       {func([]byte, int64) (int, error) { return 0, io.EOF }, io.ErrUnexpectedEOF, 0},
		"nothing comes":                 {func([]byte, int64) (int, error) { return 0, nil }, io.ErrUnexpectedEOF, 0},
		"the disk fails after one byte": {func([]byte, int64) (int, error) { return 1, syscall.EIO }, nil, 1},
	} {
		disk := &openedFS{FS: OS()}
		disk.made = func(file File) (File, error) {
			disk.open.Add(1)
			return &openedFile{File: file, fs: disk, readAt: test.readAt}, nil
		}
		s := openOn(t, disk, Limits{MaxSize: 1 << 30})
		f := s.begin(t, testKey("a"), FillSpec{Size: 300_000})
		f.write(t, make([]byte, 200_000))
		n, err := f.follow(t).Read(make([]byte, 10))
		if n != test.n || !errors.Is(err, test.want) || errors.Is(err, ErrDisk) != (test.want != nil) || (test.want == nil && err != nil) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		if test.want != nil {
			if n, err := f.follow(t).WriteTo(struct{ io.Writer }{io.Discard}); n != 0 || !errors.Is(err, test.want) || !errors.Is(err, ErrDisk) {
				t.Errorf("%s: %d bytes are copied, %v", name, n, err)
			}
		}
		f.Abort(nil)
	}
	for err, disk := range map[error]bool{syscall.EIO: true, syscall.EPIPE: false} {
		s := openStore(t, t.TempDir(), Limits{})
		f := s.begin(t, testKey("a"), FillSpec{Size: 300_000})
		f.write(t, make([]byte, 200_000))
		reader := f.follow(t)
		n, got := reader.WriteTo(&receiver{most: 1000, err: err})
		if n != 1000 || !errors.Is(got, err) || errors.Is(got, ErrDisk) != disk || s.counters.diskErrors.Load() != int64(b2i(disk)) {
			t.Errorf("%v: %d bytes, %v, and %d errors of the disk count", err, n, got, s.counters.diskErrors.Load())
		}
		f.Abort(nil)
	}
}

// lazyWriter takes fewer bytes than it is given.
type lazyWriter struct {
	most int
	err  error
}

func (w lazyWriter) Write(p []byte) (int, error) { return min(w.most, len(p)), w.err }

// TestWhoTakesLessThanIsGivenIsWhereTheyStopped: the next byte is the one that they didn't take.
func TestWhoTakesLessThanIsGivenIsWhereTheyStopped(t *testing.T) {
	for name, want := range map[string]error{"a writer that fails": errLine, "a writer that says nothing of it": io.ErrShortWrite} {
		for from, size := range map[int64]int64{0: 300_000, 290_000: 300_000} {
			s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(300_000, 1)
			f := s.begin(t, testKey("a"), FillSpec{Size: size})
			reader := f.follow(t)
			f.write(t, data)
			if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
				t.Fatal(err)
			}
			if _, err := reader.Seek(from, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			to := lazyWriter{most: 1000}
			if errors.Is(want, errLine) {
				to.err = errLine
			}
			if n, err := reader.WriteTo(to); n != 1000 || !errors.Is(err, want) {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
			if at, err := reader.Seek(0, io.SeekCurrent); err != nil || at != from+1000 {
				t.Errorf("%s: then at %d, %v", name, at, err)
			}
		}
	}
}

// TestAReaderThatIsClosedGivesNothing, and leaves its fill once.
func TestAReaderThatIsClosedGivesNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	f := s.begin(t, testKey("a"), FillSpec{Size: 300_000})
	f.write(t, make([]byte, 200_000))
	reader := f.follow(t)
	for range 2 {
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}
	if f.users != 1 {
		t.Errorf("%d use the file, and one writes it", f.users)
	}
	n, read := reader.Read(make([]byte, 10))
	sent, written := reader.WriteTo(io.Discard)
	if n != 0 || sent != 0 || !errors.Is(read, os.ErrClosed) || !errors.Is(written, os.ErrClosed) {
		t.Errorf("%d bytes, %v; %d bytes, %v", n, read, sent, written)
	}
	f.Abort(nil)
}

// TestAReaderGoesNowhereWhereNothingCanBe, and stays where it is.
func TestAReaderGoesNowhereWhereNothingCanBe(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	f := s.begin(t, testKey("a"), FillSpec{Size: -1})
	defer f.Abort(nil)
	reader := f.follow(t)
	if at, err := reader.Seek(5, io.SeekStart); at != 5 || err != nil {
		t.Errorf("at %d, %v", at, err)
	}
	for _, to := range []struct {
		offset int64
		whence int
	}{{-1, io.SeekStart}, {-6, io.SeekCurrent}, {0, io.SeekEnd}, {1, 3}} {
		if at, err := reader.Seek(to.offset, to.whence); at != 0 || err == nil {
			t.Errorf("%+v: at %d, %v", to, at, err)
		}
	}
	if at, err := reader.Seek(-5, io.SeekCurrent); at != 0 || err != nil {
		t.Errorf("at %d, %v", at, err)
	}
	empty := s.begin(t, testKey("empty"), FillSpec{Size: 0})
	defer empty.Abort(nil)
	if at, err := empty.follow(t).Seek(0, io.SeekEnd); at != 0 || err != nil {
		t.Errorf("the end of an empty file is at %d, %v", at, err)
	}
}

// TestOnlyThoseWhoLackBytesWaitForThem: what nobody waits for isn't told to anybody.
func TestOnlyThoseWhoLackBytesWaitForThem(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	f := s.begin(t, testKey("a"), FillSpec{Size: 300_000})
	f.write(t, make([]byte, 200_000))
	if _, grown := f.view(199_999); grown != nil || f.grown != nil {
		t.Error("who has bytes waits for some")
	}
	if _, grown := f.view(200_000); grown == nil {
		t.Error("who has none doesn't wait")
	}
	f.Abort(nil)
	if _, grown := f.view(200_000); grown != nil || f.grown != nil {
		t.Error("somebody waits for the bytes of what is over")
	}
}

// TestNoFileIsOpenedForASmallOneThatIsInMemory, nor is one read from there that broke off.
func TestNoFileIsOpenedForASmallOneThatIsInMemory(t *testing.T) {
	disk := &openedFS{FS: OS()}
	s, data := openOn(t, disk, Limits{MaxSize: 1 << 30}), randomBytes(1000, 1)
	f := s.begin(t, testKey("a"), FillSpec{Size: 1000})
	f.write(t, data)
	if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	to, before := &receiver{most: 1 << 20}, disk.times.Load()
	if n, err := f.follow(t).WriteTo(to); n != 1000 || err != nil || !bytes.Equal(to.Bytes(), data) || disk.times.Load() != before {
		t.Errorf("%d bytes, %v; opened %d times", n, err, disk.times.Load()-before)
	}
	broken := s.begin(t, testKey("b"), FillSpec{Size: 1000})
	broken.write(t, data)
	broken.Abort(errLine)
	if _, err := broken.NewReader(context.Background()); !errors.Is(err, ErrMiss) {
		t.Errorf("a reader of what broke off: %v", err)
	}
}
