package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ahead begins a part for a test that doesn't expect trouble.
func (f *Fill) ahead(t testing.TB, from, to int) *Ahead {
	t.Helper()
	a, err := f.Ahead(int64(from), int64(to))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *Ahead) write(t testing.TB, data []byte) {
	t.Helper()
	if n, err := a.Write(data); n != len(data) || err != nil {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
}

func (f *Fill) advance(t testing.TB) {
	t.Helper()
	if _, err := f.Advance(); err != nil {
		t.Fatal(err)
	}
}

func TestAPartAheadIsRefusedWhereItMayNotBe(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{UploadRoom: 8 << 20})
	f := s.begin(t, testKey("a"), FillSpec{Size: 200_000, Parts: true})
	f.write(t, make([]byte, 1000))
	f.ahead(t, 50_000, 60_000)
	closed := f.ahead(t, 100_000, 120_000)
	closed.write(t, make([]byte, 5000))
	closed.Close()
	empty := f.ahead(t, 150_000, 160_000)
	empty.Close()
	for _, test := range []struct {
		from, to int64
		want     error
	}{
		{1000, 50_000, nil},
		{60_000, 100_000, nil},
		{105_000, 110_000, nil},
		{140_000, 155_000, nil},
		{155_000, 200_000, nil},
		{999, 1001, ErrTaken},
		{40_000, 50_001, ErrTaken},
		{59_999, 70_000, ErrTaken},
		{50_000, 60_000, ErrTaken},
		{52_000, 53_000, ErrTaken},
		{40_000, 70_000, ErrTaken},
		{104_999, 110_000, ErrTaken},
	} {
		a, err := f.Ahead(test.from, test.to)
		if !errors.Is(err, test.want) || (a == nil) == (test.want == nil) {
			t.Errorf("from %d to %d: %v, not %v", test.from, test.to, err, test.want)
		}
		if a != nil {
			a.Close()
		}
	}
	for _, outside := range [][2]int64{{-1, 10}, {10, 10}, {20, 10}, {199_999, 200_001}} {
		if a, err := f.Ahead(outside[0], outside[1]); a != nil || err == nil || errors.Is(err, ErrTaken) {
			t.Errorf("from %d to %d: %v", outside[0], outside[1], err)
		}
	}
	f.Abort(errLine)
	if _, err := f.Ahead(150_000, 160_000); !errors.Is(err, errLine) {
		t.Errorf("of a fill that has ended: %v", err)
	}
	for name, spec := range map[string]FillSpec{
		"not begun for that": {Size: 200_000},
		"a copy":             {Size: 200_000, Parts: true, Copy: UnprovenUpload("192.0.2.1")},
	} {
		f := s.begin(t, testKey(name), spec)
		if _, err := f.Ahead(1000, 2000); !errors.Is(err, ErrInOrder) {
			t.Errorf("%s: %v", name, err)
		}
		f.Abort(nil)
	}
	f = s.begin(t, testKey("unknown"), FillSpec{Size: -1, Parts: true})
	defer f.Abort(nil)
	if a, err := f.Ahead(1000, 2000); a != nil || err == nil {
		t.Errorf("of a file of unknown length: %v", err)
	}
	f.write(t, make([]byte, 200_000))
	if until := f.ArrivedUntil(0); until != 200_000-heldBack {
		t.Errorf("of a file of unknown length %d bytes may be read", until)
	}
}

// TestAWriterStopsWhereItMeetsAPart, and goes on behind it.
func TestAWriterStopsWhereItMeetsAPart(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(200_000, 1)
	f := s.begin(t, testKey("a"), FillSpec{Size: 200_000, Parts: true})
	defer f.Abort(nil)
	a := f.ahead(t, 10_000, 20_000)
	meets := func(p []byte, want int) {
		t.Helper()
		if n, err := f.Write(p); n != want || !errors.Is(err, ErrTaken) {
			t.Errorf("it writes %d bytes of %d, not %d: %v", n, len(p), want, err)
		}
	}
	f.write(t, data[:9000])
	meets(data[9000:30_000], 1000)
	meets(data[10_000:30_000], 0)
	a.write(t, data[10_000:15_000])
	meets(data[10_000:30_000], 0)
	f.advance(t)
	if at := f.Written(); at != 15_000 {
		t.Errorf("it is at %d", at)
	}
	meets(data[15_000:30_000], 0)
	a.Close()
	f.write(t, data[15_000:])
	if _, err := f.Commit(s.Generation(testKey("a"))); err != nil || !bytes.Equal(s.content(t, testKey("a")), data) {
		t.Errorf("committed with %v", err)
	}
}

