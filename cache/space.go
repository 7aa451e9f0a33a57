package cache

import (
	"fmt"
	"time"
)

// space counts bytes. Guarded by Store.mu.
type space struct {
	// blobs is the sum of all blobs under their names, reserved what fills may still become, lingering what was removed
	// and is still open. memory is the memory tier's.
	blobs, reserved, lingering, memory int64
	// unwritten is the part of reserved that isn't on disk yet, and thus still counted as free by the file system.
	unwritten int64
	// wanted is how much running Begins lack.
	wanted int64
	// changed is closed and replaced when room may have appeared, or can't be had.
	changed chan struct{}
	// exhausted says that the janitor found nothing more to evict.
	exhausted bool
}

func (p *space) used() int64 { return p.blobs + p.reserved + p.lingering }

func (p *space) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// roomTimeout bounds the wait of a fill for the janitor to make room. Past it the file streams through uncached.
const roomTimeout = 5 * time.Second

// reserve takes n bytes of the store's room, if need be after waiting for evictions; ErrNoRoom if they can't be had.
func (s *Store) reserve(n int64) error {
	var timeout <-chan time.Time
	for {
		free, err := s.fs.Free(s.dir)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDisk, err)
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return ErrClosed
		}
		missing := max(s.space.used()+n-s.limits.MaxSize, s.limits.MinFree+s.space.unwritten+n-free)
		if missing <= 0 {
			s.space.reserved += n
			s.space.unwritten += n
			s.mu.Unlock()
			return nil
		}
		if n > s.limits.MaxSize || s.loading || (timeout != nil && s.space.exhausted) {
			s.mu.Unlock()
			return ErrNoRoom
		}
		s.space.exhausted = false
		s.space.wanted = max(s.space.wanted, missing)
		changed := s.space.changed
		s.mu.Unlock()
		s.wakeJanitor()
		if timeout == nil {
			timer := time.NewTimer(roomTimeout)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-timeout:
			return ErrNoRoom
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

// release gives reserved bytes back, of which some were never written.
func (s *Store) releaseLocked(reserved, unwritten int64) {
	s.space.reserved -= reserved
	s.space.unwritten -= unwritten
	s.space.announce()
}
