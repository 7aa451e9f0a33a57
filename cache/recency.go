package cache

import "iter"

// recency holds entries by the hash of their keys, in the order of their last use. It never lets one go by itself.
//
// The links are in the nodes. golang-lru, which holds what is small here, has an element of 80 bytes beside each value, for
// expiry times and back references; of a million entries that would be a fourth of what they take.
type recency struct {
	nodes map[keyHash]*node
	// ring stands between the newest node, which is its older neighbour, and the oldest, its newer one.
	ring node
}

func newRecency() *recency {
	r := &recency{nodes: make(map[keyHash]*node)}
	r.ring.newer, r.ring.older = &r.ring, &r.ring
	return r
}

func (r *recency) len() int { return len(r.nodes) }

// peek looks an entry up without using it; nil if there is none.
func (r *recency) peek(h keyHash) *node { return r.nodes[h] }

// add takes an entry in, as used now, in place of another one of its key.
func (r *recency) add(n *node) {
	if other := r.nodes[n.hash]; other != nil {
		r.remove(other)
	}
	r.nodes[n.hash] = n
	r.link(n)
}

// use notes that an entry is used now.
func (r *recency) use(n *node) {
	r.unlink(n)
	r.link(n)
}

func (r *recency) remove(n *node) {
	delete(r.nodes, n.hash)
	r.unlink(n)
}

// oldest is the entry that wasn't used for longest; nil if there is none.
func (r *recency) oldest() *node {
	for n := r.ring.newer; n != &r.ring; n = n.newer {
		if !n.isMark() {
			return n
		}
	}
	return nil
}

// mark makes a mark of the present moment: what is used from now on is newer than it. It stays until it is unlinked.
func (r *recency) mark() *node {
	n := new(node)
	r.link(n)
	return n
}

// before are the entries that weren't used since a mark was made, the one that wasn't used for longest first.
func (r *recency) before(mark *node) iter.Seq[*node] {
	return func(visit func(*node) bool) {
		for n := r.ring.newer; n != mark && n != &r.ring; {
			next := n.newer // n may be used meanwhile
			if !n.isMark() && !visit(n) {
				return
			}
			n = next
		}
	}
}

// all are the entries and the marks, the one that wasn't used for longest first. The one that is visited may be removed
// meanwhile.
func (r *recency) all() iter.Seq[*node] {
	return func(visit func(*node) bool) {
		for n := r.ring.newer; n != &r.ring; {
			next := n.newer
			if !visit(n) {
				return
			}
			n = next
		}
	}
}

// link makes a node the newest.
func (r *recency) link(n *node) {
	n.older, n.newer = r.ring.older, &r.ring
	n.older.newer, n.newer.older = n, n
}

// isMark reports whether a node stands for a moment and not for an entry.
func (n *node) isMark() bool { return n.blob == nil }

// isLinked reports whether a node is an entry's.
func (n *node) isLinked() bool { return n.newer != nil }

func (r *recency) unlink(n *node) {
	n.older.newer, n.newer.older = n.newer, n.older
	n.older, n.newer = nil, nil
}
