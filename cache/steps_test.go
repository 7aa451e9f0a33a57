package cache

import (
	"context"
	"slices"
	"testing"
)

// transactions is how many times the index was read so far.
func (s *Store) transactions(t testing.TB) int {
	t.Helper()
	db, err := s.index.current()
	if err != nil {
		t.Fatal(err)
	}
	stats := db.Stats()
	return stats.TxN
}

func TestFewEntriesAmongManyAreListedInSteps(t *testing.T) {
	const entries = 3*listStep + 100
	dir := t.TempDir()
	writeIndex(t, dir, entries)
	s := openStore(t, dir, Limits{MaxSize: 1 << 40})
	awaitLoaded(t, s)
	rare := func(i int) Key {
		key := numberedKey(i)
		key.File = "rare"
		return key
	}
	want := make([]Key, 0, 7)
	for i := range 7 {
		want = append(want, rare(i*(entries/6)))
		s.put(t, want[i], randomBytes(100, byte(i)))
		if i == 4 {
			if err := s.Sync(context.Background()); err != nil { // the others are only in memory
				t.Fatal(err)
			}
		}
	}
	slices.SortFunc(want, Key.Compare)
	sel := Selector{Upstream: want[0].Upstream, File: "rare"}
	for _, limit := range []int{1, 2, 3, 7, 100} {
		var listed []Key
		var after *Key
		before := s.transactions(t)
		for more := true; more; {
			page, err := s.Entries(context.Background(), sel, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				listed = append(listed, e.Key)
			}
			if more = len(page) == limit; more {
				after = &listed[len(listed)-1]
			}
		}
		if !slices.Equal(listed, want) {
			t.Errorf("in pages of %d: listed %v, not %v", limit, listed, want)
		}
		// One transaction that reads them all would be in the way of whoever writes.
		if steps := s.transactions(t) - before; steps <= entries/listStep {
			t.Errorf("in pages of %d: %d transactions for %d entries", limit, steps, entries)
		}
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Entries(stopped, sel, nil, 1); err == nil {
		t.Error("listed although nobody waits")
	}
}
