package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var errLine = errors.New("the line broke")

// breakOff begins a file, writes some of it and leaves that.
func (s *Store) breakOff(t testing.TB, k Key, spec FillSpec, some []byte) {
	t.Helper()
	f := s.begin(t, k, spec)
	f.write(t, some)
	f.Leave(errLine, spec)
}

// mustTake takes a beginning that is there.
func (s *Store) mustTake(t testing.TB, k Key) *Beginning {
	t.Helper()
	b := s.TakeBeginning(k, s.Generation(k))
	if b == nil {
		t.Fatalf("nothing is left of %s", k)
	}
	return b
}

// checkBytes holds the store's count against the disk.
func (s *Store) checkBytes(t testing.TB, when string) {
	t.Helper()
	if stats, use := s.Stats(), diskUse(t, s.dir); stats.Bytes != use || stats.Reserved != 0 {
		t.Errorf("%s: %d bytes are on the disk: %+v", when, use, stats)
	}
}

func TestWhatArrivedOfAFileThatBrokeOffIsWhereTheNextFillGoesOn(t *testing.T) {
	const size = 4 << 20
	for name, test := range map[string]struct {
		arrived int
		length  int64
	}{
		"in the middle":                    {3 << 20, size},
		"within the end that is held back": {size - 1000, size},
		"of unknown length":                {3 << 20, -1},
		"a little more than is worth it":   {leastBeginning, size},
		"all of it but the last byte":      {size - 1, size},
		"all, of unknown length":           {size, -1},
	} {
		t.Run(name, func(t *testing.T) {
			s, k, data := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30}), numberedKey(1), randomBytes(size, 1)
			spec := FillSpec{Size: test.length, SHA256: sha256.Sum256(data), Identity: Identity{ETag: `"1"`, Length: test.length}, Disposition: "attachment"}
			s.breakOff(t, k, spec, data[:test.arrived])
			s.checkBytes(t, "broken off")
			if _, err := s.Lookup(k); !errors.Is(err, ErrMiss) {
				t.Fatalf("what broke off is found: %v", err)
			}
			b := s.mustTake(t, k)
			if b.size != int64(test.arrived) || b.Progress() != any(spec) {
				t.Errorf("%d bytes of %+v", b.size, b.Progress())
			}
			if s.TakeBeginning(k, s.Generation(k)) != nil {
				t.Error("two have the same beginning")
			}
			spec.Size = size
			f, err := s.Continue(b, s.Generation(k), spec)
			if err != nil {
				t.Fatal(err)
			}
			reader := f.follow(t)
			if f.Written() != int64(test.arrived) {
				t.Errorf("it goes on at %d", f.Written())
			}
			if rest := data[test.arrived:]; len(rest) > 0 {
				f.write(t, rest)
			}
			if _, err := f.Commit(s.Generation(k)); err != nil {
				t.Fatal(err)
			}
			expect(t, reader, data)
			if err := reader.Close(); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(s.content(t, k), data) {
				t.Error("the stored file has other bytes")
			}
			s.checkBytes(t, "stored")
		})
	}
}

// TestAWrongFileWhoseEndIsThereIsNeverWhole has all of it come, and breaks it off before it is compared. Readers of the fill,
// and of one that goes on, get less than the whole.
func TestAWrongFileWhoseEndIsThereIsNeverWhole(t *testing.T) {
	const size = 4 << 20
	for _, length := range []int64{size, -1} {
		s, k, data := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30}), numberedKey(1), randomBytes(size, 1)
		wrong := bytes.Clone(data)
		wrong[100] ^= 1
		spec := FillSpec{Size: length, SHA256: sha256.Sum256(data)}
		f := s.begin(t, k, spec)
		reader := f.follow(t)
		f.write(t, wrong)
		kept := f.Leave(errLine, nil)
		var got takesFiles
		if n, err := reader.WriteTo(&got); n >= size || err == nil {
			t.Errorf("a reader has %d bytes, %v", n, err)
		}
		_ = reader.Close()
		if kept != (length < 0) {
			t.Errorf("length %d: kept: %v", length, kept)
		}
		if !kept {
			continue
		}
		spec.Size = size
		next, err := s.Continue(s.mustTake(t, k), s.Generation(k), spec)
		if err != nil {
			t.Fatal(err)
		}
		reader = next.follow(t)
		if _, err := next.Commit(s.Generation(k)); !errors.Is(err, ErrChecksum) {
			t.Errorf("it is committed: %v", err)
		}
		if got, err := io.ReadAll(reader); len(got) >= size || err == nil {
			t.Errorf("a reader of the next fill has %d bytes, %v", len(got), err)
		}
		_ = reader.Close()
	}
}

