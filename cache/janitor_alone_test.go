package cache

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
)

// troubledFS is a file system on which bytes are free as the test says, and whose files and index can refuse to be changed.
type troubledFS struct {
	stickyFS
	free    atomic.Int64
	refuses atomic.Bool
	// refused counts the transactions that were.
	refused atomic.Int64
	// hold has directories made durable only once it is closed, if there is any.
	hold atomic.Pointer[chan struct{}]
	// first is done once, before a transaction.
	first atomic.Pointer[func()]
}

// before has something done before the next transaction.
func (f *troubledFS) before(do func()) { f.first.Store(&do) }

func (f *troubledFS) SyncDir(path string) error {
	if hold := f.hold.Load(); hold != nil {
		<-*hold
	}
	return f.FS.SyncDir(path)
}

func (f *troubledFS) Free(string) (int64, error) { return f.free.Load(), nil }

func (f *troubledFS) UpdateIndex(transaction func() error) error {
	if first := f.first.Swap(nil); first != nil {
		(*first)()
	}
	if f.refuses.Load() {
		f.refused.Add(1)
		return syscall.ENOSPC
	}
	return transaction()
}

func newTroubledFS() *troubledFS {
	fs := new(troubledFS)
	fs.FS = OS()
	fs.free.Store(1 << 40)
	return fs
}

// alone has a store in a bubble of synctest, where time passes only while nobody has anything to do.
func alone(t *testing.T, limits Limits, do func(t *testing.T, s *Store, fs *troubledFS)) {
	t.Helper()
	aloneIn(t, t.TempDir(), newTroubledFS(), limits, do)
}

// aloneIn is alone with a directory that has been used before, or a file system in trouble from the start.
func aloneIn(t *testing.T, dir string, fs *troubledFS, limits Limits, do func(t *testing.T, s *Store, fs *troubledFS)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Config{Dir: dir, FS: fs, Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			fs.heal()
			fs.refuses.Store(false)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		s.KeepBeginningsFrom(1000)
		awaitLoaded(t, s)
		synctest.Wait() // for the janitor, which is woken when all is loaded
		do(t, s, fs)
	})
}

