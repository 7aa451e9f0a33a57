package cache

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Unpin takes back the pins of the selected keys, durably when it returns, and tells how many there were. Their files stay,
// and can be evicted. After an error pins may be back at the next start.
func (s *Store) Unpin(ctx context.Context, sel Selector) (pins int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	read, err := s.pinsOfIndex()
	if err != nil {
		return 0, fmt.Errorf("unpinning: %w", err)
	}
	found := make(map[keyHash][]byte)
	note := func(key []byte) {
		if k, ok := parseKey(key); ok && sel.Matches(k) {
			found[hashOf(key)] = key
		}
	}
	for _, p := range read { // also those that the start hasn't come to yet
		note(p.key)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0, ErrClosed
	}
	for _, p := range s.pins.all() {
		note(p.key)
	}
	for h := range found {
		s.pins.unpin(h)
	}
	s.mu.Unlock()
	keys := slices.Collect(maps.Values(found))
	if len(keys) == 0 {
		return 0, nil
	}
	// One that was pinned anew meanwhile stays.
	if err := s.deletePins(keys, func(key, _ []byte) bool { return s.isPinned(hashOf(key)) }); err != nil {
		return len(keys), fmt.Errorf("unpinning: %w", err)
	}
	s.wakeJanitor()
	return len(keys), nil
}
