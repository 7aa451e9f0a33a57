package cache

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// rangesAnyOrder are parts of a file in an order that no reader is bound to: backwards, overlapping, twice the same, and across
// the end that a fill holds back.
var rangesAnyOrder = [][2]int{
	{400_000, 450_000}, {100_000, 200_000}, {150_000, 250_000}, {0, 1}, {100_000, 200_000}, {449_999, 450_000}, {0, 450_000}, {300_000, 300_001},
}

// readRange reads a part of a file.
func readRange(t *testing.T, from io.ReadSeeker, whence int, at [2]int, position int) []byte {
	t.Helper()
	offset := int64(at[0])
	if whence == io.SeekCurrent {
		offset -= int64(position)
	}
	if now, err := from.Seek(offset, whence); err != nil || now != int64(at[0]) {
		t.Fatalf("at %d instead of %d, %v", now, at[0], err)
	}
	got := make([]byte, at[1]-at[0])
	if n, err := io.ReadFull(from, got); err != nil {
		t.Fatalf("read %d bytes from %d on, %v", n, at[0], err)
	}
	return got
}

// TestReadersGoWhereverTheyLikeInAFileThatArrives has several read parts in any order: while the file arrives, when all but its
// end has, and when it is stored.
func TestReadersGoWhereverTheyLikeInAFileThatArrives(t *testing.T) {
	data := randomBytes(1<<20, 1)
	for name, size := range map[string]int64{"of known length": int64(len(data)), "of unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			f := s.begin(t, testKey("a"), FillSpec{Size: size})
			one, other := f.follow(t), f.follow(t)
			check := func(when string, shift int) {
				t.Helper()
				position := 0
				for i, at := range rangesAnyOrder {
					at = [2]int{at[0] + shift, at[1] + shift}
					back := rangesAnyOrder[len(rangesAnyOrder)-1-i]
					back = [2]int{back[0] + shift, back[1] + shift}
					if got := readRange(t, one, io.SeekStart, at, 0); !bytes.Equal(got, data[at[0]:at[1]]) {
						t.Errorf("%s: other bytes from %d on", when, at[0])
					}
					if i == 0 {
						if now, err := other.Seek(0, io.SeekCurrent); err != nil {
							t.Fatal(err)
						} else {
							position = int(now)
						}
					}
					if got := readRange(t, other, io.SeekCurrent, back, position); !bytes.Equal(got, data[back[0]:back[1]]) {
						t.Errorf("%s: the other reader has other bytes from %d on", when, back[0])
					}
					position = back[1]
				}
			}
			f.write(t, data[:600_000])
			check("while it arrives", 0)
			f.write(t, data[600_000:])
			check("when all is there", 0)
			if _, err := f.Commit(s.Generation(testKey("a"))); err != nil {
				t.Fatal(err)
			}
			check("stored", 0)
			check("stored, at its end", len(data)-450_000)
			for _, from := range []int64{1 << 19, 100, 1<<20 - 10, 0, 1 << 20} {
				for _, reader := range []*FillReader{one, other} {
					if _, err := reader.Seek(from, io.SeekStart); err != nil {
						t.Fatal(err)
					}
					var sent takesFiles // which the kernel sends to
					if n, err := reader.WriteTo(&sent); err != nil || n != int64(len(data))-from || !bytes.Equal(sent.Bytes(), data[from:]) {
						t.Errorf("sent %d bytes from %d on, %v", n, from, err)
					}
				}
			}
			if _, err := one.Seek(-1, io.SeekStart); err == nil {
				t.Error("before the beginning")
			}
		})
	}
}

