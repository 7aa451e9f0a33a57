package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// manyEntries is how many entries a large store has in benchmarks; tests make do with fewer.
const manyEntries = 1_000_000

func numberedKey(i int) Key {
	return Key{"https://gitlab.example.com", "group/app", "package", fmt.Sprintf("1.%d.%d", i/1000, i%1000), "file.tar.gz"}
}

func numberedDigest(i int) Digest {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i))) //nolint:gosec // never negative
}

// writeIndex makes an index of n entries, as a store leaves it, without their files.
func writeIndex(t testing.TB, dir string, n int) {
	t.Helper()
	makeDirectories(t, dir)
	db, err := openIndex(indexPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	db.NoSync = true
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	now := time.Now()
	for batch := range slices.Chunk(numbers, 50_000) {
		err := db.Update(func(tx *bolt.Tx) error {
			for _, i := range batch {
				key := numberedKey(i)
				entry := &Entry{Key: key, Digest: numberedDigest(i), Size: 100, Stored: now, Disposition: "attachment", Identity: Identity{ETag: `"x"`, Length: 100}}
				h := key.hash()
				if err := errors.Join(
					tx.Bucket(entriesBucket).Put(key.bytes(), encodeRecord(key.bytes(), entry)),
					tx.Bucket(usesBucket).Put(h[:], encodeUse(now.UnixNano(), key.bytes())),
				); err != nil {
					return err
				}
			}
			return tx.Bucket(metaBucket).Put(bytesName, writeNumber(int64(n)*100))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(db.Sync(), db.close()); err != nil {
		t.Fatal(err)
	}
}

// heap is how much memory is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers held
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc) //nolint:gosec // far below 2^63
}

func TestAnEntryTakesLittleMemory(t *testing.T) {
	const entries = 300_000 // at which the maps are as empty as they get: just grown
	dir := t.TempDir()
	writeIndex(t, dir, entries)
	before := heap()
	s := openStore(t, dir, Limits{MaxSize: 1 << 40})
	awaitLoaded(t, s)
	each := (heap() - before) / entries
	if stats := s.Stats(); stats.Entries != entries || stats.Bytes != entries*100 {
		t.Fatalf("loaded %+v", stats)
	}
	if each > 300 {
		t.Errorf("%d bytes an entry", each)
	}
	t.Logf("%d bytes an entry", each)
	runtime.KeepAlive(s)
}

// BenchmarkStart opens a store of 1,000,000 entries: how long Open takes, the first hit after it, and until all entries
// are in memory; and what an entry takes of memory then.
func BenchmarkStart(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "store")
	writeIndex(b, dir, manyEntries)
	var open, first, load time.Duration
	var memory int64
	for b.Loop() {
		before := heap()
		begun := time.Now()
		s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 40}})
		if err != nil {
			b.Fatal(err)
		}
		open += time.Since(begun)
		if _, err := s.Lookup(numberedKey(manyEntries / 2)); err != nil {
			b.Fatal(err)
		}
		first += time.Since(begun)
		<-s.Ready()
		load += time.Since(begun)
		memory += heap() - before
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	runs := float64(b.N)
	b.ReportMetric(float64(open.Milliseconds())/runs, "ms/open")
	b.ReportMetric(float64(first.Milliseconds())/runs, "ms/first-hit")
	b.ReportMetric(float64(load.Milliseconds())/runs, "ms/loaded")
	b.ReportMetric(float64(memory)/runs/manyEntries, "B/entry")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLookup looks entries up in a store of 1,000,000: always the same few (their records are in memory), and all
// in turn (each record is read from the index).
func BenchmarkLookup(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "store")
	writeIndex(b, dir, manyEntries)
	s := openStore(b, dir, Limits{MaxSize: 1 << 40})
	awaitLoaded(b, s)
	for _, test := range []struct {
		name  string
		among int
	}{{"hot", 1000}, {"cold", manyEntries}} {
		b.Run(test.name, func(b *testing.B) {
			keys := make([]Key, min(test.among, 100_000))
			for i := range keys {
				keys[i] = numberedKey(i * (test.among / len(keys)))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := s.Lookup(keys[i%len(keys)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
