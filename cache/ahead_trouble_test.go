package cache

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
)

// partFS stands before what is done to parts. Each function is nil until it is to do something.
type partFS struct {
	FS
	beforeWrite, beforeRead func(offset int64) error
	beforeTruncate          func() error
	closed                  atomic.Int64
}

type partFile struct {
	File
	fs *partFS
}

func (f *partFS) Create(path string) (File, error) {
	file, err := f.FS.Create(path)
	if err != nil {
		return nil, err
	}
	return &partFile{file, f}, nil
}

func (f *partFile) WriteAt(p []byte, offset int64) (int, error) {
	if before := f.fs.beforeWrite; before != nil {
		if err := before(offset); err != nil {
			n, _ := f.File.WriteAt(p[:len(p)/2], offset)
			return n, err
		}
	}
	return f.File.WriteAt(p, offset)
}

func (f *partFile) ReadAt(p []byte, offset int64) (int, error) {
	if before := f.fs.beforeRead; before != nil {
		if err := before(offset); err != nil {
			return 0, err
		}
	}
	return f.File.ReadAt(p, offset)
}

func (f *partFile) Truncate(size int64) error {
	if before := f.fs.beforeTruncate; before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	return f.File.Truncate(size)
}

func (f *partFile) Close() error {
	f.fs.closed.Add(1)
	return f.File.Close()
}

// TestAFillIsLeftOnlyWhenNobodyWritesInItAnyMore: what a former part still wrote would be in the way of the next fill's.
func TestAFillIsLeftOnlyWhenNobodyWritesInItAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, data := &partFS{FS: OS()}, randomBytes(400_000, 1)
		s, k, spec := openOn(t, disk, Limits{MaxSize: 1 << 30}), testKey("a"), FillSpec{Size: 400_000, Parts: true}
		s.beginnings.least = 1000
		f := s.begin(t, k, spec)
		f.write(t, data[:10_000])
		a := f.ahead(t, 200_000, 300_000)
		a.write(t, data[200_000:250_000])
		goesOn := make(chan struct{})
		disk.beforeWrite = func(int64) error {
			<-goesOn
			return nil
		}
		wrote, left := make(chan error, 1), make(chan bool, 1)
		// Both end when the disk goes on.
		go func() {
			_, err := a.Write(make([]byte, 50_000)) // others than the file's
			wrote <- err
		}()
		synctest.Wait()
		go func() { left <- f.Leave(errLine, nil) }()
		synctest.Wait()
		select {
		case <-left:
			t.Error("it is left while somebody writes in it")
		default:
		}
		close(goesOn)
		if err := <-wrote; !errors.Is(err, errLine) {
			t.Errorf("the part ends with %v", err)
		}
		if !<-left {
			t.Fatal("nothing is kept")
		}
		s.checkBytes(t, "left")
		if use := diskUse(t, s.dir); use != 10_000 {
			t.Errorf("%d bytes are kept", use)
		}
		disk.beforeWrite = nil
		next, err := s.Continue(s.mustTake(t, k), s.Generation(k), spec)
		if err != nil {
			t.Fatal(err)
		}
		b := next.ahead(t, 200_000, 400_000)
		b.write(t, data[200_000:])
		if until := next.ArrivedUntil(10_000); until != 10_000 {
			t.Errorf("the next fill has bytes up to %d", until)
		}
		next.write(t, data[10_000:200_000])
		next.advance(t)
		if _, err := next.Commit(s.Generation(k)); err != nil || !bytes.Equal(s.content(t, k), data) {
			t.Errorf("committed with %v", err)
		}
		s.checkBytes(t, "stored")
	})
}

