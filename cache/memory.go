package cache

import (
	"crypto/sha256"
	"io"
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// memoryShare is the part of the memory tier that one blob may take at most: an eviction from it never costs more
	// than many small files need.
	memoryShare = 64
	// memoryLargest is the size up to which a blob is faster from memory. Larger ones the kernel sends from its own cache
	// without copying them: at 1 MiB, 1.15 times as much a second as from here (bench/run, hits1m; design, "Serving bytes").
	memoryLargest = 256 << 10
	// memoryOverhead is what a blob in memory costs beside its bytes.
	memoryOverhead = 256
	// maxPromotions bounds how many blobs are read into memory at a time; others are served from the disk meanwhile.
	// Together they take a fourth of the tier's size at most.
	maxPromotions = memoryShare / 4
)

// memoryTier holds small blobs as single pieces of memory that are never changed. Guarded by Store.mu.
type memoryTier struct {
	blobs *simplelru.LRU[Digest, []byte]
	bytes int64
	// promoting are those on their way in: a herd must not read the same file many times.
	promoting map[Digest]struct{}
}

func newMemoryTier() memoryTier {
	return memoryTier{blobs: newLRU[Digest, []byte](math.MaxInt), promoting: make(map[Digest]struct{})}
}

func (m *memoryTier) add(digest Digest, data []byte) {
	if !m.blobs.Contains(digest) {
		m.blobs.Add(digest, data)
		m.bytes += int64(len(data)) + memoryOverhead
	}
}

func (m *memoryTier) remove(digest Digest) {
	if data, ok := m.blobs.Peek(digest); ok {
		m.blobs.Remove(digest)
		m.bytes -= int64(len(data)) + memoryOverhead
	}
}

// trim removes what was used least recently down to limit bytes.
func (m *memoryTier) trim(limit int64) {
	for m.bytes > limit {
		_, data, ok := m.blobs.RemoveOldest()
		if !ok {
			return
		}
		m.bytes -= int64(len(data)) + memoryOverhead
	}
}

// startPromotionLocked reports whether the caller is to read a blob into memory.
func (s *Store) startPromotionLocked(blob *blobState) bool {
	if s.limits.Memory <= 0 || blob.size > min(s.limits.Memory/memoryShare, memoryLargest) || len(s.memory.promoting) >= maxPromotions {
		return false
	}
	if _, begun := s.memory.promoting[blob.digest]; begun {
		return false
	}
	s.memory.promoting[blob.digest] = struct{}{}
	return true
}

// promote reads a small file into the memory tier, and makes sure on the way that it is what its name says. What it
// returns takes the place of blob.
func (s *Store) promote(blob *Blob) (*Blob, error) {
	defer blob.Close()
	data, reason := readWhole(blob)
	s.mu.Lock()
	state := blob.state
	delete(s.memory.promoting, state.digest)
	if reason == "" && s.blobs[state.digest] == state && state.busy == nil && !state.damaged {
		s.memory.add(state.digest, data)
		s.memory.trim(s.limits.Memory)
	}
	s.mu.Unlock()
	if reason != "" {
		s.discard(state, reason)
		return nil, ErrMiss
	}
	return memoryBlob(data), nil
}

// readWhole reads a blob and tells what is wrong with it, if anything is.
func readWhole(blob *Blob) (data []byte, reason string) {
	data = make([]byte, blob.size)
	if _, err := io.ReadFull(blob.file, data); err != nil {
		return nil, reasonUnreadable
	}
	if Digest(sha256.Sum256(data)) != blob.state.digest {
		blob.store.counters.checksumFailures.Add(1)
		return nil, reasonChecksum
	}
	return data, ""
}
