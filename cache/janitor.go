package cache

import (
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// Two goroutines look after the store. The janitor makes room: it takes entries out of the index and then their blobs
// out of the directory. The other (keepDurable) syncs what has become whole and then names it in the index; it is slow
// when the disk is, and must not keep the janitor, whom fills wait for, from making room. Both look at memory inside
// their transactions, and bbolt runs those one after another: an entry that memory doesn't know any more is not
// written, and one that it knows again is not removed.

const (
	// durableWithin is how long a whole blob may wait for its sync. A crash costs that much of the last fills at worst.
	durableWithin = time.Second
	// usesWithin is how long the index may lag behind in what was used last.
	usesWithin = 10 * time.Second
	// evictionBatch bounds how many entries one transaction removes.
	evictionBatch = 512
	// headroomShare is the part of MaxSize that is kept free ahead of need, so that fills seldom wait for evictions.
	headroomShare = 64
	// troublePause is the wait after a failure of the disk.
	troublePause = 2 * time.Second
)

// tend is the janitor. It ends with the store's context.
func (s *Store) tend() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
			s.remove()
			s.evict()
		}
	}
}

// keepDurable calls persist in time. It ends with the store's context.
func (s *Store) keepDurable() {
	durable, uses := time.NewTimer(durableWithin), time.NewTicker(usesWithin)
	defer durable.Stop()
	defer uses.Stop()
	scheduled := true
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.dirty:
			if !scheduled {
				scheduled = true
				durable.Reset(durableWithin)
			}
		case <-durable.C:
			scheduled = false
			if !s.persist() {
				scheduled = true
				durable.Reset(troublePause)
			}
		case <-uses.C:
			s.persist()
		}
	}
}

// evict removes what was used least recently until fills have the room they lack.
func (s *Store) evict() {
	for {
		s.mu.Lock()
		if s.loading || s.closed {
			s.mu.Unlock()
			return
		}
		headroom := s.limits.MaxSize / headroomShare
		excess := max(s.space.wanted, s.space.used()+headroom-s.limits.MaxSize)
		if excess <= 0 {
			s.mu.Unlock()
			return
		}
		batch := s.victimsLocked(excess)
		if len(batch.hashes) == 0 {
			s.space.exhausted = true
			s.space.wanted = 0
			s.space.announce()
			s.mu.Unlock()
			return
		}
		s.removals = append(s.removals, batch)
		before := s.counters.freed
		s.mu.Unlock()
		s.remove()
		s.mu.Lock()
		s.space.wanted = max(0, s.space.wanted-(s.counters.freed-before))
		s.mu.Unlock()
	}
}

// victimsLocked takes the least recently used entries out of memory, as many as it takes to free that many bytes.
// Those that are being read are passed over and count as used now.
func (s *Store) victimsLocked(excess int64) *removal {
	batch := new(removal)
	for range s.entries.Len() {
		if excess <= 0 || len(batch.hashes) == evictionBatch {
			break
		}
		h, n, ok := s.entries.GetOldest()
		if !ok {
			break
		}
		blob := s.blobs[n.digest]
		if blob != nil && (blob.open > 0 || blob.busy != nil) {
			s.entries.Get(h)
			continue
		}
		s.dropLocked(h, n)
		s.counters.evictions++
		batch.hashes = append(batch.hashes, h)
		if blob != nil && blob.entries == 0 {
			excess -= blob.size
		}
	}
	return batch
}

// remove takes removed entries out of the index, durably, and then the blobs that nothing names any more out of the
// directory: the index never names a blob that isn't there.
func (s *Store) remove() {
	s.mu.Lock()
	work := s.removals
	s.removals = nil
	s.mu.Unlock()
	if len(work) > 0 {
		err := s.removeRecords(work)
		if err != nil {
			// Most likely the disk is full, and what would help is removing files: a record without its blob is a miss.
			s.logger.Error("removing entries from the index failed; their files are removed all the same", zap.Error(err))
			s.mu.Lock()
			s.counters.diskErrors++
			s.removals = append(s.removals, retry(work)...)
			s.mu.Unlock()
		}
		for _, r := range work {
			if r.done != nil {
				r.done <- err
			}
		}
	}
	s.unlinkOrphans()
}

