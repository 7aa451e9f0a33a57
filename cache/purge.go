package cache

import (
	"context"
	"fmt"
	"slices"
)

// Purged tells what a purge removed.
type Purged struct {
	// Entries is the number of keys, Bytes the size of the files that nothing names any more.
	Entries int
	Bytes   int64
}

// purge is a selection that is being removed. Entries up to its serial are gone for look-ups, also those that it hasn't
// come to yet (leaving.isPurged).
type purge struct {
	selector Selector
	serial   uint32
}

// Purge removes the selected entries: at once for look-ups, and durably when it returns. Running downloads aren't
// disturbed, and what was begun before it isn't kept: keys begin new generations (generation.go), in which no older fill is committed
// (Fill.enterEntry) and no older fetch joined. For a whole key its cost doesn't depend on the store's size. When
// ctx ends it stops where it is; what it removed stays removed.
func (s *Store) Purge(ctx context.Context, sel Selector) (Purged, error) {
	if sel.isKey() {
		key := Key(sel)
		s.mu.Lock()
		s.raiseLocked(key)
		s.mu.Unlock()
		s.purgeBeginnings(sel)
		if err := s.materialize(key); err != nil {
			return Purged{}, fmt.Errorf("purging %s: %w", key, err)
		}
		return s.purgeKeys(ctx, []Key{key})
	}
	s.generations.purge(sel)
	s.purgeBeginnings(sel)
	s.mu.Lock()
	running := s.leaving.beginPurge(sel, s.serial)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leaving.endPurge(running)
	}()
	// Those that aren't in the index yet; the others are looked for there.
	var total Purged
	purge := func(keys []Key) error {
		if len(keys) == 0 {
			return nil
		}
		purged, err := s.purgeKeys(ctx, keys)
		total.Entries += purged.Entries
		total.Bytes += purged.Bytes
		return err
	}
	for keys := range slices.Chunk(s.pendingKeys(sel), maxChanges) {
		if err := purge(keys); err != nil {
			return total, err
		}
	}
	if err := s.forEachKeys(ctx, sel, purge); err != nil {
		return total, fmt.Errorf("purging: %w", err)
	}
	// What was selected may be gone for look-ups already, by an earlier purge that nobody waited for, and on its way into the
	// index still.
	_, err := s.purgeKeys(ctx, nil)
	return total, err
}

func (s *Store) pendingKeys(sel Selector) (keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for record := range s.durability.unrecorded() {
		if sel.Matches(record.Key) {
			keys = append(keys, record.Key)
		}
	}
	return keys
}

// purgeKeys removes entries and waits until that is durable, and all that was removed before.
func (s *Store) purgeKeys(ctx context.Context, keys []Key) (Purged, error) {
	var purged Purged
	gone := &removal{done: make(chan error, 1), unpin: true}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return purged, ErrClosed
	}
	for _, k := range keys {
		h := k.hash()
		s.pins.unpin(h)
		gone.keys = append(gone.keys, k.bytes())
		gone.hashes = append(gone.hashes, h)
		if n := s.entries.peek(h); n != nil {
			if n.blob.entries == 1 && !n.blob.unlinked {
				purged.Bytes += n.blob.size
			}
			s.dropLocked(n)
			purged.Entries++
		} else if s.starting.forget(h) {
			purged.Entries++
		}
	}
	s.leaving.remove(gone)
	s.mu.Unlock()
	s.wakeJanitor()
	select {
	case err := <-gone.done:
		if err != nil {
			return purged, fmt.Errorf("making a purge durable: %w", err)
		}
		return purged, nil
	case <-s.ctx.Done():
		return purged, ErrClosed
	case <-ctx.Done():
		return purged, context.Cause(ctx)
	}
}

// Soften marks the selected entries as stale instead of removing them: whoever wants one next has it confirmed first, and
// what was begun before isn't kept. It returns how many there are. When ctx ends it stops where it is.
func (s *Store) Soften(ctx context.Context, sel Selector) (entries int, err error) {
	soften := func(keys []Key) {
		for _, k := range keys {
			s.Raise(k, SoftPurged)
		}
		entries += len(keys)
	}
	pending := s.pendingKeys(sel)
	soften(pending)
	waiting := make(map[Key]struct{}, len(pending))
	for _, k := range pending {
		waiting[k] = struct{}{}
	}
	err = s.forEachKeys(ctx, sel, func(keys []Key) error {
		soften(slices.DeleteFunc(keys, func(k Key) bool {
			_, done := waiting[k]
			return done
		}))
		return nil
	})
	if err != nil {
		return entries, fmt.Errorf("marking entries as stale: %w", err)
	}
	return entries, nil
}
