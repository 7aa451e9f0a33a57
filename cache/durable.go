package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	// parallelSyncs is how many blobs are synced at a time; the disk orders them better than we could.
	parallelSyncs = 8
	// syncAllFrom is from how many blobs on one sync of the whole file system costs less than theirs.
	syncAllFrom = 64
)

// Sync makes durable what is whole now, without waiting for the next time that it would happen anyway, and removes what
// it replaced. The error is that of the index; a file that the disk refuses to keep is removed and is no error.
func (s *Store) Sync(ctx context.Context) error {
	done := make(chan error, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.durability.wait(done)
	s.mu.Unlock()
	s.wakeJanitor()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return ErrClosed
	}
}

func (s *Store) takeBatch(withUses bool) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durability.take(withUses)
}

// syncBlobs makes the batch's blobs survive a power cut: their bytes, then their names. It runs beside the janitor, so
// that room can be made meanwhile. After a sync has failed the kernel may have given the bytes up and says that all is
// well when asked again, so it is asked once. Where the process lacks something, such as file descriptors, nothing was
// asked yet, and the whole batch waits.
func (s *Store) syncBlobs(b *batch) {
	if len(b.fresh) >= syncAllFrom && s.fs.SyncAll(s.dir) == nil {
		return
	}
	var mu sync.Mutex // guards b.failed and b.postponed
	fail := func(blob *blobState, err error) {
		mu.Lock()
		defer mu.Unlock()
		if isShortage(err) {
			b.postponed = err
			return
		}
		b.failed = append(b.failed, blob)
		s.counters.diskErrors.Add(1)
		s.logger.Error("syncing a file failed", zap.Stringer("sha256", blob.digest), zap.Error(err))
	}
	var group errgroup.Group
	group.SetLimit(parallelSyncs)
	shards := make(map[byte][]*blobState)
	for _, blob := range b.fresh {
		shards[blob.digest[0]] = append(shards[blob.digest[0]], blob)
		group.Go(func() error {
			if err := s.syncBlob(blob); err != nil {
				fail(blob, err)
			}
			return nil
		})
	}
	_ = group.Wait() // errors are kept with their blobs
	for first, blobs := range shards {
		group.Go(func() error {
			if err := s.fs.SyncDir(shardPath(s.dir, first)); err != nil {
				for _, blob := range blobs {
					fail(blob, err)
				}
			}
			return nil
		})
	}
	_ = group.Wait()
}

