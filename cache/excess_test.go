package cache

import (
	"math"
	"testing"
	"time"
)

// TestWhatIsToBeEvictedIsKnownToTheByte: too little has fills wait in vain, too much costs files for nothing, and where the file
// system can't be helped nothing is evicted for its sake.
func TestWhatIsToBeEvictedIsKnownToTheByte(t *testing.T) {
	const (
		main     = 640_000
		headroom = main / headroomShare
		minFree  = 50_000
		// Of this much all but what is read can go.
		blobs, open, beginnings = 500_000, 30_000, 7_000
		used                    = blobs + beginnings
		evictable               = blobs - open + beginnings
	)
	for name, test := range map[string]struct {
		wanted        claim
		free, unfreed int64
		excess        int64
		inVain        bool
	}{
		"nothing is wanted, but some headroom":              {claim{}, math.MaxInt64, 0, used - main + headroom, false},
		"less than the headroom":                            {claim{headroom - 1, 0}, math.MaxInt64, 0, used - main + headroom, false},
		"more than the headroom":                            {claim{200_000, 0}, math.MaxInt64, 0, used - main + 200_000, false},
		"the disk has just the room":                        {claim{200_000, 200_000}, minFree + 200_000, 0, used - main + 200_000, false},
		"the disk lacks a byte, which less than all evicts": {claim{200_000, 200_000}, minFree + 199_999, 0, used - main + 200_000, false},
		"the disk lacks more":                               {claim{1_000, 1_000}, minFree + 1_000 - 90_000, 0, 90_000, false},
		"of which some was removed already":                 {claim{1_000, 1_000}, minFree + 1_000 - 90_000, 60_000, 30_000, false},
		"of which all but a byte was":                       {claim{1_000, 1_000}, minFree + 1_000 - 90_000, 89_999, 1, false},
		"of which all was":                                  {claim{1_000, 1_000}, minFree + 1_000 - 90_000, 90_000, used - main + headroom, true},
		"the disk lacks all that can go":                    {claim{1_000, 1_000}, minFree + 1_000 - evictable, 0, evictable, false},
		"one of two that wait would have room":              {claim{1_000, 1_000}, minFree - evictable, 0, evictable, false},
		"not even one would":                                {claim{1_000, 1_000}, minFree - evictable - 1, 0, used - main + headroom, true},
	} {
		s := &Store{limits: Limits{MaxSize: main + 100_000, UploadRoom: 100_000, MinFree: minFree}, pins: newPins(), leaving: newLeaving(), entries: newRecency(), now: time.Now}
		s.space.blobs, s.space.open, s.space.beginnings, s.beginnings.bytes = blobs, open, beginnings, beginnings
		s.space.wanted, s.space.unfreed.bytes = test.wanted, test.unfreed
		if excess, inVain := s.excessLocked(test.free); excess != test.excess || inVain != test.inVain {
			t.Errorf("%s: %d bytes, in vain: %v", name, excess, inVain)
		}
	}
}

// victim makes an entry of a blob.
func (s *Store) addVictim(id byte, blob *blobState) *node {
	n := &node{hash: keyHash{id}, blob: blob}
	blob.entries++
	if s.blobs[blob.digest] == nil {
		s.blobs[blob.digest] = blob
		s.space.blobs += blob.size
	}
	s.entries.add(n)
	return n
}

// TestThoseThatWereUsedLeastRecentlyGoUntilThereIsEnough, and no more of them; whoever is read, given its name or pinned stays, and
// isn't looked at again for each file that goes.
func TestThoseThatWereUsedLeastRecentlyGoUntilThereIsEnough(t *testing.T) {
	for name, test := range map[string]struct {
		excess int64
		most   int
		want   string
	}{
		"none":                                  {0, 100, ""},
		"a byte":                                {1, 100, "a"},
		"one file, just":                        {100, 100, "a"},
		"two":                                   {101, 100, "ab"},
		"a file goes with its last name":        {201, 100, "abcde"},
		"both names of it, and there is enough": {300, 100, "abcde"},
		"one that has no file any more frees nothing": {301, 100, "abcdefg"},
		"a few at a time": {301, 3, "abc"},
		"all that can":    {100_000, 100, "abcdefg"},
	} {
		s := newStore(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 20}})
		s.starting.end()
		ofSize := func(id byte) *blobState { return &blobState{digest: Digest{id}, size: 100} }
		read, busy, pinned := ofSize('1'), ofSize('2'), ofSize('3')
		read.open, busy.busy = 1, make(chan struct{})
		s.space.open = read.size
		s.addVictim('1', read)
		s.addVictim('2', busy)
		s.addVictim('3', pinned)
		s.pins.set(keyHash{'3'}, &pin{until: s.now().Add(time.Hour)})
		s.addVictim('a', ofSize('a'))
		s.addVictim('b', ofSize('b'))
		shared, gone := ofSize('c'), ofSize('f')
		s.addVictim('c', shared)
		s.addVictim('d', shared)
		s.addVictim('e', shared)
		gone.unlinked = true
		s.addVictim('f', gone)
		s.addVictim('g', ofSize('g'))
		victims := s.victimsLocked(test.excess, test.most)
		got := ""
		for _, h := range victims.hashes {
			got += string(h[0])
			if s.entries.peek(h) != nil {
				t.Errorf("%s: %c is evicted and found", name, h[0])
			}
		}
		if got != test.want || s.counters.evictions.Load() != int64(len(got)) || s.entries.len() != 10-len(got) {
			t.Errorf("%s: %q go, %d are counted, %d are left", name, got, s.counters.evictions.Load(), s.entries.len())
		}
		if oldest := s.entries.oldest().hash[0]; test.want != "" && test.want != "abcdefg" && oldest != test.want[len(test.want)-1]+1 {
			t.Errorf("%s: %c comes next", name, oldest)
		}
	}
}
