package cache

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// parallelSyncs is how many blobs are synced at a time; the disk orders them better than we could.
const parallelSyncs = 4

// persist makes all whole blobs durable and only then names them in the index, in one transaction: the index never
// names a blob that a power cut could take. False means that the disk failed; all is as before, and is tried again.
func (s *Store) persist() bool {
	s.persisting.Lock()
	defer s.persisting.Unlock()
	s.mu.Lock()
	batch := maps.Clone(s.pending)
	touched := s.touched
	s.touched = make(map[keyHash]time.Time)
	fresh := make(map[Digest]*blobState)
	for _, entry := range batch {
		if blob := s.blobs[entry.Digest]; blob != nil && !blob.durable {
			fresh[entry.Digest] = blob
		}
	}
	s.mu.Unlock()
	if len(batch) == 0 && len(touched) == 0 {
		return true
	}
	err := s.syncBlobs(slices.Collect(maps.Keys(fresh)))
	if err == nil {
		err = s.writeRecords(batch, touched)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.counters.diskErrors++
		for h, use := range touched {
			if _, newer := s.touched[h]; !newer {
				s.touched[h] = use
			}
		}
		s.logger.Error("making files durable failed; they are served, and it is tried again", zap.Int("files", len(batch)), zap.Error(err))
		return false
	}
	for _, blob := range fresh {
		blob.durable = true
	}
	for h, entry := range batch {
		if s.pending[h] == entry {
			delete(s.pending, h)
			s.hot.Add(h, entry)
		}
	}
	return true
}

func (s *Store) syncBlobs(digests []Digest) error {
	var group errgroup.Group
	group.SetLimit(parallelSyncs)
	shards := make(map[byte]struct{})
	for _, digest := range digests {
		shards[digest[0]] = struct{}{}
		group.Go(func() error {
			file, err := s.fs.Open(blobPath(s.dir, digest))
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed meanwhile; its record will be too
			}
			if err != nil {
				return err
			}
			return errors.Join(file.Sync(), file.Close())
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for first := range shards {
		if err := s.fs.SyncDir(shardPath(s.dir, first)); err != nil {
			return err
		}
	}
	return nil
}

// writeRecords writes entries and last uses in one transaction.
func (s *Store) writeRecords(batch map[keyHash]*Entry, touched map[keyHash]time.Time) error {
	s.mu.Lock()
	total := s.space.blobs
	s.mu.Unlock()
	return s.updateIndex(func(tx *bolt.Tx) error {
		entries, uses := tx.Bucket(entriesBucket), tx.Bucket(usesBucket)
		for h, entry := range batch {
			if !s.isKnown(h) {
				continue // removed meanwhile
			}
			record, err := encodeRecord(entry)
			if err != nil {
				return err
			}
			key := entry.Key.bytes()
			if err := entries.Put(key, record); err != nil {
				return err
			}
			if err := uses.Put(h[:], append(writeNumber(entry.Stored.UnixNano()), key...)); err != nil {
				return err
			}
		}
		for h, at := range touched {
			use := uses.Get(h[:])
			if len(use) <= 8 {
				continue // removed meanwhile
			}
			if err := uses.Put(slices.Clone(h[:]), append(writeNumber(at.UnixNano()), use[8:]...)); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(bytesName, writeNumber(total))
	})
}

// storedBytes is the sum of all blobs as the index kept it.
func (s *Store) storedBytes() (total int64, err error) {
	err = s.viewIndex(func(tx *bolt.Tx) error {
		total = readNumber(tx.Bucket(metaBucket).Get(bytesName))
		return nil
	})
	return max(total, 0), err
}

// replaceIndex sets a damaged index aside while the store runs, and begins an empty one. Of the entries those stay that
// aren't in the index yet; all other files are removed, since nothing says any more what they are. It returns the
// reason as an error: what was asked of the old index has no answer.
func (s *Store) replaceIndex(reason error) error {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	if s.index.db == nil {
		return ErrClosed
	}
	old := s.index.db
	s.index.db = nil
	path, aside := indexPath(s.dir), damagedIndexPath(s.dir, s.now().Unix())
	s.logger.Error("the index of the store is damaged; it is set aside and an empty one begun",
		zap.String("set_aside", aside), zap.Error(reason))
	err := func() (err error) {
		defer guardDamage(&err)()
		return old.Close()
	}()
	if err != nil {
		s.logger.Warn("closing the damaged index failed", zap.Error(err))
	}
	if err := os.Rename(path, aside); err != nil {
		return errors.Join(reason, err)
	}
	if s.index.db, err = openIndex(path); err != nil {
		return errors.Join(reason, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.entries.Keys() {
		if _, stays := s.pending[h]; stays {
			continue
		}
		if n, ok := s.entries.Peek(h); ok {
			s.dropLocked(h, n)
		}
	}
	s.wakeJanitor()
	return reason
}
