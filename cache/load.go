package cache

import (
	"cmp"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// loadBatch is how many entries are read in one transaction, and entered under one hold of the lock: longer ones would
// keep look-ups waiting, for the lock or for bbolt's mapping to grow.
const loadBatch = 2048

// loaded is one entry as the index had it at the start.
type loaded struct {
	hash   keyHash
	digest Digest
	size   int64
	use    int64
	owed   bool
}

// load fills memory from the index while look-ups go on, and removes what earlier processes left. It ends by itself, or
// with the store's context.
func (s *Store) load() {
	s.removeOldParts()
	// Before the index is read: what is stored later is none of the sweep's.
	listed := s.listBlobs()
	s.index.mu.Lock()
	replaced := s.index.replaced
	s.index.mu.Unlock()
	found, err := s.readAll()
	for err != nil && s.ctx.Err() == nil && !s.isIndexReplacedSince(replaced) {
		// It isn't damaged, so all that it names is there, and must not be swept.
		s.logger.Error("reading the index failed; it is tried again", zap.Error(err))
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(loadPause):
		}
		found, err = s.readAll()
	}
	if s.ctx.Err() != nil {
		return
	}
	if s.isIndexReplacedSince(replaced) {
		s.logger.Error("the index was damaged; what it named is fetched again", zap.Error(err))
		found = nil
	}
	slices.SortFunc(found, func(a, b loaded) int { return cmp.Compare(a.use, b.use) })
	// Before anything can be evicted.
	s.readPins()
	s.merge(s.enterAll(found))
	s.mu.Lock()
	s.loadOwedLocked(found)
	s.mu.Unlock()
	s.index.unmap()
	s.sweep(listed)
	close(s.starting.ready)
	s.wakeJanitor()
}

// loadPause is how long a start waits before it tries again to read an index that can't be read now.
const loadPause = time.Second

func (s *Store) isIndexReplacedSince(replaced int) bool {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return s.index.replaced != replaced
}

func (s *Store) removeOldParts() {
	for _, name := range s.starting.oldParts {
		if err := s.fs.Remove(filepath.Join(fillsPath(s.dir), name)); err != nil {
			_ = s.diskError("removing an unfinished fill", err)
			s.logger.Warn("removing what an earlier process didn't finish failed", zap.String("name", name), zap.Error(err))
		}
	}
	s.starting.oldParts = nil
}

// readAll reads what memory keeps of each entry, in many short transactions. What changes between them is known to
// merge.
func (s *Store) readAll() (found []loaded, err error) {
	for after, more := []byte(nil), true; more; {
		last, err := s.walkIndex(s.ctx, nil, after, loadBatch, func(tx *bolt.Tx, key, record []byte) error {
			if digest, size, owed, err := checkRecord(key, record); err == nil {
				h := hashOf(key)
				at, _ := decodeUse(tx.Bucket(usesBucket).Get(h[:]))
				found = append(found, loaded{hash: h, digest: digest, size: size, use: at, owed: owed})
			} // a damaged record is no entry
			return nil
		})
		if err != nil {
			return nil, err
		}
		after, more = last, last != nil
	}
	return found, nil
}

// enterAll makes what was found known, the least recently used first. The blobs are everybody's at once; the entries
// stand aside until merge, since what is used meanwhile must count as used later.
func (s *Store) enterAll(found []loaded) *recency {
	entries := newRecency()
	for batch := range slices.Chunk(found, loadBatch) {
		s.mu.Lock()
		for _, e := range batch {
			blob := s.blobLocked(e.digest, e.size)
			blob.entries++
			s.starting.find(blob)
			if twin := entries.peek(e.hash); twin != nil {
				s.releaseBlobLocked(twin.blob) // of another key with the same hash; it is a miss from now on
			}
			entries.add(&node{hash: e.hash, blob: blob, confirmed: unconfirmed})
		}
		s.mu.Unlock()
	}
	return entries
}

// merge puts what was loaded under what happened meanwhile. Its cost is that of what happened, not of what was loaded.
func (s *Store) merge(entries *recency) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// An entry that memory knows already, or knows to be gone, isn't the index's any more.
	outdate := func(h keyHash) {
		if old := entries.peek(h); old != nil {
			entries.remove(old)
			s.releaseBlobLocked(old.blob)
		}
	}
	for h := range s.starting.forgotten {
		outdate(h)
	}
	for n := range s.entries.all() {
		if n.isMark() {
			entries.link(n)
			continue
		}
		outdate(n.hash)
		entries.add(n)
	}
	s.entries = entries
	s.leaveToEntriesLocked()
	for h := range s.pins.ofKeys {
		if n := entries.peek(h); n != nil {
			s.pins.fill(h, n.blob.size, s.mostPinnedLocked())
		}
	}
	s.starting.end()
	s.space.estimate = 0
	s.space.announce()
}
