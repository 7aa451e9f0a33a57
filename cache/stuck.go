package cache

import (
	"time"

	"go.uber.org/zap"
)

const (
	// maxStuck is how many files that couldn't be removed are tried in vain before the others are left for the next time.
	maxStuck = 8
	// maxRefusals is how many files in a row may prove impossible to remove before none is evicted any more: a disk that
	// removes nothing would have the store emptied and gain nothing. Fewer may be files that somebody else made immutable,
	// and must not keep the others.
	maxRefusals = 16
)

// stuck is what the disk didn't remove. It isn't tried again with each eviction, but with the janitor's tick, and a bit
// sooner while nothing can be removed. Guarded by Store.mu.
type stuck struct {
	// blobs are those whose files should be gone. An entry may name them again; they are looked at when they are tried.
	blobs map[*blobState]struct{}
	// refusals counts the failures since a file was removed last.
	refusals int
	// tried is when a file couldn't be removed last.
	tried time.Time
	// told says that the log has heard of it since the last tick.
	told bool
}

// retry tries again to remove what couldn't be. Then one file more may show whether the disk still refuses: if it
// removes any, it isn't all that are stuck.
func (s *Store) retry() {
	s.mu.Lock()
	s.stuck.told = false
	s.mu.Unlock()
	s.removeLeftParts()
	s.removeStuck()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck.refusals = min(s.stuck.refusals, maxRefusals-1)
}

// retryRefused tries again while the disk refuses and fills may be waiting for it, now and then.
func (s *Store) retryRefused() {
	s.mu.Lock()
	due := s.stuck.refusals >= maxRefusals && s.now().Sub(s.stuck.tried) >= troublePause
	s.mu.Unlock()
	if due {
		s.removeStuck()
	}
}

// removeStuck tries the files of stuck blobs, as removeLeftParts does those of parts. Their failures say nothing new
// about the disk.
func (s *Store) removeStuck() {
	s.mu.Lock()
	refusals := s.stuck.refusals
	var blobs []*blobState
	for blob := range s.stuck.blobs {
		// One that an entry named again and left again is on its way out anew, behind its record.
		if _, again := s.orphans[blob]; again || !s.isOrphanLocked(blob) {
			delete(s.stuck.blobs, blob)
			continue
		}
		blobs = append(blobs, blob)
	}
	s.mu.Unlock()
	failed, freed := 0, false
	var why error
	for _, blob := range blobs {
		s.mu.Lock()
		_, again := s.orphans[blob]
		usable := blob.busy == nil && !again && s.isOrphanLocked(blob)
		if usable {
			blob.busy = make(chan struct{})
		}
		s.mu.Unlock()
		if !usable {
			continue
		}
		if err := s.unlink(blob); err == nil {
			freed = true
		} else if failed, why = failed+1, err; failed == maxStuck {
			break
		}
	}
	if failed == 0 {
		return
	}
	s.mu.Lock()
	if freed {
		refusals = 0
	}
	s.stuck.refusals = refusals
	s.mu.Unlock()
	s.tellStuck(why)
}

// tellStuck tells the log, once between two ticks, that files can't be removed.
func (s *Store) tellStuck(why error) {
	s.mu.Lock()
	files, told := len(s.stuck.blobs), s.stuck.told
	s.stuck.told = true
	s.mu.Unlock()
	if !told {
		s.logger.Error("files can't be removed; they count, and are tried again", zap.Int("files", files), zap.Error(why))
	}
}

// leftPart is a part that should be gone and that the disk didn't remove.
type leftPart struct {
	path string
	// bytes is what it lingers with once nobody has it open, in a part of the room; removed says that it is gone after all.
	// Guarded by Store.mu.
	bytes   int64
	room    *holding
	removed bool
}

// removePart removes the part of a fill that ended without becoming a blob; its readers go on with the open file. One
// that can't be removed lingers until the janitor has removed it: it takes room for as long as it is there.
func (f *Fill) removePart() {
	s := f.store
	err := s.fs.Remove(f.path)
	if err == nil {
		return
	}
	_ = s.diskError("removing a fill", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.left = &leftPart{path: f.path, room: f.room}
	s.leftParts[f.left] = struct{}{}
}

// removeLeftParts tries again to remove parts that couldn't be. When several fail it leaves the others for the next time:
// they come in no order, so that some can't keep the others for long.
func (s *Store) removeLeftParts() {
	s.mu.Lock()
	parts := make([]*leftPart, 0, len(s.leftParts))
	for part := range s.leftParts {
		parts = append(parts, part)
	}
	s.mu.Unlock()
	failed := 0
	var why error
	for _, part := range parts {
		if err := s.fs.Remove(part.path); err != nil {
			failed, why = failed+1, s.diskError("removing a fill", err)
			if failed == maxStuck {
				break
			}
			continue
		}
		s.mu.Lock()
		part.removed = true
		delete(s.leftParts, part)
		part.room.lingering -= part.bytes
		s.space.announce()
		s.mu.Unlock()
	}
	if failed > 0 {
		s.logger.Error("what fills left can't be removed; it counts, and is tried again", zap.Int("files", len(parts)), zap.Error(why))
	}
}