// TestWhoReadsAheadGetsNoHoleOfTheFillThatGoesOn: what it reads is cut off, and begun anew, just then.
func TestWhoReadsAheadGetsNoHoleOfTheFillThatGoesOn(t *testing.T) {
	for name, goesOn := range map[string]bool{"it is cut off": false, "and the next fill has a hole there": true} {
		disk, data := &partFS{FS: OS()}, randomBytes(400_000, 1)
		s, k, spec := openOn(t, disk, Limits{MaxSize: 1 << 30}), testKey("a"), FillSpec{Size: 400_000, Parts: true}
		s.beginnings.least = 1000
		f := s.begin(t, k, spec)
		f.write(t, data[:10_000])
		f.ahead(t, 100_000, 200_000).write(t, data[100_000:200_000])
		reader := f.follow(t)
		if _, err := reader.Seek(150_000, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var next *Fill
		disk.beforeRead = func(int64) error {
			disk.beforeRead = nil
			if !f.Leave(errLine, nil) {
				t.Error("nothing is kept")
			}
			if goesOn {
				var err error
				if next, err = s.Continue(s.mustTake(t, k), s.Generation(k), spec); err != nil {
					t.Fatal(err)
				}
				next.ahead(t, 300_000, 330_000).write(t, data[300_000:330_000])
			}
			return nil
		}
		if n, err := reader.Read(make([]byte, 1000)); n != 0 || !errors.Is(err, errLine) || s.counters.diskErrors.Load() != 0 {
			t.Errorf("%s: the reader gets %d bytes, %v", name, n, err)
		}
		if next != nil {
			next.Abort(nil)
		}
	}
}

// TestWhatTheWriterIsWritingIsNoPart, up to the next part, where it stops.
func TestWhatTheWriterIsWritingIsNoPart(t *testing.T) {
	disk := &partFS{FS: OS()}
	s := openOn(t, disk, Limits{MaxSize: 1 << 30})
	f := s.begin(t, testKey("a"), FillSpec{Size: 400_000, Parts: true})
	defer f.Abort(nil)
	f.ahead(t, 50_000, 60_000)
	for _, test := range []struct{ writes, claims, wrote int }{{10_000, 10_000, 10_000}, {90_000, 50_000, 40_000}} {
		disk.beforeWrite = func(int64) error {
			for _, from := range []int64{f.written, f.written + 1, int64(test.claims) - 1} {
				if _, err := f.Ahead(from, from+1); !errors.Is(err, ErrTaken) {
					t.Errorf("a part from %d on, while the writer writes up to %d: %v", from, test.claims, err)
				}
			}
			if test.claims < 50_000 {
				f.ahead(t, test.claims, test.claims+1).Close()
			}
			return nil
		}
		if n, err := f.Write(make([]byte, test.writes)); n != test.wrote || (err != nil) != (n < test.writes) {
			t.Errorf("it writes %d bytes of %d, %v", n, test.writes, err)
		}
	}
}

// TestAPartThatCantBeCutOffIsNoBeginning.
func TestAPartThatCantBeCutOffIsNoBeginning(t *testing.T) {
	disk := &partFS{FS: OS(), beforeTruncate: func() error { return syscall.EIO }}
	s, k := openOn(t, disk, Limits{MaxSize: 1 << 30}), testKey("a")
	s.beginnings.least = 1000
	for _, ahead := range []bool{true, false} {
		f := s.begin(t, k, FillSpec{Size: 400_000, Parts: true})
		f.write(t, make([]byte, 10_000))
		if ahead {
			f.ahead(t, 200_000, 300_000).write(t, make([]byte, 10_000))
		}
		if kept := f.Leave(errLine, nil); kept == ahead || !errors.Is(f.Err(), errLine) {
			t.Errorf("with parts ahead: %v, kept: %v, %v", ahead, kept, f.Err())
		}
		s.checkBytes(t, "left")
		if errs := s.counters.diskErrors.Load(); errs != 1 {
			t.Errorf("%d errors of the disk", errs)
		}
	}
	s.mustTake(t, k).Drop()
	if use := diskUse(t, s.dir); use != 0 || s.space.lingering != 0 {
		t.Errorf("%d bytes are on the disk, %d linger", use, s.space.lingering)
	}
}

// TestAPartIsNotWrittenToAFileThatIsClosed: its fill is ended, and nobody reads it, while the disk takes its time.
func TestAPartIsNotWrittenToAFileThatIsClosed(t *testing.T) {
	disk := &partFS{FS: OS()}
	s := openOn(t, disk, Limits{MaxSize: 1 << 30})
	f := s.begin(t, testKey("a"), FillSpec{Size: 400_000, Parts: true})
	a := f.ahead(t, 200_000, 300_000)
	a.write(t, make([]byte, 1000))
	disk.beforeWrite = func(int64) error {
		disk.beforeWrite = nil
		f.Abort(errLine)
		if disk.closed.Load() != 1 {
			t.Error("it isn't closed; the test shows nothing")
		}
		return nil
	}
	if n, err := a.Write(make([]byte, 1000)); n != 0 || !errors.Is(err, errLine) {
		t.Errorf("it takes %d bytes, %v", n, err)
	}
	if n := s.counters.diskErrors.Load(); n != 0 {
		t.Errorf("%d errors of the disk", n)
	}
	a.Close()
	s.checkBytes(t, "afterwards")
	if s.space.lingering != 0 || s.space.unwritten != 0 {
		t.Errorf("left over: %+v", s.space)
	}
}

// TestAFillThatEndsWhileItsWriterTakesInTakesInNothing, be its file open still or not.
func TestAFillThatEndsWhileItsWriterTakesInTakesInNothing(t *testing.T) {
	for name, reads := range map[string]bool{"somebody reads it": true, "nobody reads it": false} {
		disk := &partFS{FS: OS()}
		s := openOn(t, disk, Limits{MaxSize: 1 << 30})
		f := s.begin(t, testKey("a"), FillSpec{Size: 400_000, Parts: true})
		if reads {
			f.follow(t)
		}
		f.ahead(t, 0, 300_000).write(t, make([]byte, 300_000))
		disk.beforeRead = func(int64) error {
			f.Abort(errLine)
			return nil
		}
		if advanced, err := f.Advance(); advanced || !errors.Is(err, errLine) || f.Written() != 0 {
			t.Errorf("%s: advanced: %v, %v, at %d", name, advanced, err, f.Written())
		}
		if n := s.counters.diskErrors.Load(); n != 0 {
			t.Errorf("%s: %d errors of the disk", name, n)
		}
	}
}

// TestAPartThatGoesOnWhileTheFileIsCommittedChangesNothing: all of the file is there, and right.
func TestAPartThatGoesOnWhileTheFileIsCommittedChangesNothing(t *testing.T) {
	disk, data := &partFS{FS: OS()}, randomBytes(200_000, 1)
	s := openOn(t, disk, Limits{MaxSize: 1 << 30})
	f := s.begin(t, testKey("a"), FillSpec{Size: 200_000, Parts: true})
	a := f.ahead(t, 0, 200_000)
	a.write(t, data)
	f.advance(t)
	disk.beforeWrite = func(int64) error { // of the end
		if _, err := a.Write(make([]byte, 1)); !errors.Is(err, ErrTooLong) {
			t.Errorf("it takes more: %v", err)
		}
		return nil
	}
	if _, err := f.Commit(s.Generation(testKey("a"))); err != nil || f.Err() != nil || !bytes.Equal(s.content(t, testKey("a")), data) {
		t.Errorf("committed with %v, ended with %v", err, f.Err())
	}
	s.checkBytes(t, "stored")
}

// TestADiskThatIsFullForAPartHasOthersLeave, as for what comes in order.
func TestADiskThatIsFullForAPartHasOthersLeave(t *testing.T) {
	disk, data := &partFS{FS: OS()}, randomBytes(200_000, 1)
	s := openOn(t, disk, Limits{MaxSize: 1 << 30})
	s.put(t, testKey("old"), randomBytes(100_000, 2))
	f := s.begin(t, testKey("a"), FillSpec{Size: 200_000, Parts: true})
	disk.beforeWrite = func(int64) error {
		if s.counters.freedBytes.Load() == 0 {
			return syscall.ENOSPC
		}
		return nil
	}
	a := f.ahead(t, 100_000, 200_000)
	a.write(t, data[100_000:])
	f.write(t, data[:100_000])
	f.advance(t)
	if f.onDisk != 200_000-heldBack {
		t.Errorf("%d bytes count as written", f.onDisk)
	}
	if _, err := f.Commit(s.Generation(testKey("a"))); err != nil || !bytes.Equal(s.content(t, testKey("a")), data) {
		t.Errorf("committed with %v", err)
	}
	if _, err := s.Lookup(testKey("old")); !errors.Is(err, ErrMiss) {
		t.Errorf("what was used least recently is there: %v", err)
	}
}

// TestADiskThatFailsUnderAPartSendsReadersElsewhere, with the bytes that are right.
func TestADiskThatFailsUnderAPartSendsReadersElsewhere(t *testing.T) {
	for name, fails := range map[string]func(disk *partFS, f *Fill, a *Ahead) error{
		"it writes": func(disk *partFS, _ *Fill, a *Ahead) error {
			disk.beforeWrite = func(int64) error { return syscall.EIO }
			_, err := a.Write(make([]byte, 1000))
			return err
		},
		"it reads back": func(disk *partFS, f *Fill, _ *Ahead) error {
			disk.beforeRead = func(offset int64) error {
				if offset == 10_000 {
					return syscall.EIO
				}
				return nil
			}
			advanced, err := f.Advance()
			if advanced {
				t.Error("it is taken in")
			}
			return err
		},
		"it has less than it took": func(_ *partFS, f *Fill, _ *Ahead) error {
			if err := f.file.Truncate(15_000); err != nil {
				t.Error(err)
			}
			_, err := f.Advance()
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("taken in with %v", err)
			}
			return errors.Join(err, syscall.EIO)
		},
	} {
		disk, data := &partFS{FS: OS()}, randomBytes(400_000, 1)
		s := openOn(t, disk, Limits{MaxSize: 1 << 30})
		f := s.begin(t, testKey("a"), FillSpec{Size: 400_000, Parts: true})
		reader := f.follow(t)
		a := f.ahead(t, 10_000, 30_000)
		a.write(t, data[10_000:20_000])
		f.write(t, data[:10_000])
		if err := fails(disk, f, a); !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", name, err)
		}
		disk.beforeRead, disk.beforeWrite = nil, nil
		got := make([]byte, 10_000)
		if _, err := io.ReadFull(reader, got); err != nil || !bytes.Equal(got, data[:10_000]) {
			t.Errorf("%s: what was right can't be read: %v", name, err)
		}
		if _, err := io.Copy(io.Discard, reader); !errors.Is(err, ErrDisk) {
			t.Errorf("%s: the reader ends with %v", name, err)
		}
		if _, err := f.Commit(s.Generation(testKey("a"))); !errors.Is(err, ErrDisk) {
			t.Errorf("%s: committed with %v", name, err)
		}
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
		s.checkBytes(t, name)
	}
}