// takesFiles takes what the kernel can send, as the connections of net/http do.
type takesFiles struct{ bytes.Buffer }

// TestNobodyFollowsAFileThatBrokeOff looks for a reader after the end.
func TestNobodyFollowsAFileThatBrokeOff(t *testing.T) {
	s, k := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30}), numberedKey(1)
	f := s.begin(t, k, FillSpec{Size: 4 << 20})
	f.write(t, randomBytes(2<<20, 1))
	if !f.Leave(errLine, nil) {
		t.Fatal("not kept")
	}
	if _, err := f.NewReader(context.Background()); !errors.Is(err, ErrMiss) {
		t.Errorf("a reader follows what is over: %v", err)
	}
}

// TestABeginningEvictsNothing breaks a body off while the disk has no room.
func TestABeginningEvictsNothing(t *testing.T) {
	fs := &failingSteps{FS: OS()}
	fs.left.Store(1 << 40)
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	for i := range 40 {
		s.put(t, numberedKey(100+i), randomBytes(1000, byte(i)))
	}
	f := s.begin(t, numberedKey(1), FillSpec{Size: -1})
	f.write(t, randomBytes(2<<20, 1))
	fs.left.Store(0)
	if kept := f.Leave(errLine, nil); !kept || s.Stats().Evictions != 0 {
		t.Errorf("kept: %v, evicted: %d", kept, s.Stats().Evictions)
	}
	fs.left.Store(1 << 40)
	s.mustTake(t, numberedKey(1)).Drop()
	s.checkBytes(t, "dropped")
}

// TestAFileThatGoesOnWronglyIsNeverWhole gives it another rest than that of its sum.
func TestAFileThatGoesOnWronglyIsNeverWhole(t *testing.T) {
	s, k, data := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30}), numberedKey(1), randomBytes(4<<20, 1)
	spec := FillSpec{Size: int64(len(data)), SHA256: sha256.Sum256(data)}
	s.breakOff(t, k, spec, data[:2<<20])
	f, err := s.Continue(s.mustTake(t, k), s.Generation(k), spec)
	if err != nil {
		t.Fatal(err)
	}
	reader := f.follow(t)
	defer reader.Close()
	f.write(t, randomBytes(2<<20, 2))
	if _, err := f.Commit(s.Generation(k)); !errors.Is(err, ErrChecksum) {
		t.Errorf("it is committed: %v", err)
	}
	if got, err := io.ReadAll(reader); err == nil || len(got) >= len(data) {
		t.Errorf("a reader got %d bytes, %v", len(got), err)
	}
	if s.TakeBeginning(k, s.Generation(k)) != nil {
		t.Error("a wrong file is where the next one goes on")
	}
}

// TestReadersOfAFileThatBrokeOffKeepWhatTheyMayRead has one read on slowly while another fetch goes on, ends and is evicted.
func TestReadersOfAFileThatBrokeOffKeepWhatTheyMayRead(t *testing.T) {
	s, k, data := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30}), numberedKey(1), randomBytes(4<<20, 1)
	spec := FillSpec{Size: int64(len(data))}
	f := s.begin(t, k, spec)
	slow := f.follow(t)
	f.write(t, data[:2<<20])
	f.Leave(errLine, nil)
	next, err := s.Continue(s.mustTake(t, k), s.Generation(k), spec)
	if err != nil {
		t.Fatal(err)
	}
	s.checkOpen(t, 4<<20) // all that it may become is reserved, and nothing twice
	next.write(t, data[2<<20:])
	if _, err := next.Commit(s.Generation(k)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Purge(context.Background(), Selector(k)); err != nil {
		t.Fatal(err)
	}
	s.checkOpen(t, 4<<20) // as long as it is read
	got, err := io.ReadAll(slow)
	if !errors.Is(err, errLine) || !bytes.Equal(got, data[:len(got)]) || len(got) != 2<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := slow.Close(); err != nil {
		t.Error(err)
	}
	s.checkOpen(t, 0)
}

// checkOpen waits for what the janitor still does.
func (s *Store) checkOpen(t *testing.T, want int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.Stats().Bytes != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are counted, not %d", s.Stats().Bytes, want)
		}
	}
}

