package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
)

// hit opens a stored file as a download does, and compares it with what it should be.
func (s *Store) hit(t testing.TB, k Key, want []byte) *Blob {
	t.Helper()
	entry, err := s.Lookup(k)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := s.OpenHit(entry)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(struct{ io.Reader }{blob}); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(want), err)
	}
	return blob
}

// isInMemory reads a file once and reports whether it was in memory before.
func (s *Store) isInMemory(t testing.TB, k Key, want []byte) bool {
	t.Helper()
	before := s.Stats().MemoryHits
	if err := s.hit(t, k, want).Close(); err != nil {
		t.Fatal(err)
	}
	return s.Stats().MemoryHits > before
}

func TestTheMemoryTierHoldsSmallFilesWithinItsBound(t *testing.T) {
	for _, limit := range []int64{1 << 20, 16 << 20} {
		s := openStore(t, t.TempDir(), Limits{Memory: limit})
		random := rand.New(rand.NewPCG(1, uint64(limit))) //nolint:gosec // G404: a test that can be repeated
		largest := int(largestInMemory(limit))
		large := randomBytes(largest+1, 1)
		s.put(t, testKey("large"), large)
		most := int64(0)
		for i := 0; most < limit*2; i++ {
			data := randomBytes(1+random.IntN(largest), byte(i))
			most += int64(len(data))
			s.put(t, numberedKey(i), data)
			for range 2 {
				_ = s.hit(t, numberedKey(i), data).Close()
			}
			if stats := s.Stats(); stats.MemoryBytes > limit {
				t.Fatalf("%d bytes in memory of %d", stats.MemoryBytes, limit)
			}
		}
		forEntries := min(limit/2, int64(s.Stats().Entries)*entryMemory)
		if stats := s.Stats(); stats.MemoryBytes+forEntries < limit*3/4 || stats.MemoryBlobs == 0 {
			t.Errorf("of %d bytes %d are used for %d files", limit, stats.MemoryBytes, stats.MemoryBlobs)
		}
		for range 3 {
			blob := s.hit(t, testKey("large"), large)
			if !blob.IsFromDisk() {
				t.Error("a large file is in memory")
			}
			_ = blob.Close()
		}
		s.SetLimits(Limits{MaxSize: 1 << 30, Memory: limit / 2})
		if stats := s.Stats(); stats.MemoryBytes > limit/2 || stats.MemoryBlobs == 0 {
			t.Errorf("of half as much %d are used for %d files", stats.MemoryBytes, stats.MemoryBlobs)
		}
		s.SetLimits(Limits{MaxSize: 1 << 30})
		if stats := s.Stats(); stats.MemoryBytes != 0 || stats.MemoryBlobs != 0 {
			t.Errorf("without a memory tier: %+v", stats)
		}
	}
}

// TestAFileEntersMemoryAtItsSecondUse: a file that came in the life of this process was used by who brought it.
func TestAFileEntersMemoryAtItsSecondUse(t *testing.T) {
	dir := t.TempDir()
	limits := Limits{Memory: 16 << 20}
	s := openStore(t, dir, limits)
	data := randomBytes(10_000, 1)
	fetched := s.put(t, testKey("a"), data)
	blob, err := s.OpenBlob(fetched) // by who fetched it
	if err != nil {
		t.Fatal(err)
	}
	_ = blob.Close()
	if s.Stats().MemoryBlobs != 0 {
		t.Error("one use brings a file into memory")
	}
	if s.isInMemory(t, testKey("a"), data) || !s.isInMemory(t, testKey("a"), data) {
		t.Error("the second use doesn't bring it into memory")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, limits)
	for use := range 3 {
		if s.isInMemory(t, testKey("a"), data) != (use == 2) {
			t.Errorf("after a restart it is in memory, or not, at use %d", use)
		}
	}
}

func TestWhatWasUsedLeastRecentlyLeavesMemoryFirst(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{Memory: 16 << 20})
	const size = 200_000
	used, left := randomBytes(size, 1), randomBytes(size, 2)
	s.put(t, testKey("used"), used)
	s.put(t, testKey("left"), left)
	s.isInMemory(t, testKey("used"), used)
	s.isInMemory(t, testKey("left"), left)
	for i := range 200 {
		data := randomBytes(size+i, byte(3+i))
		s.put(t, numberedKey(i), data)
		s.isInMemory(t, numberedKey(i), data)
		if !s.isInMemory(t, testKey("used"), used) {
			t.Fatalf("after %d others, a file is gone that is used all the time", i)
		}
	}
	if s.isInMemory(t, testKey("left"), left) {
		t.Error("a file is still there that nobody used while twice the room was filled")
	}
}

