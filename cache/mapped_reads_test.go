package cache

import (
	"testing"
	"time"
)

// TestLookUpsGiveBackWhatTheyMapOfTheIndex: else a random walk through a large store would hold all of the index in memory.
func TestLookUpsGiveBackWhatTheyMapOfTheIndex(t *testing.T) {
	dir := t.TempDir()
	writeIndex(t, dir, 2*maxMappedReads)
	s := openStore(t, dir, Limits{MaxSize: 1 << 40})
	awaitLoaded(t, s)
	for round := range 2 {
		for i := range maxMappedReads {
			if _, err := s.Lookup(numberedKey(round*maxMappedReads + i)); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(10 * time.Second); s.index.reads.Load() >= maxMappedReads; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is given back")
			}
		}
	}
	if _, err := s.Lookup(numberedKey(3)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
