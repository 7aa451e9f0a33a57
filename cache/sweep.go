package cache

import (
	"encoding/hex"
	"path/filepath"

	"go.uber.org/zap"
)

// listBlobs lists the names below blobs.
func (s *Store) listBlobs() []Digest {
	var listed []Digest
	for first := range 256 {
		shard := shardPath(s.dir, byte(first)) //nolint:gosec // below 256
		names, err := s.fs.ReadDir(shard)
		if err != nil {
			_ = s.diskError("listing blobs", err)
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
// they are busy meanwhile, so that the same bytes can't be stored under a file that is being removed. What can't be removed the
// janitor tries again; nobody vouches for it.
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
		blob := &blobState{digest: digest, busy: make(chan struct{}), damaged: true}
		s.blobs[digest] = blob
		s.mu.Unlock()
		err := s.fs.Remove(blobPath(s.dir, digest))
		s.mu.Lock()
		close(blob.busy)
		blob.busy = nil
		if err == nil {
			delete(s.blobs, digest)
		} else {
			s.leaving.orphan(blob)
		}
		s.mu.Unlock()
		if err != nil {
			_ = s.diskError("removing a file that nothing names", err)
			s.logger.Error("removing a file that nothing names failed", zap.Stringer("sha256", digest), zap.Error(err))
			continue
		}
		swept++
	}
	if swept > 0 {
		s.logger.Info("files that nothing names were removed", zap.Int("files", swept))
	}
}
