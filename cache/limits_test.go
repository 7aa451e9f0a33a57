package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// diskUse is how many bytes the store's blobs and fills take in the directory.
func diskUse(t testing.TB, dir string) (total int64) {
	t.Helper()
	for _, pattern := range []string{"blobs/??/*", "fills/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil {
				total += info.Size()
			}
		}
	}
	return total
}

// TestMaxSizeHoldsUnderAnyMix has fills of known, unknown and wrong lengths, readers that hold on to files, shared
// content, purges and evictions at once, and never finds more bytes than allowed, neither counted nor on the disk.
func TestMaxSizeHoldsUnderAnyMix(t *testing.T) {
	const maxSize = 2 << 20
	dir := t.TempDir()
	s := openStore(t, dir, Limits{MaxSize: maxSize, Memory: 256 << 10})
	awaitLoaded(t, s)
	over := func(when string) {
		if stats := s.Stats(); stats.Bytes > maxSize {
			t.Errorf("%s: %d bytes are counted", when, stats.Bytes)
		}
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	// Ends with done.
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if use := diskUse(t, dir); use > maxSize {
					t.Errorf("%d bytes are on the disk", use)
				}
			}
		}
	})
	var stored atomic.Int64
	var working sync.WaitGroup
	for worker := range 6 {
		working.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker))) //nolint:gosec // a test's dice
			for range 150 {
				if mix(t, s, random) {
					stored.Add(1)
				}
				over("meanwhile")
			}
		})
	}
	working.Wait()
	close(done)
	watching.Wait()
	if stored.Load() < 100 {
		t.Errorf("only %d files were stored", stored.Load())
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	stats := s.Stats()
	if stats.Reserved != 0 || stats.Lingering != 0 || stats.Bytes != diskUse(t, dir) || s.space.open != 0 || s.space.unwritten != 0 {
		t.Errorf("at rest %d bytes are on the disk: %+v, %+v", diskUse(t, dir), stats, s.space)
	}
}

// mix does one thing to the store and reports whether it stored a file.
func mix(t testing.TB, s *Store, random *rand.Rand) bool {
	key := numberedKey(random.IntN(40))
	seed := byte(random.UintN(30) & 0xff) // fewer than keys, so that some share
	data := randomBytes(1000+int(seed)*10_000, seed)
	switch random.IntN(10) {
	case 0:
		if _, err := s.Purge(context.Background(), Selector(key)); err != nil {
			t.Error(err)
		}
		return false
	case 1, 2, 3:
		entry, err := s.Lookup(key)
		if err != nil {
			return false
		}
		blob, err := s.OpenBlob(entry)
		if err != nil {
			return false
		}
		defer blob.Close()
		mix(t, s, random) // while the file is held
		if sum := sha256.New(); copyAll(sum, blob) != nil || Digest(sum.Sum(nil)) != entry.Digest {
			t.Errorf("%s has other bytes", key)
		}
		return false
	}
	spec := FillSpec{Size: int64(len(data))}
	body := data
	switch random.IntN(4) {
	case 0:
		spec.Size = -1
	case 1:
		body = data[:len(data)/2]
	}
	g := s.Generation(key)
	f, err := s.Begin(key, g, spec)
	if err != nil {
		return false
	}
	for len(body) > 0 && err == nil {
		n := min(len(body), 1+random.IntN(60_000))
		_, err = f.Write(body[:n])
		body = body[n:]
	}
	if err == nil {
		_, err = f.Commit(g)
	}
	f.Abort(err)
	return err == nil
}

func copyAll(to io.Writer, from io.Reader) error {
	_, err := io.Copy(to, from)
	return err
}

func TestWhatDoesNotFitIsRefusedBeforeAByteIsWritten(t *testing.T) {
	for name, test := range map[string]struct {
		limits Limits
		size   int64
	}{
		"larger than max_object": {Limits{MaxSize: 1 << 30, MaxObject: 1000}, 1001},
		"larger than max_size":   {Limits{MaxSize: 1000}, 1001},
		"less than min_free":     {Limits{MaxSize: 1 << 30, MinFree: 1 << 60}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), test.limits)
			awaitLoaded(t, s)
			if _, err := s.Begin(testKey("a"), s.Generation(testKey("a")), FillSpec{Size: test.size}); !errors.Is(err, ErrNoRoom) {
				t.Errorf("got %v", err)
			}
			if use := diskUse(t, s.dir); use != 0 || s.Stats().Bytes != 0 {
				t.Errorf("%d bytes are there, %+v", use, s.Stats())
			}
		})
	}
}

func TestAFillOfUnknownLengthEndsAtMaxObject(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxObject: 100_000})
	k := testKey("a")
	f, err := s.Begin(k, s.Generation(k), FillSpec{Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := f.NewReader(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	data := randomBytes(100_001, 1)
	if _, err := f.Write(data[:100_000]); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data[100_000:]); !errors.Is(err, ErrDisk) || !errors.Is(err, ErrNoRoom) {
		t.Errorf("went on with %v", err)
	}
	// The reader has what came before, and knows that the rest must come from elsewhere.
	if got, err := io.ReadAll(reader); !errors.Is(err, ErrDisk) || !bytes.HasPrefix(data, got) || len(got) < 100_000-heldBack {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestAFileBeingReadIsNotEvicted(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 20})
	awaitLoaded(t, s)
	data := randomBytes(500_000, 1)
	entry := s.put(t, testKey("held"), data)
	blob, err := s.OpenBlob(entry)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		s.put(t, testKey(fmt.Sprint(i)), randomBytes(400_000, byte(10+i)))
	}
	if _, err := s.Lookup(testKey("held")); err != nil {
		t.Errorf("the file in use was evicted: %v", err)
	}
	if _, err := s.Begin(testKey("big"), s.Generation(testKey("big")), FillSpec{Size: 700_000}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("room for what only fits without the file in use: %v", err)
	}
	if s.Stats().Entries < 2 {
		t.Error("others were evicted for what couldn't fit")
	}
	if err := blob.Close(); err != nil {
		t.Error(err)
	}
	if f, err := s.Begin(testKey("big"), s.Generation(testKey("big")), FillSpec{Size: 700_000}); err != nil {
		t.Errorf("no room once the file is free: %v", err)
	} else {
		f.Abort(nil)
	}
}

func TestARemovedFileCountsUntilItsLastReaderLeaves(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	entry := s.put(t, testKey("a"), randomBytes(100_000, 1))
	blobs := make([]*Blob, 0, 2)
	for range 2 {
		blob, err := s.OpenBlob(entry)
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, blob)
	}
	if _, err := s.Purge(context.Background(), Selector(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	for left, blob := range blobs {
		if stats := s.Stats(); stats.Bytes != 100_000 || stats.Lingering != 100_000 {
			t.Errorf("with %d readers: %+v", 2-left, stats)
		}
		if err := blob.Close(); err != nil {
			t.Error(err)
		}
	}
	if stats := s.Stats(); stats.Bytes != 0 {
		t.Errorf("without readers: %+v", stats)
	}
}
