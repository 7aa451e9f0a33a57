package cache

import (
	"errors"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// TestAStoreThatIsClosingTakesNothingMore asks it while its index is still open.
func TestAStoreThatIsClosingTakesNothingMore(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	closing := func(is bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = is
	}
	closing(true)
	defer closing(false)
	_, lookedUp := s.Lookup(testKey("a"))
	_, purged := s.Purge(t.Context(), Selector(testKey("a")))
	_, unpinned := s.Unpin(t.Context(), Selector{})
	_, verified := s.Verify(t.Context(), 0, nil)
	for name, err := range map[string]error{
		"a look-up": lookedUp, "a purge": purged, "a pin": s.Pin(t.Context(), testKey("a"), time.Now().Add(time.Hour)),
		"a pin taken back": unpinned, "a verification": verified,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatIsNoKeyInTheIndexCountsNowhere has names that damage may leave there.
func TestWhatIsNoKeyInTheIndexCountsNowhere(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
	err := s.updateIndex(func(tx *bolt.Tx) error {
		pins, err := tx.CreateBucketIfNotExists(pinsBucket)
		if err != nil {
			return err
		}
		return errors.Join(pins.Put([]byte("no key"), writeNumber(1)), tx.Bucket(entriesBucket).Put([]byte("no key"), []byte("no record")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if pins, err := s.Unpin(t.Context(), Selector{}); pins != 0 || err != nil {
		t.Errorf("%d pins are taken back, %v", pins, err)
	}
	if softened, err := s.Soften(t.Context(), Selector{}); softened != 0 || err != nil {
		t.Errorf("%d entries are softened, %v", softened, err)
	}
	if purged, err := s.Purge(t.Context(), Selector{}); purged != (Purged{}) || err != nil {
		t.Errorf("purged %+v, %v", purged, err)
	}
	if projects, err := s.Projects(t.Context(), 10); len(projects) != 0 || err != nil {
		t.Errorf("projects are %v, %v", projects, err)
	}
	if listed, err := s.Entries(t.Context(), Selector{}, nil, 10); len(listed) != 0 || err != nil {
		t.Errorf("listed %v, %v", listed, err)
	}
}