func TestBeginningsLeaveBeforeAnyEntry(t *testing.T) {
	const size = 2 << 20
	s := openStore(t, t.TempDir(), Limits{MaxSize: 8 * size})
	awaitLoaded(t, s)
	for i := range 5 {
		s.put(t, numberedKey(i), randomBytes(size, byte(i)))
	}
	for i := range 3 {
		s.breakOff(t, numberedKey(10+i), FillSpec{Size: size}, randomBytes(size*2/3, byte(10+i)))
	}
	taken := s.mustTake(t, numberedKey(11))
	s.put(t, numberedKey(20), randomBytes(2*size, 20))
	if stats := s.Stats(); stats.Entries != 6 || stats.Evictions != 0 || stats.Bytes > stats.MaxSize || stats.Bytes != diskUse(t, s.dir) {
		t.Errorf("%+v", stats)
	}
	if s.TakeBeginning(numberedKey(10), s.Generation(numberedKey(10))) != nil {
		t.Error("the oldest is there still")
	}
	// One that is taken is somebody's.
	f, err := s.Continue(taken, s.Generation(numberedKey(11)), FillSpec{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	f.Abort(nil)
	s.checkBytes(t, "given up")
}

func TestABeginningIsOverWhenItsFileIsPublishedOrPurgedOrTheStoreIsClosed(t *testing.T) {
	const size = 2 << 20
	k := numberedKey(1)
	for name, end := range map[string]func(t *testing.T, s *Store){
		"published":             func(_ *testing.T, s *Store) { s.Raise(k, Published); s.asJanitor(s.dropOutdatedBeginnings) },
		"published, then asked": func(_ *testing.T, s *Store) { s.TakeBeginning(k, s.Raise(k, Published)) },
		"purged": func(t *testing.T, s *Store) {
			if _, err := s.Purge(context.Background(), Selector(k)); err != nil {
				t.Error(err)
			}
		},
		"its project purged": func(t *testing.T, s *Store) {
			if _, err := s.Purge(context.Background(), Selector{Upstream: k.Upstream, Project: k.Project}); err != nil {
				t.Error(err)
			}
		},
		"closed": func(t *testing.T, s *Store) {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		},
		"closed while somebody has it": func(t *testing.T, s *Store) {
			b := s.mustTake(t, k)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			b.PutBack()
		},
		"dropped": func(t *testing.T, s *Store) { s.mustTake(t, k).Drop() },
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30})
			awaitLoaded(t, s)
			s.breakOff(t, k, FillSpec{Size: size}, randomBytes(size/2, 1))
			end(t, s)
			if use := diskUse(t, s.dir); use != 0 {
				t.Errorf("%d bytes are left", use)
			}
			if s.Stats().Bytes != 0 {
				t.Errorf("%+v", s.Stats())
			}
			if s.TakeBeginning(k, s.Generation(k)) != nil {
				t.Error("it is there still")
			}
		})
	}
}

func TestPurgesLeaveTheBeginningsOfOthers(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30})
	awaitLoaded(t, s)
	k, other := numberedKey(1), numberedKey(2)
	other.Version = "other"
	s.breakOff(t, other, FillSpec{Size: 2 << 20}, randomBytes(1<<20, 1))
	for _, sel := range []Selector{Selector(k), {Upstream: k.Upstream, Project: k.Project, Package: k.Package, Version: k.Version}} {
		if _, err := s.Purge(context.Background(), sel); err != nil {
			t.Fatal(err)
		}
	}
	s.asJanitor(s.dropOutdatedBeginnings)
	s.mustTake(t, other).Drop()
}

func TestOnlySoManyBeginningsAreKeptAndOneOfAKey(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30})
	for i := range maxBeginnings + 3 {
		s.breakOff(t, numberedKey(i), FillSpec{Size: 4 << 20}, randomBytes(leastBeginning, byte(i)))
	}
	last := numberedKey(maxBeginnings + 2)
	s.breakOff(t, last, FillSpec{Size: 4 << 20}, randomBytes(2<<20, 9))
	if stats := s.Stats(); stats.Beginnings != maxBeginnings {
		t.Errorf("%d are kept", stats.Beginnings)
	}
	s.checkBytes(t, "full")
	if b := s.mustTake(t, last); b.size != 2<<20 {
		t.Errorf("%d bytes are the latest", b.size)
	} else {
		b.Drop()
	}
	s.breakOff(t, numberedKey(100), FillSpec{Size: 4 << 20}, randomBytes(leastBeginning-1, 1))
	if s.TakeBeginning(numberedKey(100), s.Generation(numberedKey(100))) != nil {
		t.Error("what isn't worth it is kept")
	}
}

