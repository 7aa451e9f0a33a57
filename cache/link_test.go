package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// heldRemoval is a file system that doesn't remove the file of one name before it is let go. The janitor waits there, and
// removes nothing else meanwhile.
type heldRemoval struct {
	FS
	// removing is closed when somebody wants to remove the file, held when they may.
	removing, held chan struct{}
	once           sync.Once

	mu   sync.Mutex // guards name
	name string
}

func newHeldRemoval() *heldRemoval {
	return &heldRemoval{FS: OS(), removing: make(chan struct{}), held: make(chan struct{})}
}

func (f *heldRemoval) hold(d Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.name = d.String()
}

func (f *heldRemoval) Remove(path string) error {
	f.mu.Lock()
	name := f.name
	f.mu.Unlock()
	if filepath.Base(path) == name {
		f.once.Do(func() { close(f.removing) })
		<-f.held
	}
	return f.FS.Remove(path)
}

// purgeHeld purges a file, and returns while it is being removed. What it returns gets the purge's end.
func (s *Store) purgeHeld(fs *heldRemoval, e Entry) <-chan error {
	fs.hold(e.Digest)
	ended := make(chan error, 1)
	go func() { // ends when the removal is let go
		_, err := s.Purge(context.Background(), Selector(e.Key))
		ended <- err
	}()
	<-fs.removing
	return ended
}

func TestLinkKeepsNothingOfAnOlderGeneration(t *testing.T) {
	for name, raise := range map[string]func(t *testing.T, s *Store, k Key){
		"published":   func(_ *testing.T, s *Store, k Key) { s.Raise(k, Published) },
		"soft purged": func(_ *testing.T, s *Store, k Key) { s.Raise(k, SoftPurged) },
		"purged": func(t *testing.T, s *Store, k Key) {
			if _, err := s.Purge(context.Background(), Selector(k)); err != nil {
				t.Error(err)
			}
		},
		"its project purged": func(t *testing.T, s *Store, k Key) {
			if _, err := s.Purge(context.Background(), Selector{Upstream: k.Upstream, Project: k.Project}); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			k, elsewhere := testKey("a"), spelling(testKey("a"), "25")
			entry := s.put(t, elsewhere, []byte("old"))
			before := s.Generation(k)
			raise(t, s, k)
			spec := FillSpec{Size: 3, SHA256: entry.Digest, Confirmed: s.now()}
			if _, err := s.Link(k, before, spec); !errors.Is(err, ErrSuperseded) {
				t.Errorf("linked: %v", err)
			}
			if _, err := s.Lookup(k); !errors.Is(err, ErrMiss) {
				t.Errorf("looked up: %v", err)
			}
			if _, err := s.Link(k, s.Generation(k), spec); err != nil {
				t.Errorf("linked in the present generation: %v", err)
			}
		})
	}
}

// TestCommitKeepsNothingOfAnOlderGeneration has a publish end between a fill's last byte and its commit, also where the bytes
// are stored under another name.
func TestCommitKeepsNothingOfAnOlderGeneration(t *testing.T) {
	for name, shared := range map[string]bool{"new bytes": false, "bytes that are stored under another name": true} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{})
			k, old := testKey("a"), randomBytes(1000, 1)
			if shared {
				s.put(t, spelling(k, "25"), old)
			}
			before := s.Generation(k)
			fill := s.begin(t, k, FillSpec{Size: int64(len(old)), Confirmed: s.now()})
			fill.write(t, old)
			s.Raise(k, Published)
			s.put(t, k, []byte("new"))
			if _, err := fill.Commit(before); !errors.Is(err, ErrSuperseded) {
				t.Errorf("committed: %v", err)
			}
			if got := s.content(t, k); string(got) != "new" {
				t.Errorf("there are %d bytes that aren't the new ones", len(got))
			}
		})
	}
}

