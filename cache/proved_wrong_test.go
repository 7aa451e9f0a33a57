package cache

import (
	"errors"
	"testing"
)

// TestAFileThatProvesWrongIsToldOnceAndServedToNobody also not to those who looked it up before, from memory.
func TestAFileThatProvesWrongIsToldOnceAndServedToNobody(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30, Memory: 1 << 20})
	data := randomBytes(1000, 1)
	entry := s.put(t, testKey("a"), data)
	for tries := 0; !s.isInMemory(t, testKey("a"), data); tries++ {
		if tries == 10 {
			t.Fatal("it doesn't come into memory")
		}
	}
	s.asJanitor(func() {
		state := s.blobs[entry.Digest]
		for range 2 {
			s.discard(state, reasonChecksum)
		}
		if blob, err := s.OpenBlob(entry); !errors.Is(err, ErrMiss) {
			t.Errorf("opened: %v", err)
			if err == nil {
				_ = blob.Close()
			}
		}
		s.removeAll()
		if _, orphan := s.leaving.orphans[state]; orphan || isOnDisk(blobPath(s.dir, entry.Digest)) {
			t.Error("it isn't removed")
		}
	})
	if damaged := s.Stats().Damaged; damaged != 1 {
		t.Errorf("%d are told", damaged)
	}
}

// TestAFileThatProvesWrongOnceItIsGoneIsNotTold: its last reader has it from a disk that can't give back what was removed.
func TestAFileThatProvesWrongOnceItIsGoneIsNotTold(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
	entry := s.put(t, testKey("a"), randomBytes(smallFile+1, 1))
	blob := s.mustOpen(t, entry)
	defer blob.Close()
	if _, err := s.Purge(t.Context(), Selector(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		s.discard(blob.state, reasonUnreadable)
		if len(s.leaving.orphans) != 0 {
			t.Error("it is to be removed once more")
		}
	})
	if damaged := s.Stats().Damaged; damaged != 0 {
		t.Errorf("%d are told", damaged)
	}
}
