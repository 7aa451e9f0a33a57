package cache

import "go.uber.org/zap"

// leftPart is a part that should be gone and that the disk didn't remove.
type leftPart struct {
	path string
	// bytes is what it lingers with once nobody has it open; removed says that it is gone after all. Guarded by Store.mu.
	bytes   int64
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
	f.left = &leftPart{path: f.path}
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
		s.space.lingering -= part.bytes
		s.space.announce()
		s.mu.Unlock()
	}
	if failed > 0 {
		s.logger.Error("what fills left can't be removed; it counts, and is tried again", zap.Int("files", len(parts)), zap.Error(why))
	}
}
