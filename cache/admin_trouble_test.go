package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// aroundFS stands around the index's transactions.
type aroundFS struct {
	FS
	around atomic.Pointer[func(transaction func() error) error] // nil for nothing
}

// set has a function stand around the transactions from now on; nil for none.
func (f *aroundFS) set(around func(transaction func() error) error) {
	if around == nil {
		f.around.Store(nil)
		return
	}
	f.around.Store(&around)
}

func (f *aroundFS) UpdateIndex(transaction func() error) error {
	if around := f.around.Load(); around != nil {
		return (*around)(transaction)
	}
	return transaction()
}

// adminActions are what admins ask for, and whether the index must be written for that.
var adminActions = map[string]struct {
	do     func(ctx context.Context, s *Store) error
	writes bool
}{
	"purging a key": {func(ctx context.Context, s *Store) error {
		_, err := s.Purge(ctx, Selector(testKey("a")))
		return err
	}, true},
	"purging a project": {func(ctx context.Context, s *Store) error {
		_, err := s.Purge(ctx, Selector{Project: "24"})
		return err
	}, true},
	"purging what nobody has": {func(ctx context.Context, s *Store) error {
		_, err := s.Purge(ctx, Selector{Project: "25"})
		return err
	}, true}, // of an earlier purge something may still be in the index
	"softening": {func(ctx context.Context, s *Store) error {
		_, err := s.Soften(ctx, Selector{Project: "24"})
		return err
	}, false},
	"pinning": {func(ctx context.Context, s *Store) error {
		return s.Pin(ctx, testKey("a"), time.Now().Add(time.Hour))
	}, true},
	"unpinning": {func(ctx context.Context, s *Store) error {
		_, err := s.Unpin(ctx, Selector{Project: "24"})
		return err
	}, true},
	"listing entries": {func(ctx context.Context, s *Store) error {
		_, err := s.Entries(ctx, Selector{}, nil, 10)
		return err
	}, false},
	"listing projects": {func(ctx context.Context, s *Store) error {
		_, err := s.Projects(ctx, 10)
		return err
	}, false},
	"listing upstreams": {func(ctx context.Context, s *Store) error {
		_, err := s.Upstreams(ctx)
		return err
	}, false},
	"verifying": {func(ctx context.Context, s *Store) error {
		_, err := s.Verify(ctx, 0, nil)
		return err
	}, true},
}

