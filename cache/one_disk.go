package cache

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"
)

// ErrSplit says that the directories of blobs and fills are on different file systems, or mounts. A file becomes a blob by its rename,
// which is done at once or not at all; a copy from one disk to another can stop in the middle, and would write all twice.
var ErrSplit = errors.New("its directories blobs and fills must be on one file system, and in one mount")

// checkOneDisk returns ErrSplit where fills can't be renamed to blobs. It tries it, since a mount of the same file system at
// two places refuses that too.
func (s *Store) checkOneDisk() error {
	probe := partPath(s.dir, s.process, 0)
	// A directory does as well as a file, and nothing takes it for one.
	if err := s.fs.MkdirAll(probe); err != nil {
		return nil //nolint:nilerr // a disk that is full or fails now is no reason to give the directory up
	}
	renamed := filepath.Join(blobsPath(s.dir), filepath.Base(probe))
	err := s.fs.Rename(probe, renamed)
	for _, path := range []string{probe, renamed} {
		if err := s.fs.Remove(path); err != nil {
			s.logger.Warn("removing an empty directory failed", zap.String("path", path), zap.Error(err))
		}
	}
	if errors.Is(err, syscall.EXDEV) {
		return fmt.Errorf("%w: %w", ErrSplit, err)
	}
	return s.checkShards()
}

// checkShards returns ErrSplit where one of the directories of blobs is on another file system.
func (s *Store) checkShards() error {
	fills, ok := deviceOf(fillsPath(s.dir))
	for first := range 256 {
		shard := shardPath(s.dir, byte(first)) //nolint:gosec // below 256
		if device, found := deviceOf(shard); ok && found && device != fills {
			return fmt.Errorf("%w: %s isn't", ErrSplit, shard)
		}
	}
	return nil
}
