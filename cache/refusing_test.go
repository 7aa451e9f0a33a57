package cache

import (
	"slices"
	"testing"
	"time"
)

// TestADiskRefusesWhenSixteenFilesInARowStay: of a file that is stuck already another refusal says nothing, and one that
// goes shows that the disk removes.
func TestADiskRefusesWhenSixteenFilesInARowStay(t *testing.T) {
	l, at := newLeaving(), time.Unix(1_700_000_000, 0)
	if most := l.stuck.mostVictims(); most != maxChanges {
		t.Errorf("at most %d are evicted of a disk that is well", most)
	}
	blobs := make([]*blobState, maxRefusals)
	for i := range blobs {
		blobs[i] = &blobState{digest: Digest{byte(i)}}
		l.orphan(blobs[i])
		if l.stuck.isRefusing() {
			t.Errorf("the disk is taken to refuse after %d files", i)
		}
		for range 2 {
			l.refuse(blobs[i], at.Add(time.Duration(i)))
			if most := l.stuck.mostVictims(); most != maxRefusals-i-1 {
				t.Errorf("after %d refusals at most %d are evicted", i+1, most)
			}
		}
	}
	if !l.stuck.isRefusing() || len(l.orphans) != 0 || len(l.stuck.files) != maxRefusals || !l.stuck.tried.Equal(at.Add(maxRefusals-1)) {
		t.Errorf("%d files are stuck since %s, %d are to go", len(l.stuck.files), l.stuck.tried, len(l.orphans))
	}
	l.stuck.relent()
	if l.stuck.isRefusing() || l.stuck.mostVictims() != maxChanges {
		t.Error("a disk that has removed a file is taken to refuse")
	}
	l.orphan(blobs[0]) // named meanwhile, and not any more
	l.settle(blobs[1])
	if _, stuck := l.stuck.files[blobs[0]]; stuck || len(l.stuck.files) != maxRefusals-2 || len(l.orphans) != 1 {
		t.Errorf("%d files are stuck, %d are to go", len(l.stuck.files), len(l.orphans))
	}
	l.settle(blobs[0])
	if len(l.orphans) != 0 {
		t.Error("a file that is named is to go")
	}
}

// TestStuckFilesTakeTurns tries two of four, and one that is gone by then.
func TestStuckFilesTakeTurns(t *testing.T) {
	l, at := newLeaving(), time.Unix(1_700_000_000, 0)
	for i := range 4 {
		l.refuse(&blobState{digest: Digest{byte(i)}}, at)
	}
	first := l.stuck.beginRound(at.Add(1))
	for _, file := range first[:2] {
		l.stuck.noteTried(file)
	}
	gone := new(blobState)
	l.stuck.noteTried(gone)
	second := l.stuck.beginRound(at.Add(2))
	if len(second) != 4 || slices.Contains(second[:2], first[0]) || slices.Contains(second[:2], first[1]) || !l.stuck.tried.Equal(at.Add(2)) {
		t.Errorf("%d files, and those that were tried come first again", len(second))
	}
	for _, file := range second[:2] {
		l.stuck.noteTried(file)
	}
	if third := l.stuck.beginRound(at.Add(3)); slices.Contains(third[:2], second[0]) || slices.Contains(third[:2], second[1]) {
		t.Error("those that were tried in the second round come first in the third")
	}
}

// TestARefusingDiskIsAskedAgainEveryTwoSeconds, while fills wait for it, and one that doesn't refuse isn't.
func TestARefusingDiskIsAskedAgainEveryTwoSeconds(t *testing.T) {
	clock := new(testClock)
	s, fs := openSticky(t, Limits{MaxSize: 1 << 30}, clock)
	fs.keep(func(string) bool { return true })
	for i := range maxRefusals {
		s.put(t, numberedKey(i), randomBytes(100, byte(i)))
	}
	if _, err := s.Purge(t.Context(), Selector{}); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		for _, step := range []struct {
			name     string
			passed   time.Duration
			refusals int
			want     bool
		}{
			{"right after", troublePause - 1, maxRefusals, false},
			{"after two seconds", 1, maxRefusals, true},
			{"again at once", 0, maxRefusals, false},
			{"with a disk that has removed a file", troublePause, 0, false},
		} {
			s.leaving.stuck.refusals = step.refusals
			clock.pass(step.passed)
			before := fs.tried.Load()
			s.retryRefused()
			if tried := fs.tried.Load() > before; tried != step.want {
				t.Errorf("%s it is asked: %v", step.name, tried)
			}
		}
	})
}

// TestATransactionTakesAsManyRemovalsAsItMay has removals that fill one just so, and one entry too many.
func TestATransactionTakesAsManyRemovalsAsItMay(t *testing.T) {
	of := func(sizes ...int) (work []*removal) {
		for _, size := range sizes {
			work = append(work, &removal{hashes: make([]keyHash, size)})
		}
		return work
	}
	for _, test := range []struct {
		sizes []int
		want  int
	}{
		{[]int{1}, 1},
		{[]int{maxChanges + 1, 1}, 1},
		{[]int{maxChanges, 1}, 1},
		{[]int{maxChanges, 0, 1}, 2},
		{[]int{maxChanges - 3, 1, 1, 1, 1}, 4},
		{[]int{1, maxChanges}, 1},
		{[]int{0, 0, 0}, 3},
	} {
		if got := len(firstRemovals(of(test.sizes...))); got != test.want {
			t.Errorf("of %v %d are taken, not %d", test.sizes, got, test.want)
		}
	}
}

// TestARunningPurgeTakesWhatWasThereWhenItBegan, of what it selects, and nothing once it is over.
func TestARunningPurgeTakesWhatWasThereWhenItBegan(t *testing.T) {
	l, k := newLeaving(), testKey("a")
	one, other := l.beginPurge(Selector{Project: "24"}, 5), l.beginPurge(Selector{Project: "25"}, 9)
	for serial, want := range map[uint32]bool{0: true, 5: true, 6: false} {
		if l.isPurged(k, serial) != want {
			t.Errorf("serial %d is purged: %v", serial, !want)
		}
	}
	l.endPurge(one)
	elsewhere := k
	elsewhere.Project = "25"
	if l.isPurged(k, 0) || !l.isPurged(elsewhere, 9) {
		t.Error("the end of one purge is that of another")
	}
	l.endPurge(other)
	if l.isPurged(elsewhere, 9) {
		t.Error("a purge that is over goes on")
	}
	l.remove(new(removal))
	if len(l.takeRemovals()) != 0 {
		t.Error("nothing is to be removed, and the index is written")
	}
	l.remove(&removal{hashes: make([]keyHash, 1)})
	l.remove(&removal{done: make(chan error, 1)})
	if first, second := l.takeRemovals(), l.takeRemovals(); len(first) != 2 || len(second) != 0 {
		t.Errorf("%d removals are taken, and %d again", len(first), len(second))
	}
}