// lastUse is what the index knows of an entry's last use.
func (s *Store) lastUse(t *testing.T, k Key) (at int64) {
	t.Helper()
	err := s.viewIndex(func(tx *bolt.Tx) error {
		h := k.hash()
		at, _ = decodeUse(tx.Bucket(usesBucket).Get(h[:]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func (s *Store) pinsInIndex(t *testing.T) int {
	t.Helper()
	read, err := s.pinsOfIndex()
	if err != nil {
		t.Fatal(err)
	}
	return len(read)
}

// pinThree stores three files and pins them, each for as many hours.
func (s *Store) pinThree(t *testing.T) {
	t.Helper()
	for i := range 3 {
		s.put(t, numberedKey(i), randomBytes(1000, byte(i)))
		if err := s.Pin(t.Context(), numberedKey(i), s.now().Add(time.Duration(i+1)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheJanitorDoesWithinHalfAMinuteWhatNobodyAsksFor: nobody uses the store meanwhile.
func TestTheJanitorDoesWithinHalfAMinuteWhatNobodyAsksFor(t *testing.T) {
	limits := Limits{MaxSize: 1 << 20, MinFree: 1 << 20}
	k := testKey("a")
	for name, test := range map[string]struct {
		prepare func(t *testing.T, s *Store, fs *troubledFS)
		isDone  func(t *testing.T, s *Store) bool
	}{
		"a pin that has expired is out of the index": {func(t *testing.T, s *Store, _ *troubledFS) {
			s.put(t, k, randomBytes(1000, 1))
			if err := s.Pin(t.Context(), k, s.now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, s *Store) bool { return s.pinsInIndex(t) == 0 && s.Stats().Pinned == 0 }},
		"pins that the index couldn't be rid of": {func(t *testing.T, s *Store, fs *troubledFS) {
			s.pinThree(t)
			fs.refuses.Store(true)
			s.SetLimits(Limits{MaxSize: 1 << 20, MinFree: 1 << 20, MaxPinned: 2000})
			synctest.Wait()
			s.wakeJanitor()
			synctest.Wait()
			if refused := fs.refused.Load(); refused != 1 {
				t.Errorf("they are tried %d times at once", refused)
			}
			fs.refuses.Store(false)
		}, func(t *testing.T, s *Store) bool { return s.pinsInIndex(t) == 2 }},
		"what was used is in the index": {func(t *testing.T, s *Store, _ *troubledFS) {
			s.put(t, k, randomBytes(1000, 1))
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			s.Use(s.lookup(t, k))
		}, func(t *testing.T, s *Store) bool {
			return time.Unix(0, s.lastUse(t, k)).After(s.started.Add(time.Second - 1))
		}},
		"a beginning that nobody can go on from is gone": {func(t *testing.T, s *Store, _ *troubledFS) {
			s.breakOff(t, k, FillSpec{Size: 4000}, randomBytes(2000, 1))
			s.Raise(k, Published)
		}, func(_ *testing.T, s *Store) bool { return s.Stats().Beginnings == 0 }},
		"a file that couldn't be removed is gone": {func(t *testing.T, s *Store, fs *troubledFS) {
			fs.keep(func(string) bool { return true })
			s.put(t, k, randomBytes(1000, 1))
			if _, err := s.Purge(t.Context(), Selector(k)); err != nil {
				t.Fatal(err)
			}
			fs.heal()
		}, func(_ *testing.T, s *Store) bool { return s.Stats().Blobs == 0 }},
		"a record that couldn't be removed is gone": {func(t *testing.T, s *Store, fs *troubledFS) {
			s.put(t, k, randomBytes(1000, 1))
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			fs.refuses.Store(true)
			if _, err := s.Purge(t.Context(), Selector(k)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("purged: %v", err)
			}
			fs.refuses.Store(false)
		}, func(t *testing.T, s *Store) bool {
			record, err := s.readIndex(k)
			if err != nil {
				t.Fatal(err)
			}
			return record == nil
		}},
		"others that fill the disk find some room": {func(t *testing.T, s *Store, fs *troubledFS) {
			s.put(t, k, randomBytes(1000, 1))
			if err := s.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			fs.free.Store(1<<20 - 1)
		}, func(_ *testing.T, s *Store) bool { return s.Stats().Entries == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, limits, func(t *testing.T, s *Store, fs *troubledFS) {
				test.prepare(t, s, fs)
				time.Sleep(usesWithin / 2)
				synctest.Wait()
				if test.isDone(t, s) {
					t.Error("it is done by others; the test shows nothing")
				}
				time.Sleep(usesWithin/2 + durableWithin)
				synctest.Wait()
				if !test.isDone(t, s) {
					t.Error("it isn't done")
				}
			})
		})
	}
}

// TestTheJanitorDoesAtOnceWhatItIsWokenFor and waits for no tick.
func TestTheJanitorDoesAtOnceWhatItIsWokenFor(t *testing.T) {
	t.Run("pins that there is no room for are out of the index", func(t *testing.T) {
		alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, _ *troubledFS) {
			s.pinThree(t)
			synctest.Wait()
			s.SetLimits(Limits{MaxSize: 1 << 20, MaxPinned: 2000})
			synctest.Wait()
			if left := s.pinsInIndex(t); left != 2 {
				t.Errorf("%d are left", left)
			}
		})
	})
	t.Run("what is to be durable now, but for what is on its way already", func(t *testing.T) {
		alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, fs *troubledFS) {
			hold, synced := make(chan struct{}), make(chan error, 3)
			fs.hold.Store(&hold)
			for i := range cap(synced) {
				s.put(t, numberedKey(i), randomBytes(100, byte(i)))
				go func() { synced <- s.Sync(t.Context()) }() // ends with the batch
				synctest.Wait()                               // nobody is busy waiting
			}
			begun := time.Now()
			close(hold)
			for range cap(synced) {
				if err := <-synced; err != nil {
					t.Error(err)
				}
			}
			if took := time.Since(begun); took > 0 {
				t.Errorf("it took %v", took)
			}
			for i := range cap(synced) {
				if record, err := s.readIndex(numberedKey(i)); err != nil || record == nil {
					t.Errorf("of file %d the index has %+v, %v", i, record, err)
				}
			}
		})
	})
	t.Run("a disk that has refused to remove files is asked again, and not for each", func(t *testing.T) {
		alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, fs *troubledFS) {
			const files = maxRefusals + 4
			fs.keep(func(string) bool { return true })
			for i := range files {
				s.put(t, numberedKey(i), randomBytes(100, byte(i)))
			}
			begun := time.Now()
			if _, err := s.Purge(t.Context(), Selector{}); err != nil || time.Since(begun) > 0 {
				t.Errorf("purged in %v, %v", time.Since(begun), err)
			}
			synctest.Wait()
			if tried := fs.tried.Load(); tried != maxRefusals {
				t.Errorf("%d are tried", tried)
			}
			fs.heal()
			for round, left := range []int{files, 0} {
				s.wakeJanitor()
				synctest.Wait()
				if now := s.Stats().Blobs; now != left {
					t.Errorf("round %d: %d files are left", round, now)
				}
				time.Sleep(troublePause)
			}
		})
	})
}

// TestAnIndexThatCannotBeWrittenIsTriedEveryTwoSeconds and what waits for it is in it as soon as it can be.
func TestAnIndexThatCannotBeWrittenIsTriedEveryTwoSeconds(t *testing.T) {
	alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, fs *troubledFS) {
		fs.refuses.Store(true)
		s.put(t, testKey("a"), randomBytes(1000, 1))
		time.Sleep(durableWithin)
		for tries := range int64(4) {
			synctest.Wait()
			if refused := fs.refused.Load(); refused != tries+1 {
				t.Errorf("it is tried %d times, not %d", refused, tries+1)
			}
			time.Sleep(troublePause)
		}
		fs.refuses.Store(false)
		time.Sleep(troublePause)
		synctest.Wait()
		if stats := s.Stats(); stats.Pending != 0 || stats.IndexFailing {
			t.Errorf("%+v", stats)
		}
	})
}

// TestWhatIsStoredAllTheTimeKeepsNothingFromTheIndex: each second has its batch, however many files come.
func TestWhatIsStoredAllTheTimeKeepsNothingFromTheIndex(t *testing.T) {
	alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, _ *troubledFS) {
		const perSecond = 4
		for i := range 3 * perSecond {
			s.put(t, numberedKey(i), randomBytes(100, byte(i)))
			time.Sleep(durableWithin / perSecond)
			synctest.Wait()
			if pending := s.Stats().Pending; pending > perSecond {
				t.Fatalf("%d files wait for the index", pending)
			}
		}
	})
}