// TestAPartThatGoesOnPastItsEndEndsTheFill, as a body does that goes on past its length.
func TestAPartThatGoesOnPastItsEndEndsTheFill(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	f := s.begin(t, testKey("a"), FillSpec{Size: 200_000, Parts: true})
	reader := f.follow(t)
	a, other := f.ahead(t, 10_000, 20_000), f.ahead(t, 20_000, 30_000)
	a.write(t, make([]byte, 10_000))
	if n, err := a.Write(make([]byte, 1)); n != 0 || !errors.Is(err, ErrTooLong) {
		t.Errorf("it takes %d bytes, %v", n, err)
	}
	if _, err := other.Write(make([]byte, 1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("another part: %v", err)
	}
	if _, err := f.Write(make([]byte, 1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("its writer: %v", err)
	}
	if advanced, err := f.Advance(); advanced || !errors.Is(err, ErrTooLong) {
		t.Errorf("its writer, taking in: %v, %v", advanced, err)
	}
	if n, err := reader.Read(make([]byte, 1)); n != 0 || !errors.Is(err, ErrTooLong) {
		t.Errorf("a reader: %d bytes, %v", n, err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	s.checkBytes(t, "afterwards")
}

// TestTheEndThatComesFirstWaitsInMemory: none of it is in the part, or read, before the sum is compared.
func TestTheEndThatComesFirstWaitsInMemory(t *testing.T) {
	const size = 300_000
	s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(size, 1)
	f := s.begin(t, testKey("a"), FillSpec{Size: size, Parts: true})
	first, last := f.ahead(t, size-heldBack-1000, size-30_000), f.ahead(t, size-30_000, size)
	last.write(t, data[size-30_000:])
	if use := diskUse(t, s.dir); use != 0 || f.onDisk != 0 {
		t.Errorf("%d bytes are on the disk, %d are counted", use, f.onDisk)
	}
	first.write(t, data[size-heldBack-1000:size-30_000])
	if use := diskUse(t, s.dir); use != size-heldBack || f.onDisk != 1000 {
		t.Errorf("the part is %d bytes long, and %d are counted", use, f.onDisk)
	}
	if len(f.end) != heldBack {
		t.Errorf("%d bytes are in memory", len(f.end))
	}
	for _, at := range []int64{size - heldBack, size - 30_000, size - 1, size} {
		if until := f.ArrivedUntil(at); until != at {
			t.Errorf("from %d on the end may be read up to %d", at, until)
		}
	}
	if until := f.ArrivedUntil(size - heldBack - 1000); until != size-heldBack {
		t.Errorf("what comes before the end may be read up to %d", until)
	}
	f.write(t, data[:size-heldBack-1000])
	f.advance(t)
	if f.Written() != size {
		t.Errorf("it is at %d", f.Written())
	}
	reader := f.follow(t)
	if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	if until := f.ArrivedUntil(0); until != size {
		t.Errorf("of the whole file %d bytes may be read", until)
	}
	if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, data) || !bytes.Equal(s.content(t, testKey("a")), data) {
		t.Errorf("a reader got %d bytes, %v", len(got), err)
	}
}

// TestWhoReadsAheadWaitsAtTheEndOfWhatIsThere, and hears of what comes there, whoever brings it.
func TestWhoReadsAheadWaitsAtTheEndOfWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(300_000, 1)
		f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data)), Parts: true})
		defer f.Abort(nil)
		reader := f.follow(t)
		if _, err := reader.Seek(100_000, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex // guards got
		var got []byte
		var reading sync.WaitGroup
		// Ends with the fill.
		reading.Go(func() {
			_, err := io.Copy(writerFunc(func(p []byte) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, p...)
			}), reader)
			if !errors.Is(err, errLine) {
				t.Errorf("the reader ends with %v", err)
			}
		})
		has := func(when string, until int) {
			t.Helper()
			synctest.Wait()
			time.Sleep(announceDelay)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !bytes.Equal(got, data[100_000:until]) {
				t.Errorf("%s: the reader has %d bytes, not %d", when, len(got), until-100_000)
			}
		}
		has("nothing is there", 100_000)
		far := f.ahead(t, 200_000, 210_000)
		far.write(t, data[200_000:210_000])
		f.write(t, data[:1000])
		has("something is elsewhere", 100_000)
		a := f.ahead(t, 90_000, 120_000)
		a.write(t, data[90_000:95_000])
		has("a part has begun", 100_000)
		a.write(t, data[95_000:110_000])
		has("its bytes come", 110_000)
		a.write(t, data[110_000:110_001])
		has("another byte", 110_001)
		a.Close()
		has("its writer gave up", 110_001)
		next := f.ahead(t, 110_001, 200_000)
		next.write(t, data[110_001:150_000])
		has("another goes on", 150_000)
		next.write(t, data[150_000:200_000])
		has("it reaches what is there", 210_000)
		f.ahead(t, 210_000, 300_000).write(t, data[210_000:])
		has("all is there", 300_000-heldBack)
		f.write(t, data[1000:90_000])
		f.advance(t)
		has("all is taken in", 300_000-heldBack)
		f.Abort(errLine)
		reading.Wait()
	})
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// TestAWriterWaitsForWhatItCanTakeIn, and not where nobody brings it.
func TestAWriterWaitsForWhatItCanTakeIn(t *testing.T) {
	gone := errors.New("gone")
	for name, test := range map[string]struct {
		happens func(f *Fill, a *Ahead, cancel context.CancelCauseFunc)
		want    error
	}{
		"bytes come":          {func(_ *Fill, a *Ahead, _ context.CancelCauseFunc) { _, _ = a.Write(make([]byte, 1)) }, nil},
		"its writer gives up": {func(_ *Fill, a *Ahead, _ context.CancelCauseFunc) { a.Close() }, ErrGap},
		"the fill ends":       {func(f *Fill, _ *Ahead, _ context.CancelCauseFunc) { f.Abort(errLine) }, errLine},
		"nobody waits":        {func(_ *Fill, _ *Ahead, cancel context.CancelCauseFunc) { cancel(gone) }, gone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openStore(t, t.TempDir(), Limits{})
				f := s.begin(t, testKey("a"), FillSpec{Size: 300_000, Parts: true})
				defer f.Abort(nil)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				a, other := f.ahead(t, 1000, 2000), f.ahead(t, 5000, 6000)
				if err := f.AwaitAhead(ctx); !errors.Is(err, ErrGap) {
					t.Errorf("before a part: %v", err)
				}
				f.write(t, make([]byte, 1000))
				woken := make(chan error, 1)
				// Ends with what happens.
				go func() { woken <- f.AwaitAhead(ctx) }()
				synctest.Wait()
				other.write(t, make([]byte, 1000))
				synctest.Wait()
				select {
				case err := <-woken:
					t.Errorf("it was woken for nothing: %v", err)
					return
				default:
				}
				test.happens(f, a, cancel)
				if err := <-woken; !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
					t.Errorf("it ends with %v, not %v", err, test.want)
				}
			})
		})
	}
}

