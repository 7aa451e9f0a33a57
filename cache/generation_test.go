package cache

import (
	"context"
	"math"
	"strconv"
	"testing"
)

// TestAWidePurgeBeginsNoNewGenerationForOthers: what is on its way to other keys goes on, and what was confirmed of them stays so.
func TestAWidePurgeBeginsNoNewGenerationForOthers(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	ours, other := testKey("a"), testKey("b")
	other.Project = "25"
	begun := s.Generation(ours)
	fill, err := s.Begin(ours, begun, FillSpec{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Generation(other)
	if _, err := s.Purge(context.Background(), Selector{Upstream: other.Upstream, Project: "25"}); err != nil {
		t.Fatal(err)
	}
	if s.Generation(ours) != begun || s.Generation(other) == before || !before.Precedes(s.Generation(other)) {
		t.Errorf("ours: %s then %s; the other's: %s then %s", begun, s.Generation(ours), before, s.Generation(other))
	}
	if _, err := fill.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := fill.Commit(begun); err != nil {
		t.Error(err)
	}
}

// TestNoGenerationComesBackHoweverManyPurgesThereAre: purges are remembered in a list that begins anew when it is long.
func TestNoGenerationComesBackHoweverManyPurgesThereAre(t *testing.T) {
	var g generations
	g.begin(newSlots())
	k := testKey("a")
	seen := map[Generation]bool{g.of(k): true}
	for i := range 3 * maxWidePurges {
		selector, ours := Selector{Project: strconv.Itoa(1000 + i)}, i%5 == 0
		switch {
		case i%150 == 0:
			selector = Selector{}
		case ours:
			selector = Selector{Project: k.Project, Package: k.Package}
		}
		before := g.of(k)
		g.purge(selector)
		after := g.of(k)
		switch {
		case after != before && (seen[after] || !before.Precedes(after)):
			t.Fatalf("purge %d leads from %s to %s", i, before, after)
		case ours && after == before:
			t.Fatalf("purge %d begins no new generation", i)
		}
		seen[after] = true
		if n := len(g.purges.Load().some); n > maxWidePurges || (n > 0 && selector == Selector{}) {
			t.Fatalf("after purge %d, %d are remembered that each look-up compares its key with", i, n)
		}
	}
}

// TestGenerationsFollowEachOtherAlsoWhereTheirNumbersBeginAnew: what is older is told from what is newer, or an old answer counts.
func TestGenerationsFollowEachOtherAlsoWhereTheirNumbersBeginAnew(t *testing.T) {
	const last, half = math.MaxUint32, 1 << 31
	for _, test := range []struct {
		one, other Generation
		want       bool
	}{
		{Generation{1, 5}, Generation{1, 5}, false},
		{Generation{1, 5}, Generation{1, 6}, true},
		{Generation{1, 6}, Generation{1, 5}, false},
		{Generation{1, last}, Generation{1, 0}, true},
		{Generation{1, 0}, Generation{1, last}, false},
		{Generation{1, 7}, Generation{1, 7 + half - 1}, true},
		{Generation{1, 7}, Generation{1, 7 + half}, false}, // too far to tell
		{Generation{1, 9}, Generation{2, 3}, true},
		{Generation{2, 3}, Generation{1, 9}, false},
		{Generation{last, 9}, Generation{0, 3}, true},
	} {
		if got := test.one.Precedes(test.other); got != test.want {
			t.Errorf("%s precedes %s: %v", test.one, test.other, got)
		}
	}
	if next := (Generation{3, last}).Next(); next != (Generation{3, 0}) || next.String() != "3.0" {
		t.Errorf("after the last comes %s", next)
	}
}
