package cache

import (
	"context"
	"fmt"
	"maps"
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
// when Pin returns. ErrMiss: there is no entry. ErrNoRoom: Limits.MaxPinned allows no more. After an error an earlier pin
// stays. What is purged is unpinned, too.
func (s *Store) Pin(ctx context.Context, k Key, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := s.materialize(k); err != nil {
		return fmt.Errorf("pinning %s: %w", k, err)
	}
	h, expired := k.hash(), !until.After(s.now())
	s.mu.Lock()
	n := s.entries.peek(h)
	before, made := s.pins[h], (*pin)(nil)
	var err error
	switch {
	case s.closed:
		err = ErrClosed
	case n == nil || n.blob.damaged:
		err = ErrMiss
	case expired: // in memory once it is durable
	case s.pinned-before.size()+n.blob.size > s.limits.maxPinned():
		err = ErrNoRoom
	default:
		s.dropPinLocked(h)
		made = &pin{key: k.bytes(), until: until}
		s.pins[h] = made
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
	s.mu.Lock()
	switch {
	case err == nil && expired:
		s.unpinLocked(h)
	case err != nil && made != nil && s.pins[h] == made:
		s.restorePinLocked(h, before)
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("pinning %s: %w", k, err)
	}
	return nil
}

// size is what a pin keeps; nil keeps nothing.
func (p *pin) size() int64 {
	if p == nil {
		return 0
	}
	return p.bytes
}

// restorePinLocked puts back what a pin took the place of, which the index still has.
func (s *Store) restorePinLocked(h keyHash, before *pin) {
	s.dropPinLocked(h)
	if before == nil {
		return
	}
	before.bytes = 0
	s.pins[h] = before
	if n := s.entries.peek(h); n != nil {
		s.fillPinLocked(h, n.blob.size)
	}
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
		return putPin(pins, k.bytes(), until)
	})
}

// notePins puts all pins into a new index. It looks for no damage: that would begin another one within this one's
// beginning.
func (s *Store) notePins() error {
	s.mu.Lock()
	pins := make([]pin, 0, len(s.pins))
	for _, p := range s.pins {
		pins = append(pins, *p)
	}
	s.mu.Unlock()
	if len(pins) == 0 {
		return nil
	}
	_, err := s.index.update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(pinsBucket)
		if err != nil {
			return err
		}
		for _, p := range pins {
			if err := putPin(bucket, p.key, p.until); err != nil {
				return err
			}
		}
		return nil
	})
	return err
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
	switch {
	case s.pinned <= s.limits.maxPinned():
	case s.loading:
		s.wakeJanitor() // it chooses among all, once they are known
	default:
		s.giveUpPinLocked(h)
	}
}

// giveUpPinLocked drops a pin for want of room. The janitor takes it out of the index.
func (s *Store) giveUpPinLocked(h keyHash) {
	s.outgrown = append(s.outgrown, s.pins[h].key)
	s.dropPinLocked(h)
	s.wakeJanitor()
}

// trimPinsLocked gives up pins until the rest is allowed, those first whose time ends first.
func (s *Store) trimPinsLocked() {
	if s.loading || s.pinned <= s.limits.maxPinned() {
		return
	}
	hashes := slices.SortedFunc(maps.Keys(s.pins), func(a, b keyHash) int { return s.pins[a].until.Compare(s.pins[b].until) })
	for _, h := range hashes {
		if s.pinned <= s.limits.maxPinned() {
			return
		}
		if s.pins[h].bytes > 0 {
			s.giveUpPinLocked(h)
		}
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

// unpinLocked drops a pin that nobody wants any more.
func (s *Store) unpinLocked(h keyHash) {
	s.dropPinLocked(h)
	if s.unpinned != nil {
		s.unpinned[h] = struct{}{}
	}
}

// readPins takes the index's pins in. What was pinned or unpinned since the start is newer.
func (s *Store) readPins() {
	read, err := s.pinsOfIndex()
	if err != nil {
		s.logger.Error("reading which files are pinned failed; they can be evicted", zap.Error(err))
		read = nil // what stands before damage may be damaged as well
	}
	s.takePins(read)
}

func (s *Store) pinsOfIndex() (read []*pin, err error) {
	err = s.viewIndex(func(tx *bolt.Tx) error {
		pins := tx.Bucket(pinsBucket)
		if pins == nil {
			return nil
		}
		return pins.ForEach(func(key, until []byte) error {
			read = append(read, &pin{key: slices.Clone(key), until: pinnedUntil(until)})
			return nil
		})
	})
	return read, err
}

func (s *Store) takePins(read []*pin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range read {
		h := hashOf(p.key)
		if _, unpinned := s.unpinned[h]; !unpinned && s.pins[h] == nil {
			s.pins[h] = p
		}
	}
	s.unpinned = nil
}

// putPin writes a pin into the index's bucket.
func putPin(pins *bolt.Bucket, key []byte, until time.Time) error {
	return pins.Put(key, writeNumber(until.UnixNano()))
}

// pinnedUntil reads the time of a pin that putPin wrote.
func pinnedUntil(data []byte) time.Time { return time.Unix(0, readNumber(data)).UTC() }

// removeOutgrownPins gives up the pins that there is no room for, takes them out of the index, so that they aren't back
// after a restart, and tells of them. Those whose removal failed before it tries if again is true.
func (s *Store) removeOutgrownPins(again bool) {
	s.mu.Lock()
	s.trimPinsLocked()
	outgrown := s.outgrown
	s.outgrown = nil
	keys := outgrown
	if again {
		keys = append(keys, s.leftPins...)
		s.leftPins = nil
	}
	s.mu.Unlock()
	if len(outgrown) > 0 {
		s.logger.Warn("pinned files have outgrown what may be pinned; they can be evicted now", zap.Int("files", len(outgrown)))
	}
	if len(keys) == 0 {
		return
	}
	err := s.deletePins(keys, func(key, _ []byte) bool { return s.isPinned(hashOf(key)) })
	if err != nil {
		s.logger.Warn("removing pins from the index failed; it is tried again", zap.Int("pins", len(keys)), zap.Error(err))
		s.mu.Lock()
		s.leftPins = append(s.leftPins, keys...)
		s.mu.Unlock()
	}
}

// deletePins takes pins out of the index, but for those that are to stay by what the index has of them now.
func (s *Store) deletePins(keys [][]byte, stays func(key, until []byte) bool) error {
	return s.updateIndex(func(tx *bolt.Tx) error {
		pins := tx.Bucket(pinsBucket)
		if pins == nil {
			return nil
		}
		for _, key := range keys {
			until := pins.Get(key)
			if until == nil || stays(key, until) {
				continue
			}
			if err := pins.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
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
	// Some may have been pinned anew meanwhile.
	err := s.deletePins(expired, func(_, until []byte) bool { return pinnedUntil(until).After(s.now()) })
	if err != nil {
		// They are expired all the same, and found so at the next start.
		s.logger.Warn("removing expired pins from the index failed", zap.Int("pins", len(expired)), zap.Error(err))
	}
}