// TestAFillGoesOnByPartsOnlyWhereNobodyIsSentTheFormerOneToItsEnd: a hole would be sent, too.
func TestAFillGoesOnByPartsOnlyWhereNobodyIsSentTheFormerOneToItsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		former  FillSpec
		arrived int
		reads   bool
		want    error
	}{
		"the former had no parts":              {FillSpec{Size: 400_000}, 200_000, false, nil},
		"nor any, and is read":                 {FillSpec{Size: 400_000}, 200_000, true, ErrInOrder},
		"it had parts, and is read":            {FillSpec{Size: 400_000, Parts: true}, 200_000, true, nil},
		"its length wasn't known":              {FillSpec{Size: -1}, 200_000, false, nil},
		"its length wasn't known, and is near": {FillSpec{Size: -1}, 380_000, false, nil},
		"it was thought to be another file":    {FillSpec{Size: 500_000, Parts: true}, 200_000, false, ErrInOrder},
	} {
		t.Run(name, func(t *testing.T) {
			s, k, data := openStore(t, t.TempDir(), Limits{}), testKey("a"), randomBytes(400_000, 1)
			s.beginnings.least = 1000
			f := s.begin(t, k, test.former)
			if test.reads {
				reader := f.follow(t)
				defer reader.Close()
			}
			f.write(t, data[:test.arrived])
			f.Leave(errLine, nil)
			spec := FillSpec{Size: 400_000, Parts: true}
			next, err := s.Continue(s.mustTake(t, k), s.Generation(k), spec)
			if err != nil {
				t.Fatal(err)
			}
			a, err := next.Ahead(390_000, 400_000)
			if !errors.Is(err, test.want) || (a == nil) == (test.want == nil) {
				t.Errorf("a part ahead: %v", err)
			}
			if a != nil {
				a.write(t, data[390_000:])
				b := next.ahead(t, 385_000, 390_000)
				b.write(t, data[385_000:390_000])
			}
			if next.flushed > next.heldFrom() || next.Written() != int64(test.arrived) {
				t.Errorf("%d bytes are in the part, of %d", next.flushed, next.Written())
			}
			if n, err := next.Write(data[test.arrived:]); !errors.Is(err, ErrTaken) != (a == nil) {
				t.Errorf("%d bytes, %v", n, err)
			}
			next.advance(t)
			if _, err := next.Commit(s.Generation(k)); err != nil || !bytes.Equal(s.content(t, k), data) {
				t.Errorf("committed with %v", err)
			}
			s.checkBytes(t, "stored")
		})
	}
}

