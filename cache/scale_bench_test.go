package cache

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// fillUnique stores bytes that nobody has stored before, in pieces as they come from a network.
func fillUnique(b *testing.B, s *Store, number uint64, data []byte) {
	b.Helper()
	binary.BigEndian.PutUint64(data, number)
	k := numberedKey(int(number)) //nolint:gosec // counted from 0
	k.Package = "benchmark"
	g := s.Generation(k)
	f, err := s.Begin(k, g, FillSpec{Size: int64(len(data))})
	if err != nil {
		b.Fatal(err)
	}
	const piece = 256 << 10
	for rest := data; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
		if _, err := f.Write(rest[:min(piece, len(rest))]); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := f.Commit(g); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFillMany stores 20,000 files of 16 KiB, eight at a time, and waits until all are durable.
func BenchmarkFillMany(b *testing.B) {
	const files, size, parallel = 20_000, 16 << 10, 8
	for b.Loop() {
		s := openStore(b, filepath.Join(b.TempDir(), "store"), Limits{})
		<-s.Ready()
		var number atomic.Uint64
		done := make(chan struct{})
		for range parallel {
			// Ends with the files.
			go func() {
				defer func() { done <- struct{}{} }()
				data := randomBytes(size, 1)
				for n := number.Add(1); n <= files; n = number.Add(1) {
					fillUnique(b, s, n, data)
				}
			}()
		}
		for range parallel {
			<-done
		}
		if err := s.Sync(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// BenchmarkEvict stores files of 100 bytes in a full store of 1,000,000 entries, so that each must make room.
func BenchmarkEvict(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "store")
	writeIndex(b, dir, manyEntries)
	s := openStore(b, dir, Limits{MaxSize: manyEntries * 100})
	<-s.Ready()
	data := randomBytes(100, 1)
	var number uint64
	b.ReportAllocs()
	for b.Loop() {
		fillUnique(b, s, number, data)
		number++
	}
	if stats := s.Stats(); stats.Bytes > stats.MaxSize || stats.Evictions == 0 {
		b.Errorf("%+v", stats)
	}
}

// BenchmarkOpenBlob looks a file up, opens and closes it: 4 KiB from the memory tier, 4 KiB and 1 MiB from the disk.
func BenchmarkOpenBlob(b *testing.B) {
	for _, test := range []struct {
		name   string
		size   int
		memory int64
	}{{"memory/4KiB", 4 << 10, 1 << 20}, {"disk/4KiB", 4 << 10, 0}, {"disk/1024KiB", 1 << 20, 0}} {
		b.Run(test.name, func(b *testing.B) {
			s := openStore(b, b.TempDir(), Limits{Memory: test.memory})
			<-s.Ready()
			s.put(b, testKey("a"), randomBytes(test.size, 1))
			b.ReportAllocs()
			for b.Loop() {
				entry, err := s.Lookup(testKey("a"))
				if err != nil {
					b.Fatal(err)
				}
				blob, err := s.OpenHit(entry)
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
