package cache

import (
	"fmt"
	"math"
	"time"
)

// space counts bytes. Guarded by Store.mu.
type space struct {
	// blobs is the sum of all blobs under their names, reserved what fills may still become, lingering what was removed
	// and is still open.
	blobs, reserved, lingering int64
	// open is the part of blobs that is being read, and thus not evicted.
	open int64
	// estimate is what the index says that blobs is, while that isn't loaded yet; 0 from then on.
	estimate int64
	// unwritten is the part of reserved that isn't on disk yet, and thus still counted as free by the file system.
	unwritten int64
	// wanted is how many bytes waiting fills want to reserve.
	wanted int64
	// exhausted counts how often the janitor found nothing more to evict.
	exhausted uint64
	// changed is closed when room may have appeared or can't be had; nil while nobody waits.
	changed chan struct{}
}

func (p *space) used() int64 { return max(p.blobs, p.estimate) + p.reserved + p.lingering }

// missing is how many bytes must go before n more may be reserved, with free bytes left on the file system; not more
// than 0 for none.
func (p *space) missing(n, free int64, limits Limits) int64 {
	return max(p.used()+n-limits.MaxSize, limits.MinFree+p.unwritten+n-free)
}

func (p *space) announce() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

func (p *space) change() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// roomTimeout bounds the wait of a fill for the janitor to make room: its caller waits with it, and past it the file
// streams through uncached. The janitor keeps some room free ahead of need, so that this is seldom.
const roomTimeout = 2 * time.Second

// reserve takes n bytes of the store's room, if need be after waiting for evictions; ErrNoRoom if they can't be had.
func (s *Store) reserve(n int64) error {
	taken, seen, err := s.tryReserve(n)
	if taken || err != nil {
		return err
	}
	s.mu.Lock()
	s.space.wanted += n
	changed := s.space.change()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.space.wanted -= n
		s.mu.Unlock()
	}()
	timer := time.NewTimer(roomTimeout)
	defer timer.Stop()
	for {
		s.wakeJanitor()
		select {
		case <-changed:
		case <-timer.C:
			return ErrNoRoom
		case <-s.ctx.Done():
			return ErrClosed
		}
		taken, exhausted, err := s.tryReserve(n)
		if taken || err != nil {
			return err
		}
		s.mu.Lock()
		changed = s.space.change()
		s.mu.Unlock()
		if exhausted != seen {
			return ErrNoRoom
		}
	}
}

// tryReserve takes n bytes if they are free. Else it tells how often evicting has come to its end, so that the caller
// knows whether waiting helps.
func (s *Store) tryReserve(n int64) (taken bool, exhausted uint64, err error) {
	free, err := s.fs.Free(s.dir)
	if err != nil {
		return false, 0, s.diskError("asking for free space", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return false, 0, ErrClosed
	case s.space.missing(n, free, s.limits) <= 0:
		s.space.reserved += n
		s.space.unwritten += n
		s.setFull(false)
		return true, 0, nil
	case n+s.space.reserved+s.space.lingering+s.space.open > s.limits.MaxSize || s.loading,
		s.limits.MinFree+s.space.unwritten+n-free > s.space.blobs-s.space.open:
		// Evicting all that can be wouldn't help. Or it isn't known yet what was used least recently.
		if s.limits.MinFree+s.space.unwritten+n > free && s.space.missing(n, math.MaxInt64, s.limits) <= 0 {
			s.setFull(true)
		}
		return false, 0, fmt.Errorf("%w for %d bytes", ErrNoRoom, n)
	}
	return false, s.space.exhausted, nil
}

// releaseLocked gives reserved bytes back, of which some were never written.
func (s *Store) releaseLocked(reserved, unwritten int64) {
	s.space.reserved -= reserved
	s.space.unwritten -= unwritten
	s.space.announce()
}