func (s *Store) syncBlob(blob *blobState) error {
	file, err := s.fs.Open(blobPath(s.dir, blob.digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile; its entry is gone too
	}
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// recordBatch names a batch's blobs in the index, now that they are durable. False means that the index could not be
// written to the end; what isn't there yet is tried again.
func (s *Store) recordBatch(b *batch) bool {
	s.mendIndex()
	for _, blob := range b.failed {
		s.discard(blob, reasonUnsynced)
	}
	err := b.postponed
	if err == nil {
		err = s.writeBatch(b)
	}
	s.endBatch(b, err)
	// Files that only the old records named.
	s.remove()
	for _, waiter := range b.waiters {
		waiter <- err
	}
	return err == nil
}

// takeRecords returns the records of a batch whose blobs are durable now.
func (s *Store) takeRecords(b *batch) []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, blob := range b.fresh {
		if s.blobs[blob.digest] == blob && !blob.damaged {
			s.leaving.dropDangling(blob.digest)
		}
	}
	entries := make([]*Entry, 0, len(s.durability.recording))
	for h, entry := range s.durability.recording {
		n := s.entries.peek(h)
		switch {
		case n == nil:
		case n.blob.damaged:
			// What the index has of the key is older still, and must not come back at the next start.
			s.forgetEntryLocked(n)
		default:
			entries = append(entries, entry)
		}
	}
	return entries
}

// endBatch takes in how the writing of a batch's records went.
func (s *Store) endBatch(b *batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.durability.end(b, err, s.isPresentLocked, func(h keyHash) bool { return s.entries.peek(h) != nil })
	if err == nil {
		for _, blob := range b.replaced {
			s.releaseBlobLocked(blob)
		}
		return
	}
	for _, entry := range left {
		// The transaction may have been done all the same, and only the word of it lost.
		s.leaving.addDangling(entry.Digest)
	}
	s.counters.diskErrors.Add(1)
	s.logger.Error("noting files in the index failed; they are served, and it is tried again",
		zap.Int("files", len(left)), zap.Int("uses", len(b.touched)), zap.Error(err))
}

// maxChanges bounds the entries that one transaction writes or removes. bbolt holds every page that it changes in memory
// until the transaction's end, 6 KiB each, and last uses are spread over all of theirs: in a large store, 32,000 of them
// at once would take some 200 MB. It must not be much smaller either, as each transaction waits for the disk twice.
const maxChanges = 512

// writeBatch writes a batch's records, last uses and what was learnt, each in the order of the index, so that a transaction has
// as few pages as can be. After an error those before it are there.
func (s *Store) writeBatch(b *batch) error {
	entries, learnt := s.takeRecords(b), slices.Collect(maps.Values(b.learnt))
	for _, records := range [][]*Entry{entries, learnt} {
		slices.SortFunc(records, func(a, b *Entry) int { return a.Key.Compare(b.Key) })
	}
	hashes := slices.SortedFunc(maps.Keys(b.touched), func(a, b keyHash) int { return bytes.Compare(a[:], b[:]) })
	err := writePieces(s, entries, s.writeRecords, s.noteRecorded)
	if err == nil {
		err = writePieces(s, hashes, func(tx *bolt.Tx, piece []keyHash) error { return writeUses(tx, piece, b.touched) }, nil)
	}
	if err == nil {
		err = writePieces(s, learnt, s.rewriteRecords, nil)
	}
	if err == nil {
		s.index.unmap()
	}
	return err
}

// writePieces writes as many items in each transaction as one may change, and hands those to written, if that isn't nil.
func writePieces[T any](s *Store, items []T, write func(*bolt.Tx, []T) error, written func([]T)) error {
	for piece := range slices.Chunk(items, maxChanges) {
		if err := s.updateIndex(func(tx *bolt.Tx) error { return write(tx, piece) }); err != nil {
			return err
		}
		if written != nil {
			written(piece)
		}
		if len(piece) == maxChanges {
			s.evictForWaiting()
		}
	}
	return nil
}

// noteRecorded notes that the index has entries now. Whoever replaces one from here on must know that it names their blobs,
// also if the rest of the batch fails.
func (s *Store) noteRecorded(entries []*Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range entries {
		s.durability.recorded(entry)
	}
}

// evictForWaiting makes room for fills that wait for it. It is called between the transactions of a batch, which can take
// longer than they do; after the last one, others come to it.
func (s *Store) evictForWaiting() {
	s.mu.Lock()
	wanted := s.space.wanted.bytes
	s.mu.Unlock()
	if wanted > 0 {
		s.evict()
	}
}

// writeRecords writes records. What was removed since their batch was taken is left out: its removal may be over already.
func (s *Store) writeRecords(tx *bolt.Tx, records []*Entry) error {
	entries, uses := tx.Bucket(entriesBucket), tx.Bucket(usesBucket)
	for _, entry := range records {
		h := entry.Key.hash()
		if !s.isRecording(h, entry) {
			continue
		}
		key := entry.Key.bytes()
		if err := entries.Put(key, encodeRecord(key, entry)); err != nil {
			return fmt.Errorf("writing a record: %w", err)
		}
		used := entry.used
		if used.IsZero() {
			used = entry.Stored
		}
		if err := uses.Put(h[:], encodeUse(used.UnixNano(), key)); err != nil {
			return fmt.Errorf("writing a use: %w", err)
		}
	}
	return nil
}

// writeUses writes last uses of what the index has. What it hasn't was removed meanwhile, or isn't there yet: the time of
// storing will do.
func writeUses(tx *bolt.Tx, hashes []keyHash, touched map[keyHash]int64) error {
	uses := tx.Bucket(usesBucket)
	for i := range hashes {
		name := hashes[i][:] // bbolt keeps it until the transaction ends
		_, key := decodeUse(uses.Get(name))
		if key == nil {
			continue
		}
		if err := uses.Put(name, encodeUse(touched[hashes[i]], key)); err != nil {
			return fmt.Errorf("writing a use: %w", err)
		}
	}
	return nil
}

func (s *Store) isRecording(h keyHash, entry *Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durability.recording[h] == entry
}

// finishDurable makes durable what a closing store still has. The background work is over.
func (s *Store) finishDurable() error {
	select {
	case b := <-s.synced:
		s.recordBatch(b)
	default:
	}
	s.removeAll()
	b := s.takeBatch(true)
	if b == nil {
		return nil
	}
	s.syncBlobs(b)
	s.recordBatch(b)
	// Entries whose files could not be synced.
	s.removeAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.durability.failing {
		return fmt.Errorf("%w: the index could not be written; the files stored last are lost", ErrDisk)
	}
	return nil
}
