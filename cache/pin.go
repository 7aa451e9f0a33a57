package cache

import (
	"context"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// pin keeps a key's entry from eviction. It belongs to the key: it outlives a publish, and bytes that prove damaged.
type pin struct {
	key   []byte // as the index has it
	until time.Time
	// bytes is the size of the entry's file; 0 while there is no entry.
	bytes int64
}

func (l Limits) maxPinned() int64 {
	if l.MaxPinned > 0 {
		return l.MaxPinned
	}
	return l.MaxSize / 2
}

// Pin keeps a key's entry from eviction until then, also over restarts; a time that has passed unpins it. It is durable
// when Pin returns. ErrMiss: there is no entry. ErrNoRoom: Limits.MaxPinned allows no more, and nothing was changed.
// What is purged is unpinned, too.
func (s *Store) Pin(ctx context.Context, k Key, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := s.materialize(k); err != nil {
		return fmt.Errorf("pinning %s: %w", k, err)
	}
	h, expired := k.hash(), !until.After(s.now())
	s.mu.Lock()
	n, known := s.entries.Peek(h)
	before := s.pins[h]
	var err error
	switch {
	case s.closed:
		err = ErrClosed
	case !known || n.blob.damaged:
		err = ErrMiss
	case expired:
		s.dropPinLocked(h)
	case before == nil && s.pinned+n.blob.size > s.limits.maxPinned():
		err = ErrNoRoom
	default:
		s.dropPinLocked(h)
		s.pins[h] = &pin{key: k.bytes(), until: until}
		s.fillPinLocked(h, n.blob.size)
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("pinning %s: %w", k, err)
	}
	err = s.writePin(k, until, expired)
	if err == nil && !expired && !s.isPinned(h) {
		// Purged meanwhile, maybe before it was written: it must not come back at the next start.
		err = s.writePin(k, until, true)
	}
	if err != nil {
		s.mu.Lock()
		s.dropPinLocked(h)
		s.mu.Unlock()
		return fmt.Errorf("pinning %s: %w", k, err)
	}
	return nil
}

// writePin puts a pin into the index, or takes it out.
func (s *Store) writePin(k Key, until time.Time, remove bool) error {
	return s.updateIndex(func(tx *bolt.Tx) error {
		pins, err := tx.CreateBucketIfNotExists(pinsBucket)
		if err != nil {
			return err
		}
		if remove {
			return pins.Delete(k.bytes())
		}
		return pins.Put(k.bytes(), writeNumber(until.UnixNano()))
	})
}

// isPinnedLocked reports whether a key is pinned now.
func (s *Store) isPinnedLocked(h keyHash) bool {
	if len(s.pins) == 0 {
		return false
	}
	p := s.pins[h]
	return p != nil && p.until.After(s.now())
}

func (s *Store) isPinned(h keyHash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isPinnedLocked(h)
}

// fillPinLocked notes that a key, if it is pinned, has an entry of that size now. A file that became too large for what
// may be pinned is so no more.
func (s *Store) fillPinLocked(h keyHash, size int64) {
	p := s.pins[h]
	if p == nil {
		return
	}
	s.pinned += size - p.bytes
	p.bytes = size
	if s.pinned > s.limits.maxPinned() {
		s.dropPinLocked(h)
		s.outgrown++
		s.wakeJanitor()
	}
}

// emptyPinLocked notes that a key, if it is pinned, has no entry any more.
func (s *Store) emptyPinLocked(h keyHash) {
	if p := s.pins[h]; p != nil {
		s.pinned -= p.bytes
		p.bytes = 0
	}
}

func (s *Store) dropPinLocked(h keyHash) {
	s.emptyPinLocked(h)
	delete(s.pins, h)
}

// readPins takes the index's pins in. What was pinned since the start is newer.
func (s *Store) readPins() {
	var read []*pin
	err := s.viewIndex(func(tx *bolt.Tx) error {
		pins := tx.Bucket(pinsBucket)
		if pins == nil {
			return nil
		}
		return pins.ForEach(func(key, until []byte) error {
			read = append(read, &pin{key: slices.Clone(key), until: pinnedUntil(until)})
			return nil
		})
	})
	if err != nil {
		s.logger.Error("reading which files are pinned failed; they can be evicted", zap.Error(err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range read {
		if h := hashOf(p.key); s.pins[h] == nil {
			s.pins[h] = p
		}
	}
}

// pinnedUntil reads the time of a pin in the index.
func pinnedUntil(data []byte) time.Time { return time.Unix(0, readNumber(data)).UTC() }

// tellOutgrown tells how many pinned files became too large to be pinned.
func (s *Store) tellOutgrown() {
	s.mu.Lock()
	outgrown := s.outgrown
	s.outgrown = 0
	s.mu.Unlock()
	if outgrown > 0 {
		s.logger.Warn("pinned files have outgrown what may be pinned; they can be evicted now", zap.Int("files", outgrown))
	}
}

// removeExpiredPins forgets pins whose time has passed, here and in the index.
func (s *Store) removeExpiredPins() {
	var expired [][]byte
	s.mu.Lock()
	for h, p := range s.pins {
		if !p.until.After(s.now()) {
			expired = append(expired, p.key)
			s.dropPinLocked(h)
		}
	}
	s.mu.Unlock()
	if len(expired) == 0 {
		return
	}
	err := s.updateIndex(func(tx *bolt.Tx) error {
		pins := tx.Bucket(pinsBucket)
		if pins == nil {
			return nil
		}
		for _, key := range expired {
			if pinnedUntil(pins.Get(key)).After(s.now()) {
				continue // pinned anew meanwhile
			}
			if err := pins.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		// They are expired all the same, and found so at the next start.
		s.logger.Warn("removing expired pins from the index failed", zap.Int("pins", len(expired)), zap.Error(err))
	}
}