// TestALinkDoesNotReplaceWhatWasNamedAfterIt links by an answer that is older than the entry's.
func TestALinkDoesNotReplaceWhatWasNamedAfterIt(t *testing.T) {
	s, clock := openAt(t, Limits{})
	k := testKey("a")
	older := s.put(t, spelling(k, "25"), []byte("older"))
	asked := clock.now()
	clock.pass(1)
	s.put(t, k, []byte("newer"))
	link := func(confirmed time.Time) error {
		_, err := s.Link(k, s.Generation(k), FillSpec{Size: -1, SHA256: older.Digest, Confirmed: confirmed})
		return err
	}
	if err := link(asked); !errors.Is(err, ErrSuperseded) || string(s.content(t, k)) != "newer" {
		t.Errorf("by an older answer: %v, %q", err, s.content(t, k))
	}
	if err := link(asked.Add(1)); err != nil || string(s.content(t, k)) != "older" {
		t.Errorf("by an answer that is as old: %v, %q", err, s.content(t, k))
	}
}

// TestWhatIsOnItsWayOutIsNeitherLinkedNorOpened looks at a file that is being removed, and at one whose removal waits behind
// that because it is damaged. Both are fetched again meanwhile, and stay.
func TestWhatIsOnItsWayOutIsNeitherLinkedNorOpened(t *testing.T) {
	fs := newHeldRemoval()
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	data := map[string][]byte{"removed": randomBytes(1000, 1), "damaged": randomBytes(2000, 2)}
	removed, damaged := s.put(t, testKey("removed"), data["removed"]), s.put(t, testKey("damaged"), data["damaged"])
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	purged := s.purgeHeld(fs, removed)
	if err := os.Truncate(blobPath(s.dir, damaged.Digest), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenBlob(damaged); !errors.Is(err, ErrMiss) {
		t.Fatalf("a file that is too short was opened: %v", err)
	}
	for name, e := range map[string]Entry{"removed": removed, "damaged": damaged} {
		linked := testKey(name + " linked")
		if _, err := s.Link(linked, s.Generation(linked), FillSpec{Size: -1, SHA256: e.Digest}); !errors.Is(err, ErrMiss) {
			t.Errorf("%s: linked: %v", name, err)
		}
		if _, err := s.OpenBlob(e); !errors.Is(err, ErrMiss) {
			t.Errorf("%s: opened: %v", name, err)
		}
		if _, worth := s.Confirm(e, s.Generation(e.Key), s.now(), Named{}); worth != Superseded {
			t.Errorf("%s: an answer is %s", name, worth)
		}
		if _, err := s.Lookup(e.Key); !errors.Is(err, ErrMiss) {
			t.Errorf("%s: looked up: %v", name, err)
		}
	}
	stored := make(chan error, 2)
	for name := range data {
		// Ends when the file is stored, for which it may wait until the removal is over.
		go func() {
			k := testKey(name)
			f, err := s.Begin(k, s.Generation(k), FillSpec{Size: int64(len(data[name]))})
			if err == nil {
				_, _ = f.Write(data[name]) // Commit has its error
				_, err = f.Commit(s.Generation(k))
			}
			stored <- err
		}()
	}
	close(fs.held)
	if err := <-purged; err != nil {
		t.Error(err)
	}
	for range data {
		if err := <-stored; err != nil {
			t.Error(err)
		}
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Error(err)
	}
	for name, want := range data {
		if got := s.content(t, testKey(name)); !bytes.Equal(got, want) {
			t.Errorf("%s: there are %d bytes", name, len(got))
		}
	}
	s.checkBytes(t, "stored again")
}

// TestLinkNeedsTheSizeThatWasNamed: a file of another length is another file, whatever its sum is said to be.
func TestLinkNeedsTheSizeThatWasNamed(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	entry := s.put(t, testKey("a"), randomBytes(1000, 1))
	k := testKey("b")
	for size, want := range map[int64]error{999: ErrMiss, 1001: ErrMiss, 0: ErrMiss, 1000: nil, -1: nil} {
		if _, err := s.Link(k, s.Generation(k), FillSpec{Size: size, SHA256: entry.Digest}); !errors.Is(err, want) {
			t.Errorf("as %d bytes: %v", size, err)
		}
	}
}
