package cache

import (
	"fmt"
	"math"
	"time"
)

// plus adds what isn't negative, up to what a number can be: limits and lengths come from outside.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// holding is what a part of the room holds beside blobs: reserved is what fills may still become, lingering what was removed
// and is still open, and parts that can't be removed.
type holding struct{ reserved, lingering int64 }

// claim is what a fill wants of the room: bytes is what counts towards MaxSize, fresh the part of it that the file system
// doesn't have yet.
type claim struct{ bytes, fresh int64 }

// space counts bytes. Guarded by Store.mu.
type space struct {
	// blobs is the sum of all blobs under their names. The holding is all that isn't copies'.
	blobs int64
	holding
	// copies are those of uploads that nobody has vouched for. They count towards MaxSize, and live in a room of their own.
	copies copies
	// beginnings are what has arrived of files that broke off for good, also while somebody has taken them.
	beginnings int64
	// open is the part of blobs that is being read, and thus not evicted.
	open int64
	// estimate is what the index says that blobs is, while that isn't loaded yet; 0 from then on.
	estimate int64
	// unwritten is the part of what is reserved, for copies too, that isn't on disk yet, and thus still counted as free by
	// the file system.
	unwritten int64
	// written is how much fills have written since the start.
	written int64
	// unfreed is what was removed and doesn't show as free yet.
	unfreed unfreed
	// inVain is when entries were evicted last for a disk that said that it is full, and went on saying so.
	inVain time.Time
	// wanted is what waiting fills want to reserve.
	wanted claim
	// exhausted counts how often the janitor found nothing more to evict.
	exhausted uint64
	// changed is closed when room may have appeared or can't be had; nil while nobody waits.
	changed chan struct{}
}

// main is the part of MaxSize that isn't kept for copies of unproven uploads.
func (l Limits) main() int64 { return max(l.MaxSize-l.UploadRoom, 0) }

// used is all that counts towards MaxSize but copies.
func (p *space) used() int64 {
	return max(p.blobs, p.estimate) + p.reserved + p.lingering + p.beginnings
}

// missing is how many bytes must go before more may be reserved, with free bytes left on the file system; not more than 0
// for none.
func (p *space) missing(want claim, free int64, limits Limits) int64 {
	// Copies hold more than their room only for a moment, when that has become smaller.
	excess := max(p.copies.bytes()-limits.UploadRoom, 0)
	return max(p.used()+excess-(limits.main()-want.bytes), p.short(want.fresh, free, limits))
}

// short is how many bytes must become free on the file system before n more may be reserved.
func (p *space) short(n, free int64, limits Limits) int64 {
	return plus(plus(limits.MinFree, p.unwritten), n) - free
}

// sample is what the file system said of its free bytes, and how much fills had written before it was asked.
type sample struct{ free, written int64 }

// sampleFree asks the file system for its free bytes.
func (s *Store) sampleFree() (sample, error) {
	s.mu.Lock()
	written := s.space.written
	s.mu.Unlock()
	free, err := s.fs.Free(s.dir)
	if err != nil {
		return sample{}, s.diskError("asking for free space", err)
	}
	return sample{free, written}, nil
}

// take reserves what is wanted.
func (p *space) take(want claim) {
	p.reserved += want.bytes
	p.unwritten += want.fresh
}

// freeLocked is what is free now, after a sample. What was written since is unwritten no more, and may have been free
// still when the file system was asked.
func (s *Store) freeLocked(seen sample) int64 {
	free := max(seen.free-(s.space.written-seen.written), 0)
	s.space.unfreed.settle(plus(free, s.space.written), s.now())
	return free
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

// reserve takes some of the store's room, if need be after waiting for evictions; ErrNoRoom if it can't be had.
func (s *Store) reserve(want claim) error {
	taken, seen, err := s.tryReserve(want)
	if taken || err != nil {
		return err
	}
	s.mu.Lock()
	s.space.wanted.bytes += want.bytes
	s.space.wanted.fresh += want.fresh
	changed := s.space.change()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.space.wanted.bytes -= want.bytes
		s.space.wanted.fresh -= want.fresh
		s.mu.Unlock()
	}()
	timer := time.NewTimer(roomTimeout)
	defer timer.Stop()
	for {
		if err := s.awaitChange(changed, timer); err != nil {
			return err
		}
		taken, exhausted, err := s.tryReserve(want)
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

// awaitChange has the janitor evict, and waits until the room changes; ErrNoRoom when the timer ends, ErrClosed when the
// store is closed.
func (s *Store) awaitChange(changed <-chan struct{}, timer *time.Timer) error {
	s.wakeJanitor()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return ErrNoRoom
	case <-s.ctx.Done():
		return ErrClosed
	}
}

// tryReserve takes what is wanted if it is free. Else it tells how often evicting has come to its end, so that the caller
// knows whether waiting helps.
func (s *Store) tryReserve(want claim) (taken bool, exhausted uint64, err error) {
	seen, err := s.sampleFree()
	if err != nil {
		return false, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	free := s.freeLocked(seen)
	switch {
	case s.closed:
		return false, 0, ErrClosed
	case s.space.missing(want, free, s.limits) <= 0:
		s.space.take(want)
		s.setFull(false)
		return true, 0, nil
	case s.starting.loading || !s.canFitLocked(want, free):
		// Evicting all that can be wouldn't help. Or it isn't known yet what was used least recently.
		if s.space.missing(want, math.MaxInt64, s.limits) <= 0 { // then it is the file system that has no room
			s.setFull(true)
		}
		return false, 0, fmt.Errorf("%w for %d bytes", ErrNoRoom, want.bytes)
	}
	return false, s.space.exhausted, nil
}

// canFitLocked reports whether what is wanted would have room if all were evicted that can be, and all copies and beginnings
// dropped.
func (s *Store) canFitLocked(want claim, free int64) bool {
	kept, taken := s.keptLocked(), s.space.beginnings-s.beginnings.bytes
	return plus(want.bytes, s.space.reserved+s.space.lingering+kept+taken) <= s.limits.main() &&
		s.space.short(want.fresh, free, s.limits) <= s.space.blobs-kept+s.space.copies.reserved+s.beginnings.bytes
}

// keptLocked is the part of all blobs that isn't evicted, because it is being read or pinned, or owed, or can't be removed. It goes
// through all of these, of which there are few, and is asked only when there is no room.
func (s *Store) keptLocked() int64 {
	kept := s.space.open
	counted := make(map[*blobState]struct{}, len(s.pins.ofKeys))
	now := s.now()
	for h := range s.pins.ofKeys {
		n := s.entries.peek(h)
		if n == nil || n.blob.open > 0 || n.blob.unlinked || !s.pins.keeps(h, now) {
			continue
		}
		if _, twice := counted[n.blob]; !twice {
			counted[n.blob] = struct{}{}
			kept += n.blob.size
		}
	}
	if s.owed.keepsAny(s.limits) {
		kept += max(s.owed.bytes-s.space.open, 0) // those that are being read are counted
	}
	for file := range s.leaving.stuck.files {
		if blob, ok := file.(*blobState); ok && blob.entries == 0 && blob.open == 0 {
			kept += blob.size
		}
	}
	return kept
}

// releaseLocked gives bytes back that were reserved of a part of the room, of which some were never written.
func (s *Store) releaseLocked(room *holding, reserved, unwritten int64) {
	room.reserved -= reserved
	s.space.unwritten -= unwritten
	s.space.announce()
}
