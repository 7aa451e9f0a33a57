package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// Why a file is not what its name says.
const (
	reasonGone       = "its file is gone"
	reasonLength     = "its file has another length"
	reasonUnreadable = "its file can't be read"
	reasonChecksum   = "its checksum is wrong"
	reasonUnsynced   = "it could not be synced"
)

// discard removes a blob that isn't what its name says. All entries that name it are misses from now on: the next
// caller fetches the file. They leave the index when they are next asked for; until then a record names a digest, and
// whatever comes under that name again was checked against it.
func (s *Store) discard(blob *blobState, reason string) {
	s.mu.Lock()
	known := blob.damaged || blob.unlinked
	blob.damaged = true
	if !known {
		s.leaving.orphan(blob)
		s.memory.remove(blob.digest)
	}
	s.mu.Unlock()
	if known {
		return
	}
	s.counters.damaged.Add(1)
	s.logger.Error("a stored file is damaged; it is removed and will be fetched again",
		zap.Stringer("sha256", blob.digest), zap.String("reason", reason))
	s.wakeJanitor()
}

// beginIndex opens index.db, if need be a new one.
func (s *Store) beginIndex() error {
	db, err := openIndex(indexPath(s.dir))
	if errors.Is(err, errDamagedIndex) {
		if err := s.setIndexAside(err); err != nil {
			return err
		}
		db, err = openIndex(indexPath(s.dir))
	}
	if err != nil {
		return err
	}
	// bbolt syncs the file, but not its name.
	if err := s.fs.SyncDir(s.dir); err != nil {
		return errors.Join(err, db.close())
	}
	s.index.mu.Lock()
	s.index.db = db
	s.index.mu.Unlock()
	return s.viewIndex(func(tx *bolt.Tx) error {
		total := readNumber(tx.Bucket(metaBucket).Get(bytesName))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.space.estimate = max(total, 0)
		return nil
	})
}

// setIndexAside gives a damaged index another name, for whoever wants to know what happened to it. Only the last one is
// kept: they take room that is counted nowhere.
func (s *Store) setIndexAside(reason error) error {
	if s.isDirectoryLost() {
		return fmt.Errorf("the directory is another one now: %w", reason) // and so is its index
	}
	earlier, _ := filepath.Glob(damagedIndexPattern(s.dir)) // the only error is a bad pattern
	aside := damagedIndexPath(s.dir, s.now().Unix())
	s.logger.Error("the index of the store can't be read; it is set aside and an empty one begun",
		zap.String("set_aside", aside), zap.Error(reason))
	for _, path := range earlier {
		if err := os.RemoveAll(path); err != nil {
			s.logger.Warn("removing an earlier damaged index failed", zap.Error(err))
		}
	}
	return os.Rename(indexPath(s.dir), aside)
}

// replaceIndex sets a damaged index aside while the store runs, and begins an empty one. Of the entries those stay whose
// records are in memory; the files of all others are removed, since nothing says any more what they are. It returns the
// reason as an error: what was asked of the old index has no answer. It is called without locks.
func (s *Store) replaceIndex(damaged *database, reason error) error {
	s.index.mu.Lock()
	ours := s.index.db == damaged
	if ours {
		s.index.db, s.index.condemned = nil, reason
		s.index.replaced++
	}
	s.index.mu.Unlock()
	if !ours {
		return reason // somebody else was faster
	}
	s.counters.diskErrors.Add(1)
	s.mendIndex()
	if err := damaged.close(); err != nil {
		s.logger.Warn("closing the damaged index failed", zap.Error(err))
	}
	return reason
}

// mendIndex begins an index if there is none, because a damaged one was given up. That one is set aside first: opened
// once more it would be taken for the new one. The janitor calls it until all has worked.
func (s *Store) mendIndex() {
	s.mending.Lock()
	defer s.mending.Unlock()
	if _, err := s.index.current(); !errors.Is(err, errNoIndex) {
		return
	}
	s.index.mu.Lock()
	condemned := s.index.condemned
	s.index.mu.Unlock()
	if condemned != nil {
		if err := s.setIndexAside(condemned); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.logger.Error("setting the damaged index aside failed; it is tried again", zap.Error(err))
			return
		}
		s.index.mu.Lock()
		s.index.condemned = nil
		s.index.mu.Unlock()
	}
	db, err := openIndex(indexPath(s.dir))
	if errors.Is(err, errDamagedIndex) {
		if err = s.setIndexAside(err); err == nil {
			db, err = openIndex(indexPath(s.dir))
		}
	}
	if err != nil {
		s.logger.Error("beginning another index failed; it is tried again", zap.Error(err))
		return
	}
	s.index.mu.Lock()
	closed := s.index.closed
	if !closed {
		s.index.db = db
	}
	s.index.mu.Unlock()
	if closed {
		_ = db.close() // it is empty
		return
	}
	s.welcomeIndex()
}

// welcomeIndex names a new index durably and gives it what memory knows.
func (s *Store) welcomeIndex() {
	if err := s.fs.SyncDir(s.dir); err != nil {
		s.logger.Warn("naming the new index durably failed", zap.Error(err))
	}
	s.keepRemembered()
	if err := s.notePins(); err != nil {
		s.logger.Error("noting pins in the new index failed; they hold until the next start", zap.Error(err))
	}
}

// forgetBatch is how many entries are looked at under the lock at a time.
const forgetBatch = 4096

// keepRemembered puts all entries whose records are in memory on the way into the new index, and drops the others.
func (s *Store) keepRemembered() {
	s.mu.Lock()
	hashes := slices.Collect(maps.Keys(s.entries.nodes))
	s.mu.Unlock()
	for len(hashes) > 0 {
		batch := hashes[:min(forgetBatch, len(hashes))]
		hashes = hashes[len(batch):]
		s.mu.Lock()
		for _, h := range batch {
			n := s.entries.peek(h)
			if n == nil {
				continue
			}
			if record := s.durability.record(h); record != nil {
				s.durability.add(h, record)
			} else {
				s.dropLocked(n)
			}
		}
		s.mu.Unlock()
	}
	s.wakeJanitor()
}