// TestAFillThatGoesOnHasPartsOnlyIfItIsBegunForThem, and knows its length.
func TestAFillThatGoesOnHasPartsOnlyIfItIsBegunForThem(t *testing.T) {
	for name, spec := range map[string]FillSpec{"in order": {Size: 400_000}, "of unknown length": {Size: -1, Parts: true}} {
		s, k, data := openStore(t, t.TempDir(), Limits{}), testKey("a"), randomBytes(400_000, 1)
		s.beginnings.least = 1000
		s.breakOff(t, k, FillSpec{Size: spec.Size}, data[:200_000])
		f, err := s.Continue(s.mustTake(t, k), s.Generation(k), spec)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := f.Ahead(300_000, 310_000); a != nil || (spec.Size > 0 && !errors.Is(err, ErrInOrder)) {
			t.Errorf("%s: a part begins: %v", name, err)
		}
		f.write(t, data[200_000:])
		if until := f.ArrivedUntil(0); until != 400_000-heldBack {
			t.Errorf("%s: %d bytes may be read", name, until)
		}
		if _, err := f.Commit(s.Generation(k)); err != nil || !bytes.Equal(s.content(t, k), data) {
			t.Errorf("%s: committed with %v", name, err)
		}
	}
}

// TestADiskThatFailsWhereTheLengthIsKnownAtLastEndsTheFill: the end of what had arrived is written then.
func TestADiskThatFailsWhereTheLengthIsKnownAtLastEndsTheFill(t *testing.T) {
	disk := &partFS{FS: OS()}
	s, k := openOn(t, disk, Limits{MaxSize: 1 << 30}), testKey("a")
	s.beginnings.least = 1000
	s.breakOff(t, k, FillSpec{Size: -1}, make([]byte, 200_000))
	b := s.mustTake(t, k)
	disk.beforeWrite = func(int64) error { return syscall.EIO }
	if f, err := s.Continue(b, s.Generation(k), FillSpec{Size: 400_000, Parts: true}); !errors.Is(err, ErrDisk) || f != nil {
		t.Errorf("it goes on with %v", err)
	}
	s.checkBytes(t, "afterwards")
}
