package cache

import (
	"errors"
	"os"
	"testing"
)

// TestAStoreIsLostWhenItsLockOrItsIndexIsNotTheOneThatWasOpened: what it keeps is gone with its process then.
func TestAStoreIsLostWhenItsLockOrItsIndexIsNotTheOneThatWasOpened(t *testing.T) {
	replace := func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) }
	for name, test := range map[string]struct {
		change func(s *Store) error
		lost   bool
	}{
		"nothing is changed":            {func(*Store) error { return nil }, false},
		"its blobs are on another disk": {func(s *Store) error { s.split.Store(true); return nil }, true},
		"its lock is gone":              {func(s *Store) error { return os.Remove(lockPath(s.dir)) }, true},
		"its lock is another":           {func(s *Store) error { return replace(lockPath(s.dir)) }, true},
		"its index is gone":             {func(s *Store) error { return os.Remove(indexPath(s.dir)) }, true},
		"its index is another":          {func(s *Store) error { return replace(indexPath(s.dir)) }, true},
		"all of it is gone":             {func(s *Store) error { return os.RemoveAll(s.dir) }, true},
		"its index is being replaced": {func(s *Store) error {
			s.index.mu.Lock()
			defer s.index.mu.Unlock()
			db := s.index.db
			s.index.db = nil
			return errors.Join(db.close(), os.Remove(indexPath(s.dir)))
		}, false},
		"it is closed": {(*Store).Close, true},
	} {
		s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		awaitLoaded(t, s)
		if err := test.change(s); err != nil {
			t.Fatal(err)
		}
		if lost := s.IsLost(); lost != test.lost {
			t.Errorf("%s: it is lost: %v", name, lost)
		}
		for range 2 {
			if err := s.Abandon(); err != nil {
				t.Errorf("%s: given up with %v", name, err)
			}
		}
	}
}

// TestGivingUpAStoreTellsWhatCannotBeClosed, and does so once.
func TestGivingUpAStoreTellsWhatCannotBeClosed(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	awaitLoaded(t, s)
	if err := s.lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Abandon(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("given up with %v", err)
	}
	if err := s.Abandon(); err != nil {
		t.Errorf("given up again with %v", err)
	}
}