// TestWhatAnAdminAsksForIsNoSuccessWhereItWasNotDone has the admin leave, the store closed, and the index refuse to be written.
func TestWhatAnAdminAsksForIsNoSuccessWhereItWasNotDone(t *testing.T) {
	left := errors.New("the admin has left")
	for name, action := range adminActions {
		for where, durable := range map[string]bool{"in the index": true, "on the way there": false} {
			if !durable && !action.writes {
				continue // only the index is read
			}
			t.Run(name+" "+where, func(t *testing.T) {
				fs := &aroundFS{FS: OS()}
				s := openOn(t, fs, Limits{MaxSize: 1 << 30})
				s.put(t, testKey("a"), randomBytes(1000, 1))
				if err := s.Pin(t.Context(), testKey("a"), time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				if durable {
					if err := s.Sync(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				s.stopJanitor()
				s.ctx, s.cancel = context.WithCancel(context.Background())
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(left)
				if err := action.do(ctx, s); !errors.Is(err, left) {
					t.Errorf("nobody waits: %v", err)
				}
				s.work.Go(s.tend) // ends with the store
				if action.writes {
					fs.set(func(func() error) error { return syscall.ENOSPC })
					s.put(t, testKey("a"), randomBytes(1000, 2))
					if err := action.do(t.Context(), s); !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("the index can't be written: %v", err)
					}
					fs.set(nil)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if err := action.do(t.Context(), s); !errors.Is(err, ErrClosed) {
					t.Errorf("the store is closed: %v", err)
				}
			})
		}
	}
}

// TestAPurgeThatTheEndOvertakesIsNoSuccess has the janitor gone when a purge waits for it.
func TestAPurgeThatTheEndOvertakesIsNoSuccess(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	s.put(t, testKey("a"), randomBytes(1000, 1))
	s.stopJanitor()
	if purged, err := s.Purge(t.Context(), Selector(testKey("a"))); !errors.Is(err, ErrClosed) || purged != (Purged{Entries: 1, Held: 1000}) {
		t.Errorf("purged %+v, %v", purged, err)
	}
}

// TestAPlaceInTheIndexThatIsTakenIsTold has a bucket, as damage may leave it, stand where a record, a use or a pin is to be
// written or deleted.
func TestAPlaceInTheIndexThatIsTakenIsTold(t *testing.T) {
	k := testKey("a")
	h := k.hash()
	purge := func(s *Store) error {
		_, err := s.Purge(context.Background(), Selector(k))
		return err
	}
	until := time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		bucket, place []byte
		do            func(s *Store) error
	}{
		"a pin, to be written": {pinsBucket, k.bytes(), func(s *Store) error { return s.Pin(context.Background(), k, until) }},
		"a pin, to be deleted": {pinsBucket, k.bytes(), func(s *Store) error { return s.Pin(context.Background(), k, time.Now().Add(-1)) }},
		"a pin, purged":        {pinsBucket, k.bytes(), purge},
		"a pin, taken back": {pinsBucket, k.bytes(), func(s *Store) error {
			_, err := s.Unpin(context.Background(), Selector{})
			return err
		}},
		"a pin, for a new index": {pinsBucket, k.bytes(), func(s *Store) error {
			s.mu.Lock()
			s.setPinLocked(h, &pin{key: k.bytes(), until: until})
			s.mu.Unlock()
			return s.notePins()
		}},
		"a record, purged": {entriesBucket, k.bytes(), purge},
		"a use, purged":    {usesBucket, h[:], purge},
		"when files were verified": {metaBucket, verifiedName, func(s *Store) error {
			_, err := s.Verify(context.Background(), 0, nil)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
			s.put(t, k, randomBytes(1000, 1))
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := s.updateIndex(func(tx *bolt.Tx) error {
				bucket, err := tx.CreateBucketIfNotExists(test.bucket)
				if err != nil {
					return err
				}
				if err := bucket.Delete(test.place); err != nil {
					return err
				}
				_, err = bucket.CreateBucket(test.place)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := test.do(s); err == nil {
				t.Error("it is taken for done")
			}
		})
	}
}

// TestAFileThatIsStoredAnewDuringAPurgeIsNotTold has another key name the bytes before the purge comes to the file.
func TestAFileThatIsStoredAnewDuringAPurgeIsNotTold(t *testing.T) {
	fs := &purgingFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	data, stored := randomBytes(1000, 1), false
	s.put(t, testKey("a"), data)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	fs.before = func() {
		if !stored {
			stored = true
			s.put(t, testKey("b"), data)
		}
	}
	if purged, err := s.Purge(t.Context(), Selector(testKey("a"))); err != nil || purged != (Purged{Entries: 1}) || !stored {
		t.Errorf("purged %+v, %v", purged, err)
	}
}

// TestAPurgeTellsNoBytesThatWereGoneBefore purges the entry of a file that proved damaged and is removed.
func TestAPurgeTellsNoBytesThatWereGoneBefore(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
	k := testKey("a")
	s.put(t, k, randomBytes(1000, 1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		s.discard(s.entries.peek(k.hash()).blob, reasonChecksum)
		s.removeAll()
		if err := s.Pin(t.Context(), k, time.Now().Add(time.Hour)); !errors.Is(err, ErrMiss) {
			t.Errorf("pinned: %v", err)
		}
	})
	if purged, err := s.Purge(t.Context(), Selector(k)); err != nil || purged != (Purged{Entries: 1}) {
		t.Errorf("purged %+v, %v", purged, err)
	}
}

// TestAnEntryThatWaitsForTheIndexIsSoftenedOnce: the index has an earlier record of its key.
func TestAnEntryThatWaitsForTheIndexIsSoftenedOnce(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 30})
	for i, name := range []string{"a", "b"} {
		s.put(t, testKey(name), randomBytes(1000, byte(i)))
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		s.put(t, testKey("a"), randomBytes(1000, 3))
		if softened, err := s.Soften(t.Context(), Selector{Project: "24"}); err != nil || softened != 2 {
			t.Errorf("%d entries, %v", softened, err)
		}
	})
}

// TestTheJanitorIsWokenForWhatIsLeftToDo: otherwise files that may go stay until half a minute has passed.
func TestTheJanitorIsWokenForWhatIsLeftToDo(t *testing.T) {
	k := testKey("a")
	fs := &aroundFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30, MaxPinned: 1000})
	s.put(t, k, randomBytes(1000, 1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(t.Context(), k, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	s.asJanitor(func() {
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"a pin that couldn't be written", func() error {
				fs.set(func(func() error) error { return syscall.ENOSPC })
				defer func() { fs.set(nil) }()
				if err := s.Pin(t.Context(), k, time.Now().Add(2*time.Hour)); !errors.Is(err, syscall.ENOSPC) {
					return errors.New("it was written")
				}
				return nil
			}},
			{"a pin that is taken back", func() error { _, err := s.Unpin(t.Context(), Selector{}); return err }},
			{"records for a new index", func() error { s.keepRemembered(); return nil }},
			{"a purge", func() error { _, _ = s.Purge(t.Context(), Selector(k)); return nil }}, // nobody ends it
			{"a new entry", func() error { s.put(t, k, randomBytes(1000, 2)); return nil }},
			{"a damaged file", func() error { s.discard(s.entries.peek(k.hash()).blob, reasonGone); return nil }},
			{"an entry of a damaged file", func() error {
				if _, err := s.Lookup(k); !errors.Is(err, ErrMiss) {
					return errors.New("it is found")
				}
				return nil
			}},
		} {
			select {
			case <-s.wake:
			default:
			}
			if err := step.do(); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			select {
			case <-s.wake:
			default:
				t.Errorf("nobody is woken for %s", step.name)
			}
		}
	})
}
