package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
)

// BenchmarkHit looks an entry up and opens its file, as each hit does: from memory, and from the disk by one
// read.
func BenchmarkHit(b *testing.B) {
	for _, test := range []struct {
		name   string
		memory int64
	}{{"memory", 64 << 20}, {"disk", 0}} {
		b.Run(test.name, func(b *testing.B) {
			s := openStore(b, b.TempDir(), Limits{MaxSize: 1 << 40, Memory: test.memory})
			k := testKey("a")
			s.put(b, k, randomBytes(4096, 1))
			b.ReportAllocs()
			for b.Loop() {
				e, err := s.Lookup(k)
				if err != nil {
					b.Fatal(err)
				}
				blob, err := s.OpenHit(e)
				if err != nil {
					b.Fatal(err)
				}
				if err := blob.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFill stores files of 16 KiB, each with bytes of its own, and makes them durable at the end: 20,000 of them is
// what a registry's mirror begins with.
func BenchmarkFill(b *testing.B) {
	s := openStore(b, b.TempDir(), Limits{MaxSize: 1 << 40})
	<-s.Ready()
	data := randomBytes(16<<10, 1)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		copy(data, fmt.Sprint(i))
		s.put(b, numberedKey(i), data)
	}
	if err := s.Sync(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFillAhead writes a file of 64 MiB in pieces as a network gives them: in order, and by parts of 8 MiB, four at a time,
// which are read back to be hashed.
func BenchmarkFillAhead(b *testing.B) {
	const size, part, many = 64 << 20, 8 << 20, 4
	piece := randomBytes(32<<10, 1)
	for _, test := range []struct {
		name  string
		parts bool
	}{{"in order", false}, {"by parts", true}} {
		b.Run(test.name, func(b *testing.B) {
			s := openStore(b, b.TempDir(), Limits{MaxSize: 1 << 40})
			awaitLoaded(b, s)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				k := testKey("a")
				f := s.begin(b, k, FillSpec{Size: size, Parts: test.parts})
				for at := int64(0); at < size && !test.parts; at += int64(len(piece)) {
					f.write(b, piece)
				}
				if test.parts {
					f.fillAhead(b, part, many, piece)
				}
				if _, err := f.Commit(s.Generation(k)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fillAhead brings a file by parts of a size, so many at a time, and takes them in as they come.
func (f *Fill) fillAhead(b *testing.B, size int64, many int, piece []byte) {
	free := make(chan struct{}, many)
	// Ends with the last part.
	go func() {
		for from := int64(0); from < f.spec.Size; from += size {
			free <- struct{}{}
			a := f.ahead(b, int(from), int(from+size))
			// Ends with its part.
			go func() {
				for range size / int64(len(piece)) {
					if _, err := a.Write(piece); err != nil {
						b.Error(err)
						break
					}
				}
				<-free
			}()
		}
	}()
	for f.Written() < f.spec.Size && !b.Failed() {
		if err := f.AwaitAhead(context.Background()); errors.Is(err, ErrGap) {
			runtime.Gosched() // the part is about to begin
		} else if err != nil {
			b.Fatal(err)
		}
		f.advance(b)
	}
}

// BenchmarkFollow writes a file of 64 MiB while eight readers follow it: what a herd costs beside the network.
func BenchmarkFollow(b *testing.B) {
	const size, readers = 64 << 20, 8
	s := openStore(b, b.TempDir(), Limits{MaxSize: 1 << 40})
	<-s.Ready()
	piece := randomBytes(256<<10, 1)
	b.SetBytes(size * readers)
	for b.Loop() {
		k := testKey("a")
		f := s.begin(b, k, FillSpec{Size: size})
		done := make(chan error, readers)
		for range readers {
			reader := f.follow(b)
			// Ends with the fill.
			go func() {
				_, err := io.Copy(io.Discard, reader)
				_ = reader.Close()
				done <- err
			}()
		}
		for range size / len(piece) {
			f.write(b, piece)
		}
		if _, err := f.Commit(s.Generation(k)); err != nil {
			b.Fatal(err)
		}
		for range readers {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
}
