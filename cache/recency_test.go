package cache

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEntriesStandInTheOrderOfTheirUse(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	r := newRecency()
	var want []*node
	without := func(h keyHash) {
		want = slices.DeleteFunc(want, func(n *node) bool { return n.hash == h })
	}
	for range 20_000 {
		h := keyHash{byte(random.IntN(40))} //nolint:gosec // below 256
		n := r.peek(h)
		switch action := random.IntN(3); {
		case action == 0:
			n = &node{hash: h}
			r.add(n)
			without(h)
			want = append(want, n)
		case n == nil:
		case action == 1:
			r.use(n)
			without(h)
			want = append(want, n)
		default:
			r.remove(n)
			without(h)
		}
		if got := slices.Collect(r.all()); !slices.Equal(got, want) || r.len() != len(want) {
			t.Fatalf("%d entries are there, in another order than that of the %d that should be", r.len(), len(want))
		}
		if oldest := r.oldest(); (oldest == nil) != (len(want) == 0) || (oldest != nil && oldest != want[0]) {
			t.Fatal("the oldest is another one")
		}
	}
}