// TestMemoryThatIsBeingReadStaysWhatItIs reads all along, while files of all sizes push each other out and limits change.
func TestMemoryThatIsBeingReadStaysWhatItIs(t *testing.T) {
	const files, limit = 120, 2 << 20
	s := openStore(t, t.TempDir(), Limits{Memory: limit})
	contents := make([][]byte, files)
	random := rand.New(rand.NewPCG(2, 0)) //nolint:gosec // G404: a test that can be repeated
	for i := range contents {
		contents[i] = randomBytes(1+random.IntN(limit/memoryShare), byte(i))
		s.put(t, numberedKey(i), contents[i])
	}
	var readers sync.WaitGroup
	for reader := range uint64(8) {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(2, 1+reader)) //nolint:gosec // G404: a test that can be repeated
			var held []*Blob
			for range 500 {
				i := random.IntN(files)
				entry, err := s.Lookup(numberedKey(i))
				if err != nil {
					t.Error(err)
					return
				}
				blob, err := s.OpenHit(entry)
				if err != nil {
					t.Error(err)
					return
				}
				held = append(held, blob)
				if len(held) < 6 {
					continue
				}
				if data, ok := held[0].Bytes(); ok && int64(len(data)) != held[0].Size() {
					t.Error("another length")
				}
				if _, err := held[0].Seek(0, io.SeekStart); err != nil {
					t.Error(err)
				}
				if data, err := io.ReadAll(held[0]); err != nil || !isOneOf(contents, data) {
					t.Errorf("%d bytes that are no file's, %v", len(data), err)
				}
				_ = held[0].Close()
				held = held[1:]
			}
			for _, blob := range held {
				_ = blob.Close()
			}
		})
	}
	stop := make(chan struct{})
	var changes sync.WaitGroup
	changes.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				s.SetLimits(Limits{MaxSize: 1 << 30, Memory: []int64{limit, limit / 2, 4 * limit, 0}[i%4]})
			}
		}
	})
	readers.Wait()
	close(stop)
	changes.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if mapped := s.memory.mapped.Load(); mapped != 0 {
		t.Errorf("%d bytes weren't given back", mapped)
	}
}

func isOneOf(contents [][]byte, data []byte) bool {
	for _, content := range contents {
		if bytes.Equal(content, data) {
			return true
		}
	}
	return false
}

// TestAReaderKeepsItsMemoryWhenTheStoreCloses and gives it back itself.
func TestAReaderKeepsItsMemoryWhenTheStoreCloses(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{Memory: 16 << 20})
	data := randomBytes(10_000, 1)
	s.put(t, testKey("a"), data)
	s.isInMemory(t, testKey("a"), data)
	blob := s.hit(t, testKey("a"), data)
	if blob.IsFromDisk() {
		t.Fatal("not in memory")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if held, ok := blob.Bytes(); !ok || !bytes.Equal(held, data) {
		t.Error("the bytes have changed")
	}
	_ = blob.Close()
	if _, ok := blob.Bytes(); ok {
		t.Error("after Close there are bytes to read")
	}
	if _, err := blob.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	_ = blob.Close()
	if mapped := s.memory.mapped.Load(); mapped != 0 {
		t.Errorf("%d bytes weren't given back", mapped)
	}
}

// TestWhereAllMemoryIsBeingReadFilesComeFromTheDisk: readers who take their time cost others no download.
func TestWhereAllMemoryIsBeingReadFilesComeFromTheDisk(t *testing.T) {
	const limit = 1 << 20
	s := openStore(t, t.TempDir(), Limits{Memory: limit})
	held := make([]*Blob, 300)
	for i := range held {
		data := randomBytes(9_000+i, byte(i))
		s.put(t, numberedKey(i), data)
		s.isInMemory(t, numberedKey(i), data)
		held[i] = s.hit(t, numberedKey(i), data)
	}
	if last := held[len(held)-1]; !last.IsFromDisk() {
		t.Error("memory has room without end")
	}
	if bytes := s.Stats().MemoryBytes; bytes > limit {
		t.Errorf("%d bytes are taken", bytes)
	}
	for i, blob := range held {
		if data, ok := blob.Bytes(); !ok || Digest(sha256.Sum256(data)) != sha256.Sum256(randomBytes(9_000+i, byte(i))) {
			t.Errorf("the bytes of file %d have changed", i)
		}
		_ = blob.Close()
	}
	data := randomBytes(10_000, 77)
	s.put(t, testKey("next"), data)
	if s.reads(t, testKey("next"), data) > enteringShare {
		t.Error("when all have left there is no room")
	}
}

// reads has a file read until it comes from memory, and returns how often it came from the disk.
func (s *Store) reads(t testing.TB, k Key, want []byte) (times int) {
	t.Helper()
	for times = range 100 {
		if s.isInMemory(t, k, want) {
			return times
		}
	}
	t.Fatal("the file never comes into memory")
	return times
}

