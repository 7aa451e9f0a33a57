package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// bring writes a file by parts, which several bring at once, in an order that nobody chose and in pieces of any size. Some give
// up, and some parts nobody begins: the fill's own writer brings the rest.
func (f *Fill) bring(data []byte, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's dice
	type part struct{ from, to, gives int64 }
	var parts []part
	for at := random.Int64N(int64(len(data))); at < int64(len(data)); {
		to := min(at+1+random.Int64N(int64(len(data))/5+1), int64(len(data)))
		gives := to - at
		if random.IntN(4) == 0 {
			gives = random.Int64N(to - at)
		}
		if random.IntN(8) > 0 {
			parts = append(parts, part{at, to, gives})
		}
		at = to
	}
	random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	work := make(chan part, len(parts))
	for _, p := range parts {
		work <- p
	}
	close(work)
	var bringing sync.WaitGroup
	defer bringing.Wait()
	for worker := range 4 {
		// Ends with the last part, or the fill.
		bringing.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(worker)+1)) //nolint:gosec // a test's dice
			for p := range work {
				ahead, err := f.Ahead(p.from, p.to)
				if err != nil {
					continue // the writer was there first, or it is over
				}
				for at, end := p.from, p.from+p.gives; at < end && err == nil; {
					var n int
					n, err = ahead.Write(data[at:min(at+1+random.Int64N(100_000), end)])
					at += int64(n)
				}
				ahead.Close()
			}
		})
	}
	for f.Written() < int64(len(data)) {
		if _, err := f.Advance(); err != nil {
			return err
		}
		at := f.Written()
		_, err := f.Write(data[at:min(at+1+random.Int64N(100_000), int64(len(data)))])
		if errors.Is(err, ErrTaken) {
			err = f.AwaitAhead(context.Background())
		}
		if err != nil && !errors.Is(err, ErrGap) {
			return err
		}
	}
	return nil
}

// followed is what readers of a fill got.
type followed struct {
	sync.WaitGroup
	data   []byte
	broken error // what those hear who don't get all; nil if the file becomes whole
}

// follow has one reader more: from a place of the file on, in pieces of any size, or as connections are sent it.
func (r *followed) follow(t *testing.T, f *Fill, from, length int64, copies bool) {
	t.Helper()
	reader := f.follow(t)
	if _, err := reader.Seek(from, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	want := r.data[from : from+length]
	// Ends with the fill.
	r.Go(func() {
		defer reader.Close()
		var got bytes.Buffer
		var err error
		if copies {
			_, err = reader.WriteTo(&got)
		} else {
			var n int64
			n, err = io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{io.LimitReader(reader, length)}, make([]byte, 5000+from%70_000))
			if err == nil && n < length {
				err = io.ErrUnexpectedEOF
			}
		}
		whole := err == nil && bytes.Equal(got.Bytes(), want)
		begins := bytes.HasPrefix(want, got.Bytes())
		held := got.Len() == 0 || from+int64(got.Len()) <= int64(len(r.data))-heldBack // none of the end
		if ok := whole && r.broken == nil || held && (whole || begins && errors.Is(err, r.broken)); !ok {
			t.Errorf("from %d on: %d of %d bytes, right: %v, %v", from, got.Len(), length, begins, err)
		}
	})
}

// followInAllWays follows from the beginning, and in ranges.
func (r *followed) followInAllWays(t *testing.T, f *Fill, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 9)) //nolint:gosec // a test's dice
	size := int64(len(r.data))
	for i := range 3 {
		r.follow(t, f, 0, size, i > 0)
	}
	for range 6 {
		from := random.Int64N(size)
		r.follow(t, f, from, 1+random.Int64N(size-from), false)
	}
	from := random.Int64N(size)
	r.follow(t, f, from, size-from, true)
}

// TestWhateverOrderPartsArriveInEachReaderGetsTheFile follows fills by parts, byte by byte.
func TestWhateverOrderPartsArriveInEachReaderGetsTheFile(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	for i, size := range []int{1, 1000, heldBack, heldBack + 1, 300_000, 2_000_000, 3_000_001} {
		for seed := range uint64(6) {
			k, data := numberedKey(i*100+int(seed)), randomBytes(size, byte(seed)) //nolint:gosec // small
			f := s.begin(t, k, FillSpec{Size: int64(size), Parts: true, SHA256: sha256.Sum256(data)})
			readers := &followed{data: data}
			readers.followInAllWays(t, f, seed)
			if err := f.bring(data, seed); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Commit(s.Generation(k)); err != nil {
				t.Fatalf("%d bytes, seed %d: %v", size, seed, err)
			}
			readers.Wait()
			if !bytes.Equal(s.content(t, k), data) {
				t.Errorf("%d bytes, seed %d: the stored file has other bytes", size, seed)
			}
		}
	}
	s.checkBytes(t, "at the end")
}

