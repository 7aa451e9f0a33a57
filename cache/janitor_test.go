package cache

import (
	"context"
	"testing"
)

// stopJanitor ends the janitor, after what it has begun.
func (s *Store) stopJanitor() {
	s.cancel()
	s.work.Wait()
	select {
	case b := <-s.synced:
		s.recordBatch(b)
	default:
	}
}

// asJanitor does what else only the janitor does, such as evict, in its place: two that evict at once evict too much. The
// janitor is stopped meanwhile, so nothing in it may wait for a fill's room, a Sync or a Purge. Nobody else uses the store then.
func (s *Store) asJanitor(do func()) {
	s.stopJanitor()
	do()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work.Go(s.tend) // ends with the store, or with the next call
}

func TestAnIdleStoreWaitsForNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	next := schedule{scheduled: true, withUses: true} // half a minute has passed, and nothing was used
	s.asJanitor(func() {
		s.beginBatch(&next)
		if s.isBatchDue(next) || next != (schedule{}) {
			t.Errorf("next is %+v", next)
		}
	})
}
