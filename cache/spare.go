package cache

import (
	"math"
	"time"
)

// Moment is a place in the order in which entries were used: what was used since it was made is newer (Store.Moment). A fill
// can be told to evict nothing of that (FillSpec.Keeps).
type Moment struct{ mark *node }

// Moment returns the present moment. It is good until EndMoment, which must be called.
func (s *Store) Moment() *Moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Moment{s.entries.mark()}
}

// EndMoment gives a moment back. Fills that keep it evict nothing any more.
func (s *Store) EndMoment(m *Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.mark.isLinked() {
		s.entries.unlink(m.mark)
	}
}

// spareTries is how often a fill makes room by evicting what wasn't used since a moment: others can take what it has made.
const spareTries = 8

// CanSpare reports whether a file of that size (-1 for unknown) and digest (zero for unknown) would have room now if all were
// evicted that wasn't used since a moment, or needs none, since its bytes are here. Of a file that could never be kept it says
// yes: Begin tells why not.
func (s *Store) CanSpare(size int64, digest Digest, since *Moment) bool {
	seen, err := s.sampleFree()
	if err != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if blob := s.blobs[digest]; blob != nil && !blob.damaged {
		return true
	}
	if size < 0 {
		size = s.limits.growthStep(0)
	}
	if size > s.limits.main() || (s.limits.MaxObject > 0 && size > s.limits.MaxObject) {
		return true
	}
	lacking := s.lackingLocked(claim{size, size}, s.freeLocked(seen)) - s.beginnings.bytes - s.leavingBytesLocked()
	if lacking <= 0 {
		return true
	}
	_, enough := s.unusedLocked(lacking, since)
	return enough
}

// reserveFor takes some of the store's room for a fill, if need be after evictions.
func (s *Store) reserveFor(spec FillSpec, want claim) error {
	if spec.Keeps == nil {
		return s.reserve(want)
	}
	for tries := 0; tries < spareTries; {
		freed := s.counters.freedBytes.Load()
		taken, coming, err := s.trySpare(want, spec.Keeps)
		if taken || err != nil {
			return err
		}
		if coming == 0 {
			continue // a beginning was dropped, of which there are few
		}
		if err := s.awaitFreed(freed + coming); err != nil {
			return err
		}
		tries++
	}
	return ErrNoSpareRoom
}

// trySpare takes what is wanted if it is free. Else it has so much removed that it will be, of what wasn't used since the
// moment, and returns how many bytes that is; where that is too little nothing is removed.
func (s *Store) trySpare(want claim, since *Moment) (taken bool, coming int64, err error) {
	seen, err := s.sampleFree()
	if err != nil {
		return false, 0, err
	}
	s.mu.Lock()
	free := s.freeLocked(seen)
	lacking := s.lackingLocked(want, free)
	switch {
	case s.closed:
		s.mu.Unlock()
		return false, 0, ErrClosed
	case lacking <= 0 && s.space.missing(want, free, s.limits) <= 0:
		s.space.take(want)
		s.mu.Unlock()
		return true, 0, nil
	case lacking <= 0, s.starting.loading:
		// What was removed doesn't show as free on the file system yet, or it isn't known what was used least recently.
		s.mu.Unlock()
		return false, 0, ErrNoRoom
	}
	if oldest := s.beginnings.take(anyBeginning); oldest != nil {
		s.mu.Unlock()
		oldest.Drop()
		return false, 0, nil
	}
	defer s.mu.Unlock()
	if coming = min(s.leavingBytesLocked(), lacking); coming > 0 {
		return false, coming, nil // it goes first
	}
	victims, enough := s.unusedLocked(lacking, since)
	if !enough {
		return false, 0, ErrNoSpareRoom
	}
	if s.leaving.stuck.isRefusing() {
		return false, 0, ErrNoRoom // nothing would be gained
	}
	victims = victims[:min(len(victims), s.leaving.stuck.mostVictims())]
	s.evictLocked(victims)
	return false, min(s.leavingBytesLocked(), lacking), nil
}

// lackingLocked is how many bytes must go before a fill that keeps what is used may take what it wants, with the headroom left
// that the janitor would else make by evicting.
func (s *Store) lackingLocked(want claim, free int64) int64 {
	bySize := s.space.missing(claim{plus(want.bytes, s.limits.main()/headroomShare), 0}, math.MaxInt64, s.limits)
	return max(bySize, s.space.short(want.fresh, free, s.limits)-s.space.unfreed.bytes)
}

// leavingBytesLocked is what will be free when the janitor has removed what is on its way out.
func (s *Store) leavingBytesLocked() (bytes int64) {
	for blob := range s.leaving.orphans {
		if blob.open == 0 && !blob.unlinked {
			bytes += blob.size
		}
	}
	return bytes
}

// unusedLocked returns the entries that were not used since a moment and whose files take that many bytes, those first that
// weren't used for longest; false if there are too few. Those that are being read, or pinned, aren't among them, nor those
// whose bytes another entry names that was used since.
func (s *Store) unusedLocked(bytes int64, since *Moment) (unused []*node, enough bool) {
	if !since.mark.isLinked() {
		return nil, false
	}
	now, shared := s.now(), make(map[*blobState][]*node)
	for n := range s.entries.before(since.mark) {
		blob := n.blob
		if blob.open > 0 || blob.busy != nil || blob.unlinked || s.pins.keeps(n.hash, now) {
			s.entries.use(n) // as evict does: else each file would pass all pinned ones, with the lock held
			continue
		}
		if blob.entries > 1 {
			shared[blob] = append(shared[blob], n)
			if len(shared[blob]) < int(blob.entries) {
				continue
			}
			unused = append(unused, shared[blob]...)
		} else {
			unused = append(unused, n)
		}
		if bytes -= blob.size; bytes <= 0 {
			return unused, true
		}
	}
	return nil, false
}

// evictLocked takes entries out of memory, and has the janitor do the rest.
func (s *Store) evictLocked(victims []*node) {
	gone := new(removal)
	for _, n := range victims {
		s.dropLocked(n)
		s.counters.evictions.Add(1)
		gone.hashes = append(gone.hashes, n.hash)
		if len(gone.hashes) == maxChanges {
			s.leaving.remove(gone)
			gone = new(removal)
		}
	}
	s.leaving.remove(gone)
}

// awaitFreed waits until the store has removed files of that many bytes since its start; ErrNoRoom where that takes too long.
func (s *Store) awaitFreed(bytes int64) error {
	timer := time.NewTimer(roomTimeout)
	defer timer.Stop()
	for {
		s.mu.Lock()
		changed := s.space.change()
		s.mu.Unlock()
		if s.counters.freedBytes.Load() >= bytes {
			return nil
		}
		if err := s.awaitChange(changed, timer); err != nil {
			return err
		}
	}
}
