package caddymodule

import (
	"math"
	"runtime/debug"
	"sync"
)

// memoryShares takes what the memory tiers may take off Go's own bound of memory, which Caddy sets to nine tenths of what the
// system or the container has: the tiers lie outside of what Go counts, and both together must fit.
type memoryShares struct {
	// mu guards all below; nothing is waited for under it.
	mu    sync.Mutex
	taken map[*state]int64
	// whole is Go's bound without the tiers, and set what was made of it; another bound than that is somebody else's word.
	whole, set int64
}

// take notes how much a cache directory's memory tier may take from now on; 0 for nothing any more.
func (m *memoryShares) take(s *state, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken == nil {
		m.taken = make(map[*state]int64)
	}
	m.taken[s] = bytes
	if bytes == 0 {
		delete(m.taken, s)
	}
	if inForce := debug.SetMemoryLimit(-1); inForce != m.set {
		m.whole = inForce
	}
	if m.whole == math.MaxInt64 {
		return // nobody has set one
	}
	left := m.whole
	for _, bytes := range m.taken {
		left -= bytes
	}
	// With less than that, Go would do little but look for memory to free.
	m.set = max(left, m.whole/4)
	debug.SetMemoryLimit(m.set)
}
