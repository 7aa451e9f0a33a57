package cache

import "testing"

func TestAnIdleStoreWaitsForNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	next := schedule{scheduled: true, withUses: true} // half a minute has passed, and nothing was used
	s.beginBatch(&next)
	if s.isBatchDue(next) || next != (schedule{}) {
		t.Errorf("next is %+v", next)
	}
}
