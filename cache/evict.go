package cache

import "go.uber.org/zap"

// headroomShare is the part of the room for entries that is kept free ahead of need, so that fills seldom wait for evictions.
const headroomShare = 64

// evict removes beginnings of files, and then what was used least recently, until there is the room that waiting fills want, or
// some to spare. It never removes what is being read. Only the janitor may call it (tend, also from within a batch): two that
// evict at once would each make the room that one is to make.
func (s *Store) evict() {
	seen, err := s.sampleFree()
	for _, drop := range []func(sample) bool{s.dropBeginnings, s.dropCopiesForDisk} {
		if err == nil && drop(seen) {
			seen, err = s.sampleFree()
		}
	}
	if err != nil {
		s.giveUpRoom()
		return
	}
	s.mu.Lock()
	excess, inVain := s.excessLocked(s.freeLocked(seen))
	before := s.counters.freedBytes.Load()
	loading := s.starting.loading
	s.mu.Unlock()
	for !loading && excess > 0 {
		s.removeAll() // first what is on its way out already, and then those that are evicted
		left := excess - (s.counters.freedBytes.Load() - before)
		if left <= 0 {
			break
		}
		s.mu.Lock()
		victims := s.victimsLocked(left, s.leaving.stuck.mostVictims())
		s.leaving.remove(victims)
		s.mu.Unlock()
		if len(victims.hashes) == 0 {
			s.giveUpRoom()
			break
		}
		s.logger.Debug("evicting", zap.Int("entries", len(victims.hashes)), zap.Int64("bytes", left))
	}
	if inVain {
		s.giveUpRoom()
		return
	}
	s.mu.Lock()
	s.space.announce()
	s.mu.Unlock()
}

// excessLocked is how many bytes are to be evicted, by what is free on the file system. inVain says that there won't be
// all the room that is wanted of the file system: what was removed for it already hasn't become free, or all that could
// be removed wouldn't do. Then nothing is evicted for its sake: others may be filling it, or hold what we remove.
func (s *Store) excessLocked(free int64) (excess int64, inVain bool) {
	wanted, most := s.space.wanted, s.limits.main()
	excess = s.space.used() - most + max(wanted.bytes, most/headroomShare)
	short := s.space.short(wanted.fresh, free, s.limits)
	if short <= 0 {
		return excess, false
	}
	evictable := s.space.blobs - s.keptLocked() + s.beginnings.bytes
	switch lacking := short - s.space.unfreed.bytes; {
	case lacking <= 0, lacking-wanted.fresh > evictable:
		return excess, true
	default:
		// Each of the fills that wait would find room, if not all of them.
		return max(excess, min(lacking, evictable)), false
	}
}

// giveUpRoom tells fills that wait for room that there won't be more: asking again and again doesn't help.
func (s *Store) giveUpRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.space.exhausted++
	s.space.announce()
}

// victimsLocked takes the least recently used entries out of memory, as many as it takes to free that many bytes, but no
// more than most. Those that are being read, or pinned, or owed, are passed over and count as used now.
func (s *Store) victimsLocked(excess int64, most int) *removal {
	victims, now := new(removal), s.now()
	for range s.entries.len() {
		if excess <= 0 || len(victims.hashes) >= most {
			break
		}
		n := s.entries.oldest()
		if n == nil {
			break
		}
		if n.blob.open > 0 || n.blob.busy != nil || s.pins.keeps(n.hash, now) || s.owed.keeps(n.hash, s.limits) {
			s.entries.use(n)
			continue
		}
		if s.limits.KeepsOwed && s.owed.has(n.hash) {
			s.counters.owedEvicted.Add(1)
		}
		s.dropLocked(n)
		s.counters.evictions.Add(1)
		victims.hashes = append(victims.hashes, n.hash)
		if n.blob.entries == 0 && !n.blob.unlinked {
			excess -= n.blob.size
		}
	}
	return victims
}
