package cache

import (
	"errors"
	"testing"
	"time"
)

// TestAHitFromMemoryIsAUseAsOneFromTheDisk: what is served from memory all the time would be evicted first, else.
func TestAHitFromMemoryIsAUseAsOneFromTheDisk(t *testing.T) {
	s, clock := openAt(t, Limits{Memory: 16 << 20})
	data := randomBytes(1000, 1)
	used := s.put(t, testKey("used"), data)
	s.put(t, testKey("other"), randomBytes(1000, 2))
	for use := range 3 {
		clock.pass(time.Hour)
		if inMemory := s.isInMemory(t, testKey("used"), data); inMemory != (use > 0) {
			t.Fatalf("use %d was from memory: %v", use, inMemory)
		}
		listed, err := s.Entries(t.Context(), Selector(testKey("used")), nil, 1)
		if err != nil || len(listed) != 1 || listed[0].Hits != uint32(use+1) || !listed[0].LastUsed.Equal(clock.now()) {
			t.Errorf("after use %d: %+v, %v", use, listed, err)
		}
	}
	if oldest := s.entries.oldest(); oldest == used.node {
		t.Error("what was used last is evicted first")
	}
}

// TestAFileThatWasFoundDamagedIsServedNoMore, also before it is removed.
func TestAFileThatWasFoundDamagedIsServedNoMore(t *testing.T) {
	for _, memory := range []int64{0, 16 << 20} {
		s := openStore(t, t.TempDir(), Limits{Memory: memory})
		awaitLoaded(t, s)
		s.stopJanitor() // which would remove it
		data := randomBytes(1000, 1)
		e := s.put(t, testKey("a"), data)
		for range 2 {
			_ = s.hit(t, testKey("a"), data).Close()
		}
		for range 2 { // the second says nothing new
			s.discard(e.node.blob, reasonChecksum)
		}
		if blob, err := s.OpenHit(e); !errors.Is(err, ErrMiss) {
			t.Errorf("opened: %v, %v", blob, err)
		}
		if stats := s.Stats(); stats.Damaged != 1 || stats.MemoryBlobs != 0 {
			t.Errorf("%d are damaged, %d in memory", stats.Damaged, stats.MemoryBlobs)
		}
	}
}

// TestASmallFileIsReadWhenItIsOpened, and needs no open file while it is served; a larger one stays open.
func TestASmallFileIsReadWhenItIsOpened(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	for size, small := range map[int]bool{0: true, 1: true, smallFile: true, smallFile + 1: false} {
		blob := s.mustOpen(t, s.put(t, testKey("a"), randomBytes(size, 1)))
		if data, ok := blob.Bytes(); ok != small || (ok && len(data) != size) || !blob.IsFromDisk() || blob.Size() != int64(size) {
			t.Errorf("of %d bytes %d are read: %v", size, len(data), ok)
		}
		if err := blob.Close(); err != nil {
			t.Error(err)
		}
		if data, ok := blob.Bytes(); ok {
			t.Errorf("after Close there are %d bytes to read", len(data))
		}
	}
}