// retry makes of removals that failed others to try again, of which nobody waits for the result.
func retry(failed []*removal) []*removal {
	again := make([]*removal, 0, len(failed))
	for _, r := range failed {
		again = append(again, &removal{keys: r.keys, hashes: r.hashes})
	}
	return again
}

func (s *Store) removeRecords(work []*removal) error {
	return s.updateIndex(func(tx *bolt.Tx) error {
		entries, uses := tx.Bucket(entriesBucket), tx.Bucket(usesBucket)
		for _, r := range work {
			for _, h := range r.hashes {
				if s.isKnown(h) {
					continue // stored again meanwhile; its record will be overwritten
				}
				use := uses.Get(h[:])
				if len(use) > 8 {
					if err := entries.Delete(use[8:]); err != nil {
						return err
					}
				}
				if err := uses.Delete(h[:]); err != nil {
					return err
				}
			}
			for _, key := range r.keys {
				if k, ok := parseKey(key); ok && s.isKnown(k.hash()) {
					continue
				}
				if err := entries.Delete(key); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (s *Store) isKnown(h keyHash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries.Contains(h)
}

// unlinkOrphans removes the files of blobs that no entry names. Whoever stores the same bytes meanwhile waits for it.
func (s *Store) unlinkOrphans() {
	for {
		s.mu.Lock()
		digest, blob := s.nextOrphanLocked()
		if blob == nil {
			s.mu.Unlock()
			return
		}
		blob.busy = make(chan struct{})
		s.forgetMemoryLocked(digest)
		s.mu.Unlock()
		err := s.fs.Remove(blobPath(s.dir, digest))

		s.mu.Lock()
		close(blob.busy)
		blob.busy = nil
		if err != nil {
			s.counters.diskErrors++
			s.orphans[digest] = struct{}{}
			s.mu.Unlock()
			s.logger.Error("removing a file failed", zap.Stringer("sha256", digest), zap.Error(err))
			return
		}
		s.unlinkedLocked(digest, blob)
		s.mu.Unlock()
	}
}

// unlinkedLocked takes a blob out of memory whose file is gone from the directory. Its readers keep it.
func (s *Store) unlinkedLocked(digest Digest, blob *blobState) {
	delete(s.blobs, digest)
	blob.unlinked = true
	s.space.blobs -= blob.size
	s.counters.freed += blob.size
	if blob.open > 0 {
		s.space.lingering += blob.size
	}
	s.space.announce()
}

// nextOrphanLocked takes a blob to remove. While entries are still loading none is: one that isn't loaded yet may name
// it.
func (s *Store) nextOrphanLocked() (Digest, *blobState) {
	if s.loading {
		return Digest{}, nil
	}
	for digest := range s.orphans {
		blob := s.blobs[digest]
		if blob != nil && blob.busy != nil {
			continue
		}
		delete(s.orphans, digest)
		if blob != nil && blob.entries == 0 {
			return digest, blob
		}
	}
	return Digest{}, nil
}

// readIndex reads a key's record and deals with an index that proves damaged.
func (s *Store) readIndex(k Key) (*Entry, error) {
	record, err := s.index.read(k)
	if errors.Is(err, errDamagedIndex) {
		return nil, s.replaceIndex(err)
	}
	return record, err
}

func (s *Store) viewIndex(read func(*bolt.Tx) error) error {
	err := s.index.view(read)
	if errors.Is(err, errDamagedIndex) {
		return s.replaceIndex(err)
	}
	return err
}

func (s *Store) updateIndex(write func(*bolt.Tx) error) error {
	err := s.index.update(write)
	if errors.Is(err, errDamagedIndex) {
		return s.replaceIndex(err)
	}
	return err
}