// TestAFillByPartsIsSentByTheKernelOnlyOnceItIsWhole: before, the part's length says nothing of what may be read.
func TestAFillByPartsIsSentByTheKernelOnlyOnceItIsWhole(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(300_000, 1)
	f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data)), Parts: true})
	reader := f.follow(t)
	f.ahead(t, 150_000, 300_000).write(t, data[150_000:])
	f.write(t, data[:100_000])
	to := &receiver{most: 1 << 20}
	reader.ctx = endedContext()
	if n, err := reader.WriteTo(to); n != 100_000 || !errors.Is(err, context.Canceled) || to.files != 0 || !bytes.Equal(to.Bytes(), data[:100_000]) {
		t.Errorf("%d bytes of %d files, %v", n, to.files, err)
	}
	f.write(t, data[100_000:150_000])
	f.advance(t)
	if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.WriteTo(to); err != nil || to.files != 1 || !bytes.Equal(to.Bytes(), data) {
		t.Errorf("%d bytes of %d files, %v", to.Len(), to.files, err)
	}
}

// TestAFillOfWhichNoMorePartsComeIsSentByTheKernelOnceItHasNoHoles.
func TestAFillOfWhichNoMorePartsComeIsSentByTheKernelOnceItHasNoHoles(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(300_000, 1)
	sent := func(when string, f *Fill, bytes, files int) {
		t.Helper()
		to, reader := &receiver{most: 1 << 20}, f.follow(t)
		reader.ctx = endedContext()
		if n, err := reader.WriteTo(to); n != int64(bytes) || !errors.Is(err, context.Canceled) || to.files != files {
			t.Errorf("%s: %d bytes of %d files, %v", when, n, to.files, err)
		}
	}
	f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data)), Parts: true})
	f.write(t, data[:100_000])
	sent("there may be parts", f, 100_000, 0)
	f.EndParts()
	sent("there will be none", f, 100_000, 1)
	if _, err := f.Ahead(200_000, 300_000); !errors.Is(err, ErrInOrder) {
		t.Errorf("a part begins: %v", err)
	}
	f.Abort(nil)

	f = s.begin(t, testKey("b"), FillSpec{Size: int64(len(data)), Parts: true})
	defer f.Abort(nil)
	a := f.ahead(t, 120_000, 150_000)
	a.write(t, data[120_000:130_000])
	f.EndParts()
	if _, err := f.Ahead(200_000, 300_000); !errors.Is(err, ErrInOrder) {
		t.Errorf("another part begins: %v", err)
	}
	f.write(t, data[:120_000])
	sent("one is there", f, 130_000, 0)
	a.write(t, data[130_000:150_000])
	f.advance(t)
	sent("it is taken in", f, 150_000, 1)
}

