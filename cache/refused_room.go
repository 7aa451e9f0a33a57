package cache

import (
	"errors"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	// refusedEntries is how many entries are evicted at a time for a disk that says that it is full while it says that bytes
	// are free: each gives back what ran out, be it a name (an inode), or a part of a quota.
	refusedEntries = 16
	// refusedTries is how often that is done for one step of a fill.
	refusedTries = 4
)

// isFull reports whether the disk has no room: for bytes, for names, or by a quota.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// insist does one step of a fill. Where the disk has no room for it, whatever it says of free bytes, beginnings of files and
// copies of others' uploads are dropped, and then what was used least recently is evicted, and the step is done again. A copy
// that nobody has vouched for evicts nothing. Where it was in vain, because others fill the disk or a snapshot holds what was
// removed, that isn't done again for a while: the store would be emptied and gain nothing.
func (f *Fill) insist(step func() error) error {
	err, try := step(), 0
	for ; isFull(err) && try < refusedTries && f.store.giveWay(f); try++ {
		err = step()
	}
	if try > 0 && isFull(err) {
		f.store.mu.Lock()
		f.store.space.inVain = f.store.now()
		f.store.mu.Unlock()
	}
	return err
}

// giveWay makes room for a fill that the disk has none for; false if nothing could go.
func (s *Store) giveWay(f *Fill) bool {
	s.mu.Lock()
	if f.isCopyLocked() || s.starting.loading || s.closed || s.leaving.stuck.refusals > 0 || s.now().Sub(s.space.inVain) < freedWithin {
		s.mu.Unlock()
		return false
	}
	if oldest := s.beginnings.take(anyBeginning); oldest != nil {
		s.mu.Unlock()
		oldest.Drop()
		return true
	}
	if quietest := s.space.copies.quietest(func(other *Fill) bool { return other != f }); quietest != nil {
		s.space.copies.forget(quietest)
		s.mu.Unlock()
		quietest.drop()
		return true
	}
	if f.spec.Keeps != nil {
		s.mu.Unlock()
		return false
	}
	before := s.counters.freedBytes.Load()
	victims := s.victimsLocked(max(f.reserved-f.onDisk, 1), refusedEntries)
	s.leaving.remove(victims)
	changed := s.space.change()
	s.mu.Unlock()
	if len(victims.hashes) == 0 {
		return false
	}
	s.logger.Debug("evicting for a disk that says that it is full", zap.Int("entries", len(victims.hashes)))
	timer := time.NewTimer(roomTimeout)
	defer timer.Stop()
	for s.counters.freedBytes.Load() == before {
		if s.awaitChange(changed, timer) != nil {
			return false
		}
		s.mu.Lock()
		changed = s.space.change()
		s.mu.Unlock()
	}
	return true
}
