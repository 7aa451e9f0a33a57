package cache

import (
	"bytes"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// orphan makes numbered blobs known that nothing names; there are no files of theirs.
func (s *Store) orphan(from, to int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := from; i < to; i++ {
		blob := &blobState{digest: numberedDigest(i)}
		s.blobs[blob.digest] = blob
		s.leaving.orphan(blob)
	}
}

// TestTheJanitorComesBackForWhatIsLeft of many files, and for those that had to wait since more came to be removed meanwhile.
func TestTheJanitorComesBackForWhatIsLeft(t *testing.T) {
	for name, test := range map[string]struct {
		orphans int
		// meanwhile is done while the index is written first.
		meanwhile func(s *Store)
	}{
		"many files":                       {unlinkBatch + 1, nil},
		"as many as are removed at a time": {unlinkBatch, nil},
		"more came": {3, func(s *Store) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.leaving.remove(&removal{hashes: make([]keyHash, 1)})
		}},
	} {
		for how, remove := range map[string]func(s *Store){
			"woken":      func(s *Store) { s.wakeJanitor(); synctest.Wait() },
			"to the end": func(s *Store) { s.asJanitor(s.removeAll) },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, fs *troubledFS) {
					s.orphan(0, test.orphans)
					s.mu.Lock()
					s.leaving.remove(&removal{hashes: make([]keyHash, 1)})
					s.mu.Unlock()
					if test.meanwhile != nil {
						fs.before(func() { test.meanwhile(s) })
					}
					remove(s)
					if len(s.leaving.orphans) != 0 || len(s.leaving.removals) != 0 || len(s.blobs) != 0 {
						t.Errorf("%d files and %d removals are left", len(s.leaving.orphans), len(s.leaving.removals))
					}
				})
			})
		}
	}
}

// TestFilesThatCannotBeRemovedAreToldOnceATick and those that can aren't. Whoever purges them doesn't wait.
func TestFilesThatCannotBeRemovedAreToldOnceATick(t *testing.T) {
	alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, fs *troubledFS) {
		core, logs := observer.New(zap.WarnLevel)
		s.asJanitor(func() { s.logger = zap.New(core) })
		purge := func(i byte) {
			t.Helper()
			k := numberedKey(int(i))
			s.put(t, k, randomBytes(1000, i))
			begun := time.Now()
			if _, err := s.Purge(t.Context(), Selector(k)); err != nil || time.Since(begun) != 0 {
				t.Errorf("purged in %v, %v", time.Since(begun), err)
			}
		}
		told := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if n := logs.Len(); n != want {
				t.Errorf("%s: told %v", when, logs.All())
			}
		}
		purge(0)
		told("removed", 0)
		fs.keep(func(string) bool { return true })
		purge(1)
		told("not removed", 1)
		purge(2)
		told("another one", 1)
		time.Sleep(usesWithin)
		told("half a minute later", 2)
		purge(3)
		told("a third one", 2)
		if stats := s.Stats(); stats.DiskErrors != 5 || logs.All()[1].ContextMap()["files"] != int64(2) {
			t.Errorf("%d errors of the disk; told %v", stats.DiskErrors, logs.All())
		}
		fs.heal()
		time.Sleep(usesWithin)
		told("removed at last", 2)
		if stats := s.Stats(); stats.Blobs != 0 || stats.Bytes != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

// TestAPurgeThatTheIndexRefusedTakesThePinsOnceItCan: else the file would be pinned again at the next start.
func TestAPurgeThatTheIndexRefusedTakesThePinsOnceItCan(t *testing.T) {
	alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, fs *troubledFS) {
		s.pinThree(t)
		synctest.Wait() // a janitor that is awake already would try twice
		before := s.Stats().DiskErrors
		fs.refuses.Store(true)
		if _, err := s.Purge(t.Context(), Selector(numberedKey(0))); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("purged: %v", err)
		}
		fs.refuses.Store(false)
		if told := s.Stats().DiskErrors - before; told != 1 {
			t.Errorf("%d errors of the disk are told", told)
		}
		if left := s.pinsInIndex(t); left != 3 {
			t.Errorf("%d pins are left; the test shows nothing", left)
		}
		time.Sleep(usesWithin)
		synctest.Wait()
		if left := s.pinsInIndex(t); left != 2 {
			t.Errorf("%d pins are left", left)
		}
	})
}