// TestAFillThatIsLeftWithAPartIsNotSentByTheKernelWhenThatIsClosed: the next fill may have holes by then.
func TestAFillThatIsLeftWithAPartIsNotSentByTheKernelWhenThatIsClosed(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{}), randomBytes(300_000, 1)
	s.beginnings.least = 1000
	f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data)), Parts: true})
	a := f.ahead(t, 150_000, 160_000)
	a.write(t, data[150_000:155_000])
	f.EndParts()
	f.write(t, data[:100_000])
	reader := f.follow(t)
	f.Leave(errLine, nil)
	a.Close()
	next, err := s.Continue(s.mustTake(t, testKey("a")), s.Generation(testKey("a")), f.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Abort(nil)
	next.ahead(t, 200_000, 210_000).write(t, data[200_000:210_000])
	to := &receiver{most: 1 << 20}
	if n, err := reader.WriteTo(to); n != 100_000 || !errors.Is(err, errLine) || to.files != 0 {
		t.Errorf("%d bytes of %d files, %v", n, to.files, err)
	}
}

// TestReadersWhoCopyShareTheirMemory: no more than so many have a large piece each.
func TestReadersWhoCopyShareTheirMemory(t *testing.T) {
	taken := copyBuffersTaken.Load()
	var nest func(depth int)
	nest = func(depth int) {
		n, err := withCopyBuffer(func(buffer []byte) (int64, error) {
			want := copyPiece
			if depth >= maxCopyBuffers {
				want = smallCopyPiece
			}
			if len(buffer) != want {
				t.Errorf("reader %d has %d bytes", depth, len(buffer))
			}
			if depth < maxCopyBuffers+2 {
				nest(depth + 1)
			}
			return int64(depth), errLine
		})
		if n != int64(depth) || !errors.Is(err, errLine) {
			t.Errorf("%d, %v", n, err)
		}
	}
	nest(0)
	if now := copyBuffersTaken.Load(); now != taken {
		t.Errorf("%d buffers are taken", now-taken)
	}
}
