package cache

import (
	"time"
)

const (
	// durableWithin is how long a whole blob may wait for its sync. A crash costs that much of the last fills at worst.
	durableWithin = time.Second
	// usesWithin is how long the index may lag behind in what was used last, and maxTouched how many entries it may lag
	// behind in.
	usesWithin = 30 * time.Second
	maxTouched = 32 << 10
	// troublePause is the wait after a failure of the disk.
	troublePause = 2 * time.Second
)

// tend is the janitor: the one goroutine that writes the index and removes blobs, so that the order in which it does
// both is the order in which it happens. Only syncing, which takes long, runs beside it. It ends with the store's
// context.
func (s *Store) tend() {
	durable, uses := time.NewTimer(durableWithin), time.NewTicker(usesWithin)
	defer durable.Stop()
	defer uses.Stop()
	next := schedule{scheduled: true}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
			s.removeGivenUpPins(false)
			s.retryRefused()
			s.remove()
			s.evict()
			s.index.unmapReads()
		case <-uses.C:
			next.withUses = true
			s.removeExpiredPins()
			s.removeGivenUpPins(true)
			s.dropOutdatedBeginnings()
			s.retry()  // what couldn't be removed before
			s.remove() // or not be taken out of the index
			s.evict()  // others may be filling the disk
			s.index.unmap()
		case <-durable.C:
			s.beginBatch(&next)
		case b := <-s.synced:
			next.syncing = false
			if !s.recordBatch(b) {
				next.scheduled = true
				durable.Reset(troublePause)
			}
		}
		switch {
		case !next.syncing && s.isSyncWanted():
			// At once; a failing index is tried again for everybody who asks.
			next.scheduled = true
			durable.Reset(0)
		case s.isBatchDue(next):
			next.scheduled = true
			durable.Reset(durableWithin)
		}
	}
}

// schedule is what the janitor has before it: scheduled says that the timer of the next batch runs, syncing that a batch
// is being synced, withUses that the next one has the uses.
type schedule struct{ scheduled, syncing, withUses bool }

// beginBatch begins to make durable what is to be, if anything is, unless a batch is on its way.
func (s *Store) beginBatch(next *schedule) {
	next.scheduled = false
	if next.syncing {
		return
	}
	b := s.takeBatch(next.withUses)
	next.withUses = false // they are in it, or there are none
	if b != nil {
		next.syncing = true
		s.beginSync(b)
	}
}

// isBatchDue reports whether the next batch's timer should run and doesn't.
func (s *Store) isBatchDue(next schedule) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !next.scheduled && !next.syncing && (next.withUses || s.durability.isDue())
}

// beginSync syncs a batch and hands it back. It ends by itself; there is one at a time, so that synced has room.
func (s *Store) beginSync(b *batch) {
	s.work.Go(func() {
		s.syncBlobs(b)
		s.synced <- b
	})
}

func (s *Store) isSyncWanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.durability.waiters) > 0
}

func (s *Store) wakeJanitor() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake, or about to be
	}
}
