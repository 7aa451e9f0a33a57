package cache

import (
	"slices"
	"testing"
)

// TestAMarkStandsBetweenWhatWasUsedBeforeAndSince uses some of what was there when a mark was made, and adds more.
func TestAMarkStandsBetweenWhatWasUsedBeforeAndSince(t *testing.T) {
	r := newRecency()
	nodes := make([]*node, 6)
	for i := range nodes {
		nodes[i] = &node{hash: keyHash{byte(i)}, blob: new(blobState)}
	}
	early := r.mark()
	for _, n := range nodes[:4] {
		r.add(n)
	}
	mark := r.mark()
	r.add(nodes[4])
	r.use(nodes[1])
	before := func(mark *node) []*node { return slices.Collect(r.before(mark)) }
	if got := before(mark); !slices.Equal(got, []*node{nodes[0], nodes[2], nodes[3]}) {
		t.Errorf("%d entries weren't used since", len(got))
	}
	if got := before(early); got != nil {
		t.Errorf("%d entries are older than the first mark", len(got))
	}
	if r.oldest() != nodes[0] || r.len() != 5 {
		t.Errorf("a mark counts as an entry: %d", r.len())
	}
	visited := 0
	for n := range r.before(mark) {
		visited++
		r.use(n) // as what is being read is passed over
		if visited == 2 {
			break
		}
	}
	if got := before(mark); visited != 2 || !slices.Equal(got, []*node{nodes[3]}) {
		t.Errorf("%d are left after %d were used", len(got), visited)
	}
	r.unlink(mark)
	if mark.isLinked() {
		t.Error("a mark that was given back still stands")
	}
	if got := before(mark); !slices.Equal(got, []*node{nodes[3], nodes[4], nodes[1], nodes[0], nodes[2]}) {
		t.Errorf("%d entries are there", len(got))
	}
}
