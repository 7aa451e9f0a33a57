package cache

import (
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// slowRemovals is a file system on which a function is called before a file is removed, and can refuse that.
type slowRemovals struct {
	FS
	before atomic.Pointer[func(path string) error]
}

func (f *slowRemovals) Remove(path string) error {
	if before := f.before.Load(); before != nil {
		if err := (*before)(path); err != nil {
			return err
		}
	}
	return f.FS.Remove(path)
}

// slowly has a store of some files of 1,000 bytes in a bubble of synctest; before is called when one is to be removed.
func slowly(t *testing.T, files int, before func(s *Store) error, do func(t *testing.T, s *Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fs := &slowRemovals{FS: OS()}
		s, err := Open(Config{Dir: t.TempDir(), FS: fs, Limits: Limits{MaxSize: 1 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		awaitLoaded(t, s)
		for i := range files {
			s.put(t, numberedKey(i), randomBytes(1000, byte(i)))
		}
		synctest.Wait()
		remove := func(string) error { return before(s) }
		fs.before.Store(&remove)
		do(t, s)
	})
}

// TestAPurgeWaitsAsLongAsFilesGo in whichever order, and not for a disk that hangs with one, whatever else changes.
func TestAPurgeWaitsAsLongAsFilesGo(t *testing.T) {
	const step = goneTimeout / 3
	for name, test := range map[string]struct {
		// steps is how long each removal takes, in the order in which they happen.
		steps []int
		want  Purged
		took  time.Duration
	}{
		"a slow disk":       {[]int{2, 2, 2, 2, 2, 2, 2, 2}, Purged{Bytes: 8000}, 16 * step},
		"a disk that hangs": {[]int{2, 9}, Purged{Bytes: 1000, Held: 1000}, 2*step + goneTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			removed := 0
			slowly(t, len(test.steps), func(s *Store) error {
				for range test.steps[removed] {
					time.Sleep(step) // of the bubble
					s.mu.Lock()
					s.space.announce()
					s.mu.Unlock()
				}
				removed++
				return nil
			}, func(t *testing.T, s *Store) {
				p := new(purging)
				s.mu.Lock()
				for _, n := range s.entries.nodes {
					p.blobs = append(p.blobs, n.blob)
				}
				for _, n := range s.entries.nodes {
					s.dropLocked(n)
				}
				s.mu.Unlock()
				s.wakeJanitor()
				begun := time.Now()
				if purged := s.awaitGone(t.Context(), p); purged != test.want || time.Since(begun) != test.took {
					t.Errorf("%+v in %v", purged, time.Since(begun))
				}
			})
		})
	}
}

// TestAPurgeDoesNotWaitForWhatTheDiskRefused while the janitor goes on with files of others.
func TestAPurgeDoesNotWaitForWhatTheDiskRefused(t *testing.T) {
	refused := false
	slowly(t, 1, func(s *Store) error {
		if refused {
			time.Sleep(goneTimeout / 2) // of the bubble
			return nil
		}
		refused = true
		s.orphan(1, 2)
		time.Sleep(time.Second) // of the bubble; the purge waits then
		return syscall.EPERM
	}, func(t *testing.T, s *Store) {
		begun := time.Now()
		purged, err := s.Purge(t.Context(), Selector(numberedKey(0)))
		if err != nil || purged != (Purged{Entries: 1, Held: 1000}) || time.Since(begun) != time.Second {
			t.Errorf("%+v in %v, %v", purged, time.Since(begun), err)
		}
	})
}
