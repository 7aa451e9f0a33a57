package cache

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Purged tells what a purge removed.
type Purged struct {
	// Entries is the number of keys.
	Entries int
	// Bytes is the size of the files that are gone from the disk, Held that of those that nothing names any more and that will
	// go: they are being read, the disk doesn't remove them now, or the store is still loading.
	Bytes, Held int64
}

// purging is a purge under way: what it has removed, and the blobs that nothing names any more.
type purging struct {
	// single says that it is of one key, of which memory knows all that the index has (materialize), also during the start.
	single  bool
	entries int
	blobs   []*blobState
}

// purge is a selection that is being removed. Entries up to its serial are gone for look-ups, also those that it hasn't
// come to yet (leaving.isPurged).
type purge struct {
	selector Selector
	serial   uint32
}

// Purge removes the selected entries: at once for look-ups, durably when it returns, and with their files, but for those that
// are held (Purged.Held). Running downloads aren't disturbed, and what was begun before it isn't kept: keys begin new
// generations (generation.go), in which no older fill is committed (Fill.enterEntry) and no older fetch joined. For a whole key
// its cost doesn't depend on the store's size. When ctx ends it stops where it is; what it removed stays removed.
func (s *Store) Purge(ctx context.Context, sel Selector) (Purged, error) {
	return s.PurgeTelling(ctx, sel, func(Digest, int64) {})
}

// PurgeTelling is Purge that tells of each content, with its size, that nothing names any more.
func (s *Store) PurgeTelling(ctx context.Context, sel Selector, unnamed func(digest Digest, size int64)) (Purged, error) {
	p := &purging{single: sel.isKey()}
	err := s.purge(ctx, sel, p)
	for _, blob := range p.blobs {
		unnamed(blob.digest, blob.size)
	}
	if err != nil {
		return s.tally(p), err
	}
	return s.awaitGone(ctx, p), nil
}

func (s *Store) purge(ctx context.Context, sel Selector, p *purging) error {
	if p.single {
		key := Key(sel)
		s.mu.Lock()
		s.raiseLocked(key)
		s.mu.Unlock()
		s.purgeBeginnings(sel)
		if err := s.materialize(key); err != nil {
			return fmt.Errorf("purging %s: %w", key, err)
		}
		return s.purgeKeys(ctx, []Key{key}, p)
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
	purge := func(keys []Key) error {
		if len(keys) == 0 {
			return nil
		}
		return s.purgeKeys(ctx, keys, p)
	}
	for keys := range slices.Chunk(s.pendingKeys(sel), maxChanges) {
		if err := purge(keys); err != nil {
			return err
		}
	}
	if err := s.forEachKeys(ctx, sel, purge); err != nil {
		return fmt.Errorf("purging: %w", err)
	}
	// What was selected may be gone for look-ups already, by an earlier purge that nobody waited for, and on its way into the
	// index still.
	return s.purgeKeys(ctx, nil, p)
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
func (s *Store) purgeKeys(ctx context.Context, keys []Key, p *purging) error {
	gone := &removal{done: make(chan error, 1), unpin: true}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	for _, k := range keys {
		h := k.hash()
		s.pins.unpin(h)
		gone.keys = append(gone.keys, k.bytes())
		gone.hashes = append(gone.hashes, h)
		if n := s.entries.peek(h); n != nil {
			s.dropLocked(n)
			p.entries++
			if n.blob.entries == 0 && !n.blob.unlinked {
				p.blobs = append(p.blobs, n.blob)
			}
		} else {
			if s.starting.mayHave(h) && !p.single {
				p.entries++
			}
			s.starting.forget(h)
		}
	}
	s.leaving.remove(gone)
	s.mu.Unlock()
	s.wakeJanitor()
	select {
	case err := <-gone.done:
		if err != nil {
			return fmt.Errorf("making a purge durable: %w", err)
		}
		return nil
	case <-s.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// goneTimeout bounds how long a purge waits without any file going: a disk that hangs with one must not keep the admin.
const goneTimeout = 30 * time.Second

// awaitGone waits until the janitor has removed the files of a purge, but for those that it can't remove now.
func (s *Store) awaitGone(ctx context.Context, p *purging) Purged {
	timer := time.NewTimer(goneTimeout)
	defer timer.Stop()
	freed := s.counters.freedBytes.Load()
	for _, blob := range p.blobs {
		for {
			s.mu.Lock()
			settled, changed := s.isSettledLocked(blob), s.space.change()
			s.mu.Unlock()
			if settled {
				break
			}
			// They go in any order: it may be the last.
			if now := s.counters.freedBytes.Load(); now != freed {
				freed = now
				timer.Reset(goneTimeout)
			}
			select {
			case <-changed:
			case <-timer.C:
				return s.tally(p)
			case <-s.ctx.Done():
				return s.tally(p)
			case <-ctx.Done():
				return s.tally(p)
			}
		}
	}
	return s.tally(p)
}

// isSettledLocked reports whether waiting for the file of a purged blob to go is over, or in vain for now.
func (s *Store) isSettledLocked(blob *blobState) bool {
	_, stuck := s.leaving.stuck.files[blob]
	return blob.unlinked || blob.entries > 0 || stuck || s.starting.loading || s.leaving.stuck.isRefusing()
}

// tally counts what a purge has removed. Files that somebody has stored anew meanwhile count for neither.
func (s *Store) tally(p *purging) Purged {
	purged := Purged{Entries: p.entries}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, blob := range p.blobs {
		switch {
		case blob.unlinked && blob.open == 0:
			purged.Bytes += blob.size
		case blob.unlinked, blob.entries == 0:
			purged.Held += blob.size
		}
	}
	return purged
}

// Soften marks the selected entries as stale instead of removing them: whoever wants one next has it confirmed first, and
// what was begun before isn't kept. It returns how many there are. When ctx ends it stops where it is.
func (s *Store) Soften(ctx context.Context, sel Selector) (entries int, err error) {
	err = s.forEachSelected(ctx, sel, func(keys []Key) {
		for _, k := range keys {
			s.Raise(k, SoftPurged)
		}
		entries += len(keys)
	})
	if err != nil {
		return entries, fmt.Errorf("marking entries as stale: %w", err)
	}
	return entries, nil
}