// TestAReaderAheadOfTheWriterWaitsForItsBytes has one read what isn't there yet, and one what has been there for long.
func TestAReaderAheadOfTheWriterWaitsForItsBytes(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(1<<20, 1)
	f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data))})
	behind, ahead := f.follow(t), f.follow(t)
	f.write(t, data[:300_000])
	if _, err := ahead.Seek(700_000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1000)
	arrived := make(chan error, 1)
	// Ends when the bytes are there.
	go func() {
		_, err := io.ReadFull(ahead, got)
		arrived <- err
	}()
	for position := 300_000; position < 900_000; position += 100_000 {
		if part := readRange(t, behind, io.SeekStart, [2]int{0, 200_000}, 0); !bytes.Equal(part, data[:200_000]) {
			t.Error("the reader behind has other bytes")
		}
		f.write(t, data[position:position+100_000])
	}
	if err := <-arrived; err != nil || !bytes.Equal(got, data[700_000:701_000]) {
		t.Errorf("the reader ahead has other bytes: %v", err)
	}
	// One that is past all that will come learns how that ends.
	if _, err := ahead.Seek(950_000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := ahead.Read(got)
		arrived <- err
	}()
	f.Abort(errLine)
	if err := <-arrived; !errors.Is(err, errLine) {
		t.Errorf("the reader ahead ends with %v", err)
	}
}

// TestReadingPartsOfAStoredFileIsNoSignOfDamage reads to the end from several places, as ranges do.
func TestReadingPartsOfAStoredFileIsNoSignOfDamage(t *testing.T) {
	for name, memory := range map[string]int64{"from the disk": 0, "from memory": 64 << 20} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{Memory: memory})
			data := randomBytes(200_000, 1)
			blob, err := s.OpenHit(s.put(t, testKey("a"), data))
			if err != nil {
				t.Fatal(err)
			}
			defer blob.Close()
			if _, inMemory := blob.Bytes(); inMemory != (memory > 0) {
				t.Errorf("in memory: %v", inMemory)
			}
			for _, from := range []int64{199_000, 100, 150_000, 0, 200_000, 1} {
				if at, err := blob.Seek(from-200_000, io.SeekEnd); err != nil || at != from {
					t.Fatalf("at %d, %v", at, err)
				}
				if got, err := io.ReadAll(struct{ io.Reader }{blob}); err != nil || !bytes.Equal(got, data[from:]) {
					t.Errorf("read %d bytes from %d on, %v", len(got), from, err)
				}
				if _, err := blob.Seek(from, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				var sent takesFiles
				if n, err := blob.WriteTo(&sent); err != nil || n != 200_000-from || !bytes.Equal(sent.Bytes(), data[from:]) {
					t.Errorf("sent %d bytes from %d on, %v", n, from, err)
				}
			}
			if s.content(t, testKey("a")) == nil || s.Stats().Damaged != 0 {
				t.Errorf("the file counts as damaged: %+v", s.Stats())
			}
		})
	}
}

// takesPart takes some of a file from the kernel, as a connection does that breaks.
type takesPart struct{ bytes.Buffer }

func (w *takesPart) ReadFrom(from io.Reader) (int64, error) {
	n, err := io.CopyN(&w.Buffer, from, 1000)
	return n, errors.Join(err, errLine)
}

// TestAReaderWhoseConnectionBrokeBeginsWhereItIsTold sends parts of a fill, and then other ones from the same reader.
func TestAReaderWhoseConnectionBrokeBeginsWhereItIsTold(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(1<<20, 1)
	f := s.begin(t, testKey("a"), FillSpec{Size: int64(len(data))})
	reader := f.follow(t)
	f.write(t, data[:900_000])
	for _, from := range []int64{500_000, 100_000, 100_500, 0} {
		if _, err := reader.Seek(from, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var sent takesPart
		if n, err := reader.WriteTo(&sent); n != 1000 || !errors.Is(err, errLine) || !bytes.Equal(sent.Bytes(), data[from:from+1000]) {
			t.Errorf("sent %d bytes from %d on, or others, %v", n, from, err)
		}
		if at, err := reader.Seek(0, io.SeekCurrent); err != nil || at != from+1000 {
			t.Errorf("then it is at %d, %v", at, err)
		}
	}
}
