package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// begin starts a fill for a test that doesn't expect trouble.
func (s *Store) begin(t testing.TB, k Key, spec FillSpec) *Fill {
	t.Helper()
	f, err := s.Begin(k, s.Generation(k), spec)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *Fill) follow(t testing.TB) *FillReader {
	t.Helper()
	reader, err := f.NewReader(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

func (f *Fill) write(t testing.TB, data []byte) {
	t.Helper()
	if n, err := f.Write(data); n != len(data) || err != nil {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
}

// TestAReaderIsSentTheFileByTheKernelAndStopsWhereItMust follows a fill over a real connection, whose ReadFrom takes the
// file itself.
func TestAReaderIsSentTheFileByTheKernelAndStopsWhereItMust(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	for _, size := range []int64{1 << 20, -1} {
		data := randomBytes(1<<20, 3)
		f := s.begin(t, testKey("a"), FillSpec{Size: size})
		reader := f.follow(t)
		here, there := connection(t)
		var sending sync.WaitGroup
		// Ends with the fill.
		sending.Go(func() {
			n, err := reader.WriteTo(here)
			if n != int64(len(data)) || err != nil {
				t.Errorf("sent %d bytes, %v", n, err)
			}
			if reader.own == nil {
				t.Error("the file itself was never sent")
			}
			_ = here.Close()
		})
		f.write(t, data[:500_000])
		expect(t, there, data[:500_000-heldBack*b2i(size < 0)])
		f.write(t, data[500_000:])
		expect(t, there, data[500_000-heldBack*b2i(size < 0):len(data)-heldBack])
		if err := there.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if n, err := there.Read(make([]byte, 1)); n != 0 {
			t.Errorf("the end was sent before it was known to be right: %v", err)
		}
		if err := there.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
			t.Fatal(err)
		}
		expect(t, there, data[len(data)-heldBack:])
		sending.Wait()
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func connection(t *testing.T) (here, there net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	there, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

func expect(t *testing.T, from io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("received %d of %d bytes or others, %v", n, len(want), err)
	}
}

func TestAReaderWhoseContextEndsStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Fill{spec: FillSpec{Size: 100}, users: 1, done: make(chan struct{})}
		ctx, cancel := context.WithCancelCause(context.Background())
		reader, err := f.NewReader(ctx)
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() {
			_, err := reader.Read(make([]byte, 1))
			failed <- err
		}()
		synctest.Wait() // it waits for a byte
		gone := errors.New("gone")
		cancel(gone)
		if err := <-failed; !errors.Is(err, gone) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestALateReaderGetsAllThatIsThere(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(300_000, 1)
	f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data))})
	first := f.follow(t)
	f.write(t, data)
	late := f.follow(t)
	if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	later := f.follow(t) // the file is open as long as anybody reads
	for _, reader := range []*FillReader{first, late, later} {
		if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if at, err := reader.Seek(-1000, io.SeekEnd); err != nil || at != int64(len(data)-1000) {
			t.Errorf("at %d, %v", at, err)
		}
		if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, data[len(data)-1000:]) {
			t.Errorf("read %d bytes from near the end, %v", len(got), err)
		}
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.NewReader(context.Background()); !errors.Is(err, ErrMiss) {
		t.Errorf("following what is over and closed: %v", err)
	}
}

func TestABodyThatGoesOnPastItsLengthIsAnError(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	f := s.begin(t, testKey("a"), FillSpec{Size: 10})
	reader := f.follow(t)
	if _, err := f.Write(make([]byte, 11)); !errors.Is(err, ErrTooLong) {
		t.Errorf("written with %v", err)
	}
	if got, err := io.ReadAll(reader); !errors.Is(err, ErrTooLong) || len(got) > 0 {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, err := f.Result(); !errors.Is(err, ErrTooLong) {
		t.Errorf("the result is %v", err)
	}
}

func TestCloseEndsFillsAndKeepsWhatIsWhole(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	s.put(t, testKey("whole"), randomBytes(1000, 1))
	f := s.begin(t, testKey("running"), FillSpec{Size: 200_000})
	reader := f.follow(t)
	f.write(t, randomBytes(100_000, 2))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(reader); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrDisk) || len(got) != 100_000 {
		t.Errorf("the reader got %d bytes, %v", len(got), err)
	}
	if _, err := f.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("written with %v", err)
	}
	if _, err := s.Lookup(testKey("whole")); !errors.Is(err, ErrClosed) {
		t.Errorf("looked up with %v", err)
	}
	s = openStore(t, dir, Limits{})
	if s.content(t, testKey("whole")) == nil {
		t.Error("what was whole is lost")
	}
}

func TestAbortIsSafeAtAnyTime(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30})
	for i := range 50 {
		f := s.begin(t, testKey("a"), FillSpec{Size: -1})
		var both sync.WaitGroup
		both.Go(func() {
			for {
				if _, err := f.Write(make([]byte, 70_000)); err != nil {
					return
				}
				if f.Written() > 1<<20 {
					_, _ = f.Commit(s.Generation(testKey("a")))
					return
				}
			}
		})
		both.Go(func() {
			for f.Written() < int64(i)*20_000 && f.Err() == nil {
				select {
				case <-f.Done():
					return
				default:
				}
			}
			f.Abort(nil)
		})
		both.Wait()
		<-f.Done()
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s.space.reserved != 0 || s.space.lingering != 0 || s.space.unwritten != 0 || s.Stats().Bytes != diskUse(t, s.dir) {
		t.Errorf("left over: %+v with %d on the disk", s.space, diskUse(t, s.dir))
	}
}