// TestAWrongFileByPartsIsNeverWhole: its readers get what may be read before the end is compared, also those of its end alone.
func TestAWrongFileByPartsIsNeverWhole(t *testing.T) {
	for _, size := range []int{1000, heldBack + 1, 1_000_000} {
		for seed := range uint64(6) {
			s := openStore(t, t.TempDir(), Limits{})
			k, data := testKey("a"), randomBytes(size, byte(seed)) //nolint:gosec // small
			f := s.begin(t, k, FillSpec{Size: int64(size), Parts: true, SHA256: sha256.Sum256(append(data, 0))})
			readers := &followed{data: data, broken: ErrChecksum}
			readers.followInAllWays(t, f, seed)
			if err := f.bring(data, seed); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Commit(s.Generation(k)); !errors.Is(err, ErrChecksum) {
				t.Errorf("committed with %v", err)
			}
			readers.Wait()
			s.checkBytes(t, fmt.Sprint(size, " bytes, seed ", seed))
			if use := diskUse(t, s.dir); use != 0 {
				t.Errorf("%d bytes are left", use)
			}
		}
	}
}

// TestAFillByPartsThatEndsAtAnyMomentLeavesNothing ends it while several write, and others read.
func TestAFillByPartsThatEndsAtAnyMomentLeavesNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(1_000_000, 1)
	for seed := range uint64(20) {
		f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data)), Parts: true})
		readers := &followed{data: data, broken: errLine}
		readers.followInAllWays(t, f, seed)
		var both sync.WaitGroup
		both.Go(func() {
			if err := f.bring(data, seed); err != nil && !errors.Is(err, errLine) {
				t.Error(err)
			}
		})
		both.Go(func() {
			for f.Written() < int64(seed)*48_000 { //nolint:gosec // small
			}
			f.Abort(errLine)
		})
		both.Wait()
		readers.Wait()
	}
	s.checkBytes(t, "at the end")
	if s.space.reserved != 0 || s.space.lingering != 0 || s.space.unwritten != 0 || diskUse(t, s.dir) != 0 {
		t.Errorf("left over: %+v, and %d on the disk", s.space, diskUse(t, s.dir))
	}
}

// TestWhatIsLeftOfAFillByPartsIsGoneOnFromByParts breaks it off again and again, with parts ahead that others are writing.
func TestWhatIsLeftOfAFillByPartsIsGoneOnFromByParts(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	s.beginnings.least = 1000
	data := randomBytes(1_500_000, 1)
	spec := FillSpec{Size: int64(len(data)), Parts: true, SHA256: sha256.Sum256(data)}
	for seed := range uint64(8) {
		k := numberedKey(int(seed)) //nolint:gosec // small
		f := s.begin(t, k, spec)
		readers := &followed{data: data, broken: errLine}
		for try := range uint64(4) {
			readers.followInAllWays(t, f, seed+100*try)
			random := rand.New(rand.NewPCG(seed, try)) //nolint:gosec // a test's dice
			var bringing sync.WaitGroup
			for range 3 {
				from := random.Int64N(spec.Size)
				ahead, err := f.Ahead(from, min(from+400_000, spec.Size))
				if err != nil {
					continue
				}
				// Ends with the fill, or the part.
				bringing.Go(func() {
					for at := from; at < ahead.to; at += 50_000 {
						if _, err := ahead.Write(data[at:min(at+50_000, ahead.to)]); err != nil {
							return
						}
					}
				})
			}
			until := min(f.Written()+random.Int64N(400_000), spec.Size-1)
			for at := f.Written(); at < until; at = f.Written() {
				if _, err := f.Write(data[at:min(at+40_000, until)]); err != nil {
					break // it has come to a part
				}
			}
			if _, err := f.Advance(); err != nil {
				t.Fatal(err)
			}
			kept := f.Leave(errLine, nil)
			bringing.Wait()
			readers.Wait()
			if !kept {
				f = s.begin(t, k, spec)
				continue
			}
			s.checkBytes(t, "broken off")
			var err error
			if f, err = s.Continue(s.mustTake(t, k), s.Generation(k), spec); err != nil {
				t.Fatal(err)
			}
		}
		readers.broken = nil
		readers.followInAllWays(t, f, seed)
		if err := f.bring(data, seed); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Commit(s.Generation(k)); err != nil {
			t.Fatal(err)
		}
		readers.Wait()
	}
	s.checkBytes(t, "at the end")
}
