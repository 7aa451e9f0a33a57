package cache

import (
	"fmt"
	"path/filepath"
	"testing"
)

// takenOf goes through a store by steps.
func (s *Store) takenOf(t *testing.T, look int) (all []Taken) {
	t.Helper()
	for after, more := (*Key)(nil), true; more; {
		taken, last, err := s.Taken(t.Context(), after, look)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, taken...)
		after, more = last, last != nil
	}
	return all
}

func TestWhatEntriesTakeIsToldByStepsInTheOrderOfKeys(t *testing.T) {
	for _, look := range []int{1, 2, 3, 8, 100} {
		s := openStore(t, filepath.Join(t.TempDir(), "store"), Limits{})
		awaitLoaded(t, s)
		var want []string
		for i := range 8 {
			k := testKey(fmt.Sprintf("f%d", i))
			entry := s.put(t, k, randomBytes(100+i, byte(i)))
			for range i % 3 {
				blob, err := s.OpenHit(entry)
				if err != nil {
					t.Fatal(err)
				}
				_ = blob.Close()
			}
			if i == 4 { // the later ones are on their way into the index
				if err := s.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.stopJanitor()
			}
			if i != 2 {
				want = append(want, fmt.Sprint(Taken{k, int64(100 + i), uint32(i % 3)}))
			}
		}
		s.put(t, testKey("f1"), randomBytes(101, 1)) // in the index, and on its way there
		want[1] = fmt.Sprint(Taken{testKey("f1"), 101, 0})
		s.mu.Lock()
		s.forgetEntryLocked(s.entries.peek(testKey("f2").hash())) // the index has it still
		s.mu.Unlock()
		var got []string
		for _, one := range s.takenOf(t, look) {
			got = append(got, fmt.Sprint(one))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d at a time: %v,\nwant %v", look, got, want)
		}
	}
}

// TestWhatEntriesTakeIsToldWhileTheyAreLoading has entries that memory doesn't know yet.
func TestWhatEntriesTakeIsToldWhileTheyAreLoading(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	writeIndex(t, dir, 5)
	s := openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	s.mu.Lock()
	s.starting.loading = true
	n := s.entries.peek(numberedKey(3).hash())
	s.entries.remove(n)
	s.mu.Unlock()
	if taken := s.takenOf(t, 2); len(taken) != 5 || taken[3] != (Taken{Key: numberedKey(3), Size: 100}) {
		t.Errorf("%+v", taken)
	}
	s.mu.Lock()
	s.starting.loading = false
	s.mu.Unlock()
	if taken := s.takenOf(t, 2); len(taken) != 4 {
		t.Errorf("when all are loaded: %+v", taken)
	}
	s.mu.Lock()
	s.entries.add(n) // or the blob would have an entry too many at the end
	s.mu.Unlock()
}