// TestWhatIsStoredAndPinnedAnewDuringAPurgeStaysPinned and the index has no record of what was purged.
func TestWhatIsStoredAndPinnedAnewDuringAPurgeStaysPinned(t *testing.T) {
	k := testKey("a")
	alone(t, Limits{MaxSize: 1 << 20}, func(t *testing.T, s *Store, fs *troubledFS) {
		s.put(t, k, randomBytes(1000, 1))
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		fs.before(func() {
			s.put(t, k, randomBytes(1000, 2))
			if err := s.Pin(t.Context(), k, s.now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
		})
		if _, err := s.Purge(t.Context(), Selector(k)); err != nil {
			t.Fatal(err)
		}
		if record, err := s.readIndex(k); err != nil || record != nil {
			t.Errorf("the index has %+v, %v", record, err)
		}
		if pins, pinned := s.pinsInIndex(t), s.Stats().Pinned; pins != 1 || pinned != 1000 {
			t.Errorf("the index has %d pins, %d bytes are pinned", pins, pinned)
		}
	})
}

// TestWhatIsPurgedByItsKeyLeavesTheIndexAlsoWithoutAUse: damage may have taken what leads from a hash to its key.
func TestWhatIsPurgedByItsKeyLeavesTheIndexAlsoWithoutAUse(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 20})
	k := testKey("a")
	h := k.hash()
	s.put(t, k, randomBytes(1000, 1))
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.updateIndex(func(tx *bolt.Tx) error { return tx.Bucket(usesBucket).Delete(h[:]) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Purge(t.Context(), Selector(k)); err != nil {
		t.Fatal(err)
	}
	if record, err := s.readIndex(k); err != nil || record != nil {
		t.Errorf("the index has %+v, %v", record, err)
	}
}

// TestNoFileIsRemovedThatTheStartHasNotComeTo: an entry that isn't loaded yet may name it, too.
func TestNoFileIsRemovedThatTheStartHasNotComeTo(t *testing.T) {
	data := randomBytes(1000, 1)
	s, goOn := openLoading(t, leftWith(t, testKey("a"), data))
	s.put(t, testKey("b"), data)
	if purged, err := s.Purge(t.Context(), Selector(testKey("b"))); err != nil || purged != (Purged{Entries: 1, Held: 1000}) {
		t.Errorf("purged %+v, %v", purged, err)
	}
	if err := s.Sync(t.Context()); err != nil { // the janitor has come back from the purge then
		t.Fatal(err)
	}
	goOn()
	if !bytes.Equal(s.content(t, testKey("a")), data) {
		t.Error("it is gone")
	}
}

// TestOnlyFilesThatNobodyNeedsAreClaimed to be removed.
func TestOnlyFilesThatNobodyNeedsAreClaimed(t *testing.T) {
	for name, test := range map[string]struct {
		blob    blobState
		another bool // has its name
		want    bool
	}{
		"that nothing names":              {blobState{}, false, true},
		"whose name another has":          {blobState{}, true, false},
		"that an entry names":             {blobState{entries: 1}, false, false},
		"damaged, that an entry names":    {blobState{entries: 1, damaged: true}, false, true},
		"damaged, that nothing names":     {blobState{damaged: true}, false, true},
		"gone":                            {blobState{unlinked: true}, false, false},
		"that somebody else is busy with": {blobState{busy: make(chan struct{})}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Store{blobs: make(map[Digest]*blobState)}
			blob := test.blob
			s.blobs[blob.digest] = &blob
			if test.another {
				s.blobs[blob.digest] = new(blobState)
			}
			busy := blob.busy
			if got := s.claimLocked(&blob); got != test.want || (blob.busy != busy) != test.want {
				t.Errorf("claimed: %v, busy: %v", got, blob.busy != nil)
			}
		})
	}
}

// TestWhatIsRemovedCanBeStoredMeanwhile by whoever fetched the same bytes, and is there once the earlier file is gone.
func TestWhatIsRemovedCanBeStoredMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held, data := newHeldRemoval(), randomBytes(1000, 1)
		s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30}, FS: held})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		awaitLoaded(t, s)
		purged := s.purgeHeld(held, s.put(t, testKey("a"), data))
		go func() { s.put(t, testKey("b"), data) }() // ends when the file is removed
		synctest.Wait()
		close(held.held)
		synctest.Wait()
		if err := <-purged; err != nil {
			t.Error(err)
		}
		if !bytes.Equal(s.content(t, testKey("b")), data) {
			t.Error("it is gone")
		}
	})
}

// TestWhatIsPurgedTakesNoMemory: a small file is served from there.
func TestWhatIsPurgedTakesNoMemory(t *testing.T) {
	s := openOn(t, OS(), Limits{MaxSize: 1 << 20, Memory: 1 << 20})
	data := randomBytes(1000, 1)
	s.put(t, testKey("a"), data)
	for tries := 0; !s.isInMemory(t, testKey("a"), data); tries++ {
		if tries == 10 {
			t.Fatal("it doesn't come into memory")
		}
	}
	if _, err := s.Purge(t.Context(), Selector{}); err != nil {
		t.Fatal(err)
	}
	if blobs := s.Stats().MemoryBlobs; blobs != 0 {
		t.Errorf("%d are in memory", blobs)
	}
}
