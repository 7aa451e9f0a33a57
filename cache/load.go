package cache

import (
	"cmp"
	"encoding/hex"
	"math"
	"path/filepath"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// loaded is one entry as the index had it at the start.
type loaded struct {
	hash   keyHash
	digest Digest
	size   int64
	use    int64
}

// load fills memory from the index while look-ups go on, and then removes files that nothing names. It ends by itself.
func (s *Store) load() {
	// Before the index is read: what is stored later is none of the sweep's.
	listed := s.listBlobs()
	found, err := s.readAll()
	if err != nil {
		s.logger.Error("reading the index failed; what it names is fetched again", zap.Error(err))
		found = nil
	}
	slices.SortFunc(found, func(a, b loaded) int { return cmp.Compare(a.use, b.use) })
	s.mu.Lock()
	serial := s.serial
	s.serial += uint64(len(found))
	s.mu.Unlock()
	entries := newLRU[keyHash, *node](math.MaxInt)
	blobs := make(map[Digest]*blobState)
	var total int64
	for _, e := range found {
		serial++
		entries.Add(e.hash, &node{digest: e.digest, serial: serial})
		blob := blobs[e.digest]
		if blob == nil {
			blob = &blobState{size: e.size, durable: true}
			blobs[e.digest] = blob
			total += e.size
		}
		blob.entries++
	}
	s.merge(entries, blobs, total)
	s.sweep(listed)
	s.wakeJanitor()
}

// readAll reads what memory keeps of each entry.
func (s *Store) readAll() (found []loaded, err error) {
	err = s.viewIndex(func(tx *bolt.Tx) error {
		uses := tx.Bucket(usesBucket)
		return tx.Bucket(entriesBucket).ForEach(func(key, data []byte) error {
			if s.ctx.Err() != nil {
				return s.ctx.Err()
			}
			record, err := decodeRecord(data)
			if err != nil {
				return nil //nolint:nilerr // a damaged record is no entry
			}
			h := record.Key.hash()
			found = append(found, loaded{hash: h, digest: record.Digest, size: record.Size, use: readUse(uses.Get(h[:]))})
			return nil
		})
	})
	return found, err
}

func readUse(data []byte) int64 {
	if len(data) < 8 {
		return 0
	}
	return readNumber(data[:8])
}

// merge puts what was loaded under what happened meanwhile, which counts as used later. Its cost is that of what
// happened, not of what was loaded.
func (s *Store) merge(entries *simplelru.LRU[keyHash, *node], blobs map[Digest]*blobState, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// An entry that memory knows already, or knows to be gone, isn't the index's any more.
	outdate := func(h keyHash) {
		if old, ok := entries.Peek(h); ok {
			entries.Remove(h)
			blobs[old.digest].entries--
			s.orphans[old.digest] = struct{}{} // if nothing else names it, which is seen when it is taken
		}
	}
	for h := range s.forgotten {
		outdate(h)
	}
	for _, h := range s.entries.Keys() {
		outdate(h)
		n, _ := s.entries.Peek(h)
		entries.Add(h, n)
	}
	for digest, blob := range s.blobs {
		if before := blobs[digest]; before != nil {
			blob.entries += before.entries
		} else {
			total += blob.size
		}
		blobs[digest] = blob
	}
	s.entries, s.blobs, s.space.blobs = entries, blobs, total
	s.forgotten = make(map[keyHash]struct{})
	s.loading = false
	s.space.announce()
}

// listBlobs lists the names below blobs.
func (s *Store) listBlobs() []Digest {
	var listed []Digest
	for first := range 256 {
		shard := shardPath(s.dir, byte(first)) //nolint:gosec // below 256
		names, err := s.fs.ReadDir(shard)
		if err != nil {
			s.logger.Error("listing files failed; those that nothing names stay", zap.String("directory", shard), zap.Error(err))
			continue
		}
		for _, name := range names {
			digest, err := ParseDigest(name)
			if err != nil || hex.EncodeToString(digest[:]) != name || int(digest[0]) != first {
				s.logger.Warn("a file in the store's directory is none of the store's; it is left alone",
					zap.String("path", filepath.Join(shard, name)))
				continue
			}
			listed = append(listed, digest)
		}
	}
	return listed
}

// sweep removes the files of a listing that nothing names and nobody has claimed since. Like any blob on its way out
// they are busy meanwhile, so that the same bytes can't be stored under a file that is being removed.
func (s *Store) sweep(listed []Digest) {
	swept := 0
	for _, digest := range listed {
		if s.ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		if s.blobs[digest] != nil {
			s.mu.Unlock()
			continue
		}
		blob := &blobState{busy: make(chan struct{})}
		s.blobs[digest] = blob
		s.mu.Unlock()
		err := s.fs.Remove(blobPath(s.dir, digest))
		s.mu.Lock()
		delete(s.blobs, digest)
		close(blob.busy)
		blob.busy = nil
		s.mu.Unlock()
		if err != nil {
			s.logger.Error("removing a file that nothing names failed", zap.Stringer("sha256", digest), zap.Error(err))
			continue
		}
		swept++
	}
	if swept > 0 {
		s.logger.Info("files that nothing names were removed", zap.Int("files", swept))
	}
}