// TestWhatIsPutBackTakesNoNewerOnesPlace has beginnings taken while others come, also of the same keys.
func TestWhatIsPutBackTakesNoNewerOnesPlace(t *testing.T) {
	s, data := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 30}), randomBytes(leastBeginning, 1)
	for i := range maxBeginnings {
		s.breakOff(t, numberedKey(i), FillSpec{Size: 4 << 20}, data)
	}
	taken := make([]*Beginning, 0, 10)
	for i := range 10 {
		taken = append(taken, s.mustTake(t, numberedKey(i)))
	}
	for i := range 10 {
		s.breakOff(t, numberedKey(i+5), FillSpec{Size: 4 << 20}, data)
	}
	s.Raise(numberedKey(0), Published)
	for _, b := range taken {
		b.PutBack()
	}
	keys := make(map[Key]int)
	for _, b := range s.beginnings.kept {
		keys[b.fill.key]++
	}
	if len(s.beginnings.kept) > maxBeginnings || len(keys) != len(s.beginnings.kept) || keys[numberedKey(0)] != 0 {
		t.Errorf("%d are kept, of %d keys", len(s.beginnings.kept), len(keys))
	}
	s.checkBytes(t, "put back")
}

// TestAfterAKillNothingIsLeftOfABeginning opens the directory as a process finds it that was killed.
func TestAfterAKillNothingIsLeftOfABeginning(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{MaxSize: 1 << 30})
	s.breakOff(t, numberedKey(1), FillSpec{Size: 4 << 20}, randomBytes(2<<20, 1))
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, killed, Limits{MaxSize: 1 << 30})
	awaitLoaded(t, again)
	if use := diskUse(t, killed); use != 0 || again.Stats().Bytes != 0 {
		t.Errorf("%d bytes are left", use)
	}
}

// TestADiskThatFailsAroundABeginningCostsNothingElse has each of its steps fail.
func TestADiskThatFailsAroundABeginningCostsNothingElse(t *testing.T) {
	data := randomBytes(4<<20, 1)
	spec := FillSpec{Size: int64(len(data)), SHA256: sha256.Sum256(data)}
	for fails := range 12 {
		t.Run(fmt.Sprint("step ", fails), func(t *testing.T) {
			fs := &failingSteps{FS: OS()}
			fs.left.Store(1 << 40)
			s := openOn(t, fs, Limits{MaxSize: 1 << 30})
			k, other := numberedKey(1), numberedKey(2)
			s.put(t, other, randomBytes(1000, 2))
			fs.left.Store(int64(fails))
			if f, err := s.Begin(k, s.Generation(k), spec); err == nil {
				_, _ = f.Write(data[:len(data)-1000]) // may fail
				f.Leave(errLine, nil)
			}
			if b := s.TakeBeginning(k, s.Generation(k)); b != nil {
				if f, err := s.Continue(b, s.Generation(k), spec); err == nil {
					_, err = f.Write(data[f.Written():])
					if err == nil {
						_, err = f.Commit(s.Generation(k))
					}
					f.Abort(err)
				}
			}
			fs.left.Store(1 << 40)
			if _, err := s.Lookup(k); err == nil && !bytes.Equal(s.content(t, k), data) {
				t.Error("the stored file has other bytes")
			}
			if !bytes.Equal(s.content(t, other), randomBytes(1000, 2)) {
				t.Error("another file is lost")
			}
			s.asJanitor(s.removeStuck)
			s.checkBytes(t, "at the end")
		})
	}
}

// failingSteps is a disk that takes so many more changes, and none after them.
type failingSteps struct {
	FS
	left atomic.Int64
}

func (f *failingSteps) step() error {
	if f.left.Add(-1) < 0 {
		return syscall.EIO
	}
	return nil
}

func (f *failingSteps) Create(path string) (File, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(path)
	if err != nil {
		return nil, err
	}
	return &failingStepsFile{file, f}, nil
}

func (f *failingSteps) Rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *failingSteps) Remove(path string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.FS.Remove(path)
}

type failingStepsFile struct {
	File
	disk *failingSteps
}

func (f *failingStepsFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.disk.step(); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], offset)
		return n, err
	}
	return f.File.WriteAt(p, offset)
}
