package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"
)

// tightFS has a fixed number of bytes free, whatever is removed.
type tightFS struct {
	FS
	free int64
}

func (f tightFS) Free(string) (int64, error) { return f.free, nil }

func TestAFileThatCanNeverFitEvictsNothing(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30, MinFree: 1 << 20}, FS: tightFS{osFS{}, 2 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	awaitLoaded(t, s)
	for i := range 5 {
		s.put(t, testKey(fmt.Sprint(i)), randomBytes(100_000, byte(i)))
	}
	k := testKey("big")
	if _, err := s.Begin(k, s.Generation(k), FillSpec{Size: 10 << 20}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v", err)
	}
	if stats := s.Stats(); stats.Entries != 5 || stats.Evictions != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestAFileThatCannotFitBesidePinnedOnesEvictsNothing(t *testing.T) {
	s, fs, _ := openLate(t, 1<<20) // 4,000,000 bytes
	for i := range 50 {
		if err := s.Pin(context.Background(), numberedKey(i), s.now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	// Some of what is pinned is being read, too, and some has a second name: neither counts twice.
	for i := range 10 {
		blob, err := s.OpenBlob(must(s.Lookup(numberedKey(i))))
		if err != nil {
			t.Fatal(err)
		}
		defer blob.Close()
	}
	k := testKey("second name")
	linked, err := s.Link(k, s.Generation(k), FillSpec{Size: -1, SHA256: must(s.Lookup(numberedKey(20))).Digest})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(context.Background(), linked.Key, s.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	refused := func(size int64, why string) {
		t.Helper()
		if err := beginAndAbort(s, size); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%s: %v", why, err)
		}
		if stats := s.Stats(); stats.Entries != 201 || stats.Evictions != 0 {
			t.Fatalf("%s: %+v", why, stats)
		}
	}
	fs.set(1 << 20)
	refused(3_000_001, "no more than 3,000,000 can become free on the disk")
	fs.set(1 << 40)
	s.SetLimits(Limits{MaxSize: 4_100_000})
	refused(3_100_001, "no more than 3,100,000 can become free of max_size")
	s.mu.Lock()
	fits, more := s.canFitLocked(claim{3_100_000, 3_100_000}, 1<<40), s.canFitLocked(claim{3_100_001, 3_100_001}, 1<<40)
	s.mu.Unlock()
	if !fits || more {
		t.Errorf("what just fits: %v, more: %v", fits, more)
	}
}

func must(e Entry, _ error) Entry { return e }

func TestALengthBeyondReasonEvictsNothing(t *testing.T) {
	s, fs, _ := openLate(t, 1<<20)
	blob, err := s.OpenBlob(must(s.Lookup(numberedKey(0))))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	fs.set(1<<20 - 100)
	for _, maxSize := range []int64{1 << 30, math.MaxInt64} {
		s.SetLimits(Limits{MaxSize: maxSize, MinFree: 1 << 20})
		for _, size := range []int64{math.MaxInt64, math.MaxInt64 - 1<<20, 1<<30 + 1} {
			if err := beginAndAbort(s, size); !errors.Is(err, ErrNoRoom) {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
	if stats := s.Stats(); stats.Entries < 199 { // one makes up for the 100 bytes
		t.Errorf("%+v", stats)
	}
}