// TestFilesPushEachOtherOutOfFullMemoryNowAndThen: of more files than memory holds, each that is read would else push out another
// that is read as often.
func TestFilesPushEachOtherOutOfFullMemoryNowAndThen(t *testing.T) {
	const limit, size, files = 1 << 20, 10_000, 300
	s := openStore(t, t.TempDir(), Limits{Memory: limit})
	random := rand.New(rand.NewPCG(3, 0)) //nolint:gosec // G404: a test that can be repeated
	for i := range files {
		s.put(t, numberedKey(i), randomBytes(size, byte(i)))
	}
	// read reads any files, and returns how many came from the disk into memory, and how many only to their reader.
	read := func(times int) (entered, passed int) {
		for range times {
			i, before := random.IntN(files), s.Stats().MemoryHits
			blob := s.hit(t, numberedKey(i), randomBytes(size, byte(i))) //nolint:gosec // G115: any byte will do
			switch {
			case s.Stats().MemoryHits > before:
			case blob.IsFromDisk():
				passed++
			default:
				entered++
			}
			_ = blob.Close()
		}
		return entered, passed
	}
	if entered, passed := read(40); entered == 0 || passed != 0 {
		t.Errorf("while there is room, %d enter and %d don't", entered, passed)
	}
	read(1000)
	if entered, passed := read(1000); entered < passed/enteringShare || entered > passed/(enteringShare-1)+enteringShare {
		t.Errorf("of files for which others have to leave, %d enter and %d don't", entered, passed)
	}
	// What is read again and again comes in soon.
	s.put(t, testKey("new"), randomBytes(size, 77))
	if times := s.reads(t, testKey("new"), randomBytes(size, 77)); times > enteringShare {
		t.Errorf("a file in use came %d times from the disk", times)
	}
}

// TestTinyFilesTakeNoMoreThanTheBound: what they cost beside their bytes counts.
func TestTinyFilesTakeNoMoreThanTheBound(t *testing.T) {
	const limit = 1 << 20
	s := openStore(t, t.TempDir(), Limits{Memory: limit})
	most := 0
	for i := range 1500 {
		data := []byte{byte(i), byte(i >> 8)}
		s.put(t, numberedKey(i), data)
		s.reads(t, numberedKey(i), data)
		stats := s.Stats()
		if stats.MemoryBytes > limit {
			t.Fatalf("%d files take %d bytes", stats.MemoryBlobs, stats.MemoryBytes)
		}
		most = max(most, stats.MemoryBlobs)
	}
	if most < limit/memoryOverhead/2 {
		t.Errorf("at most %d are held", most)
	}
}

func TestWhatIsPurgedLeavesMemory(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{Memory: 16 << 20})
	for i := range 100 {
		data := randomBytes(100_000, byte(i))
		s.put(t, numberedKey(i), data)
		s.isInMemory(t, numberedKey(i), data)
	}
	if s.Stats().MemoryBlobs != 100 {
		t.Fatal("not in memory")
	}
	if _, err := s.Purge(context.Background(), Selector{Project: "group/app"}); err != nil {
		t.Fatal(err)
	}
	// The segment that files are put into stays.
	if stats := s.Stats(); stats.MemoryBlobs != 0 || stats.MemoryBytes > segmentLargest {
		t.Errorf("after a purge: %+v", stats)
	}
}

// TestMemoryIncludesWhatIsKnownOfEntries: of a tier that is full, entries take their part as they come, although their own files never
// enter it; and a lower limit counts at once.
func TestMemoryIncludesWhatIsKnownOfEntries(t *testing.T) {
	const limit, size = 4 << 20, 10_000
	s := openStore(t, t.TempDir(), Limits{Memory: limit})
	for i := range 400 {
		s.put(t, numberedKey(i), randomBytes(size, byte(i)))
		_ = s.hit(t, numberedKey(i), randomBytes(size, byte(i))).Close()
	}
	left := func(limit int64) int64 { return limit - min(limit/2, int64(s.Stats().Entries)*entryMemory) }
	full := s.Stats().MemoryBytes
	if full > left(limit) || full < left(limit)*3/4 {
		t.Fatalf("%d bytes in memory, of %d that %d entries leave", full, left(limit), s.Stats().Entries)
	}
	for i := range 1200 {
		s.put(t, numberedKey(1000+i), []byte{byte(i), byte(i >> 8)})
	}
	if now := s.Stats().MemoryBytes; now > left(limit) || now == 0 || now > full-(512<<10) {
		t.Errorf("%d bytes in memory, of %d that %d entries leave", now, left(limit), s.Stats().Entries)
	}
	s.SetLimits(Limits{MaxSize: 1 << 30, Memory: limit / 2})
	if now := s.Stats().MemoryBytes; now > left(limit/2) || now == 0 {
		t.Errorf("with half as much %d bytes in memory, of %d that %d entries leave", now, left(limit/2), s.Stats().Entries)
	}
}
