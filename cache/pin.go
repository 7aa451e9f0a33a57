package cache

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

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
	before, made := s.pins.ofKeys[h], (*pin)(nil)
	var err error
	switch {
	case s.closed:
		err = ErrClosed
	case n == nil || n.blob.damaged:
		err = ErrMiss
	case expired: // in memory once it is durable
	case s.pins.bytes-before.size()+n.blob.size > s.limits.maxPinned():
		err = ErrNoRoom
	default:
		made = &pin{key: k.bytes(), until: until}
		s.setPinLocked(h, made)
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
		s.pins.unpin(h)
	case err != nil && made != nil && s.pins.ofKeys[h] == made:
		// Which the index still has. There may be no room for it any more, of which the janitor tells.
		s.setPinLocked(h, before)
		s.wakeJanitor()
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("pinning %s: %w", k, err)
	}
	return nil
}

// setPinLocked pins a key in place of what its pin was; nil unpins it.
func (s *Store) setPinLocked(h keyHash, p *pin) {
	s.pins.set(h, p)
	if n := s.entries.peek(h); n != nil {
		s.pins.fill(h, n.blob.size, s.mostPinnedLocked())
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
	pins := s.pins.all()
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

func (s *Store) isPinned(h keyHash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pins.keeps(h, s.now())
}

// mostPinnedLocked bounds the bytes that pins keep. While the store loads nothing is given up: the janitor chooses among
// all, once they are known.
func (s *Store) mostPinnedLocked() int64 {
	if s.starting.loading {
		return math.MaxInt64
	}
	return s.limits.maxPinned()
}

// readPins takes the index's pins in.
func (s *Store) readPins() {
	read, err := s.pinsOfIndex()
	if err != nil {
		s.logger.Error("reading which files are pinned failed; they can be evicted", zap.Error(err))
		read = nil // what stands before damage may be damaged as well
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins.load(read)
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

// putPin writes a pin into the index's bucket.
func putPin(pins *bolt.Bucket, key []byte, until time.Time) error {
	return pins.Put(key, writeNumber(until.UnixNano()))
}

// pinnedUntil reads the time of a pin that putPin wrote.
func pinnedUntil(data []byte) time.Time { return time.Unix(0, readNumber(data)).UTC() }

// removeGivenUpPins gives up the pins that there is no room for, takes them out of the index, so that they aren't back
// after a restart, and tells of them. Where it fails they wait for others, or for being tried again.
func (s *Store) removeGivenUpPins(again bool) {
	s.mu.Lock()
	s.pins.trim(s.mostPinnedLocked())
	keys, fresh := s.pins.takeGivenUp(again)
	s.mu.Unlock()
	if fresh > 0 {
		s.logger.Warn("pinned files have outgrown what may be pinned; they can be evicted now", zap.Int("files", fresh))
	}
	if len(keys) == 0 {
		return
	}
	err := s.deletePins(keys, func(key, _ []byte) bool { return s.isPinned(hashOf(key)) })
	if err != nil {
		s.logger.Warn("removing pins from the index failed; it is tried again", zap.Int("pins", len(keys)), zap.Error(err))
		s.mu.Lock()
		s.pins.putBackGivenUp(keys)
		s.mu.Unlock()
	}
}

// deletePins takes pins out of the index, but for those that are to stay by what the index has of them now; nil for nothing.
func (s *Store) deletePins(keys [][]byte, stays func(key, until []byte) bool) error {
	return s.updateIndex(func(tx *bolt.Tx) error {
		pins := tx.Bucket(pinsBucket)
		if pins == nil {
			return nil
		}
		for _, key := range keys {
			if stays(key, pins.Get(key)) {
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
	s.mu.Lock()
	expired := s.pins.takeExpired(s.now())
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
