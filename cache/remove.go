package cache

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// removal is a batch of entries on their way out of the index. They are gone for look-ups already.
type removal struct {
	hashes []keyHash
	// keys are those of the hashes, where they are known: the index may lack what leads from a hash to its key.
	keys [][]byte
	// unpin says that the keys' pins go as well.
	unpin bool
	// done gets the result when the removal is durable, or can't be for now. It holds one value.
	done chan error
}

// unlinkBatch bounds how many files are removed before the janitor looks for other work.
const unlinkBatch = 1024

// remove takes removed entries out of the index, durably, and then files that nothing names any more out of the
// directory: the index never names a blob that isn't there. There is one exception: where the index can't be written, most likely
// since the disk is full, files go first, and what the index still names is a miss (leaving.dangling). What is left to remove it
// comes back for.
func (s *Store) remove() {
	failed := s.removeRecords() != nil
	if s.unlinkOrphans(unlinkBatch, failed) {
		s.wakeJanitor()
	}
}

// removeAll is remove to the end, or until the disk refuses.
func (s *Store) removeAll() {
	for more := true; more; {
		failed := s.removeRecords() != nil
		more = s.unlinkOrphans(unlinkBatch, failed)
	}
}

// removeRecords takes all removals that there are out of the index. Where one fails, those after it do as well: nobody is to
// wait for a disk that is full.
func (s *Store) removeRecords() error {
	s.mu.Lock()
	work := s.leaving.takeRemovals()
	s.mu.Unlock()
	var err error
	for len(work) > 0 && err == nil {
		piece := firstRemovals(work)
		err = s.updateIndex(func(tx *bolt.Tx) error {
			for _, r := range piece {
				if err := s.deleteRecords(tx, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			work = work[len(piece):]
			tellWaiters(piece, nil)
		}
	}
	if err == nil {
		return nil
	}
	// Most likely the disk is full, and what would help is removing files: a record without its blob is a miss. The
	// records are tried again with the next removal; nobody waits for that.
	s.counters.diskErrors.Add(1)
	s.logger.Error("removing entries from the index failed; their files are removed all the same", zap.Error(err))
	tellWaiters(work, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range work {
		s.leaving.remove(&removal{hashes: r.hashes, keys: r.keys, unpin: r.unpin})
	}
	return err
}

// firstRemovals returns the removals at the beginning that one transaction is to make.
func firstRemovals(work []*removal) []*removal {
	taken, entries := 1, len(work[0].hashes)
	for taken < len(work) && entries+len(work[taken].hashes) <= maxChanges {
		entries += len(work[taken].hashes)
		taken++
	}
	return work[:taken]
}

// tellWaiters tells who waits for removals what became of them.
func tellWaiters(removals []*removal, err error) {
	for _, r := range removals {
		if r.done != nil {
			r.done <- err
		}
	}
}

func (s *Store) deleteRecords(tx *bolt.Tx, r *removal) error {
	entries, uses, pins := tx.Bucket(entriesBucket), tx.Bucket(usesBucket), tx.Bucket(pinsBucket)
	for i, h := range r.hashes {
		if r.unpin && pins != nil && !s.isPinned(h) {
			if err := pins.Delete(r.keys[i]); err != nil {
				return fmt.Errorf("deleting a pin: %w", err)
			}
		}
		if s.isRecorded(h) {
			continue // stored again since, and the record is the new one's
		}
		_, key := decodeUse(uses.Get(h[:]))
		if r.keys != nil {
			key = r.keys[i]
		}
		if key != nil {
			if err := entries.Delete(key); err != nil {
				return fmt.Errorf("deleting a record: %w", err)
			}
		}
		if err := uses.Delete(h[:]); err != nil {
			return fmt.Errorf("deleting a use: %w", err)
		}
	}
	return nil
}

// isRecorded reports whether the index has a record of this entry that must stay. One that is only about to be written
// doesn't count: what stands there now is older.
func (s *Store) isRecorded(h keyHash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries.peek(h) != nil && s.durability.isWritten(h)
}

// unlinkOrphans removes up to limit files of blobs that no entry names or that are damaged, and reports whether there
// may be more that can be. It stops where entries were removed meanwhile whose records the index still has, unless it is
// to go on without the index. Whoever stores the same bytes meanwhile waits for it.
func (s *Store) unlinkOrphans(limit int, withoutIndex bool) (more bool) {
	var why error
	defer func() {
		if why != nil {
			s.tellStuck(why)
		}
	}()
	for range limit {
		blob, more := s.takeOrphan(withoutIndex)
		if blob == nil {
			return more
		}
		if err := s.unlink(blob); err != nil {
			why = err
		}
	}
	return true
}

// takeOrphan claims a blob to remove, if any may be. While entries are still loading none is: one that isn't loaded yet may
// name it. more says that there may be others when entries are out of the index.
func (s *Store) takeOrphan(withoutIndex bool) (blob *blobState, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leaving.removals) > 0 && !withoutIndex {
		return nil, true
	}
	if s.leaving.stuck.isRefusing() || s.starting.loading {
		return nil, false
	}
	for blob := range s.leaving.orphans {
		if blob.busy != nil {
			continue
		}
		delete(s.leaving.orphans, blob)
		if s.claimLocked(blob) {
			if blob.damaged || withoutIndex {
				s.leaving.addDangling(blob.digest)
			}
			return blob, false
		}
	}
	return nil, false
}

// claimLocked makes a blob busy whose file is to be removed; false if it is busy already, or isn't to be.
func (s *Store) claimLocked(blob *blobState) bool {
	if blob.busy != nil || blob.unlinked || s.blobs[blob.digest] != blob || (blob.entries > 0 && !blob.damaged) {
		return false
	}
	blob.busy = make(chan struct{})
	return true
}

// unlink removes the file of a claimed blob, which isn't busy any more then. One that can't be removed is stuck.
func (s *Store) unlink(blob *blobState) error {
	s.mu.Lock()
	s.memory.remove(blob.digest)
	s.mu.Unlock()
	err := s.fs.Remove(blobPath(s.dir, blob.digest))
	s.mu.Lock()
	defer s.mu.Unlock()
	close(blob.busy)
	blob.busy = nil
	if err != nil {
		s.leaving.refuse(blob, s.now())
		s.space.announce() // who purged it waits in vain
		return s.diskError("removing a blob", err)
	}
	delete(s.blobs, blob.digest)
	s.counters.freedBytes.Add(blob.size)
	s.unlinkedLocked(blob)
	s.leaving.stuck.relent()
	return nil
}

// unlinkedLocked moves a blob's bytes from those in the directory to those that its readers still hold.
func (s *Store) unlinkedLocked(blob *blobState) {
	blob.unlinked = true
	s.leaving.settle(blob)
	s.space.blobs -= blob.size
	if blob.open > 0 {
		s.space.open -= blob.size
		s.space.lingering += blob.size
	} else {
		s.space.unfreed.add(blob.size, s.now())
	}
	s.space.announce()
}
