package cache

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// TestAPurgeLeavesItsNeighbours has keys that differ in one field each. What has to go is written down by hand, so that a
// selector that overlooks a field can't be its own witness.
func TestAPurgeLeavesItsNeighbours(t *testing.T) {
	keys := []Key{
		{"u1", "p1", "a", "1", "f"},
		{"u1", "p1", "a", "1", "g"},
		{"u1", "p1", "a", "2", "f"},
		{"u1", "p1", "b", "1", "f"},
		{"u1", "p2", "a", "1", "f"},
		{"u2", "p1", "a", "1", "f"},
	}
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	for name, test := range map[string]struct {
		selector Selector
		gone     []int
	}{
		"one file":                         {Selector{"u1", "p1", "a", "1", "f"}, []int{0}},
		"one version":                      {Selector{"u1", "p1", "a", "1", ""}, []int{0, 1}},
		"the other version":                {Selector{"u1", "p1", "a", "2", ""}, []int{2}},
		"one package":                      {Selector{"u1", "p1", "b", "", ""}, []int{3}},
		"one project":                      {Selector{"u1", "p2", "", "", ""}, []int{4}},
		"one upstream":                     {Selector{"u2", "", "", "", ""}, []int{5}},
		"a version of any package":         {Selector{"u1", "p1", "", "2", ""}, []int{2}},
		"a file of any version":            {Selector{"u1", "p1", "a", "", "f"}, []int{0, 2}},
		"a file of any package":            {Selector{"u1", "p1", "", "1", "f"}, []int{0, 3}},
		"a file of any project":            {Selector{"u1", "", "a", "1", "f"}, []int{0, 4}},
		"a file of any upstream":           {Selector{"", "p1", "a", "1", "f"}, []int{0, 5}},
		"a version alone":                  {Selector{"", "", "", "2", ""}, []int{2}},
		"a version that nobody has":        {Selector{"u1", "p1", "a", "3", ""}, nil},
		"a file of a version nobody has":   {Selector{"u1", "p1", "a", "3", "f"}, nil},
		"a version whose beginning is one": {Selector{"u1", "p1", "a", "1", "fg"}, nil},
	} {
		for where, durable := range map[string]bool{"in the index": true, "on the way there": false} {
			t.Run(name+" "+where, func(t *testing.T) {
				for i, k := range keys {
					s.put(t, k, randomBytes(100, byte(i)))
				}
				if durable {
					if err := s.Sync(context.Background()); err != nil {
						t.Fatal(err)
					}
				}
				purged, err := s.Purge(context.Background(), test.selector)
				if err != nil || purged.Entries != len(test.gone) {
					t.Errorf("purged %+v, %v", purged, err)
				}
				for i, k := range keys {
					if _, err := s.Lookup(k); errors.Is(err, ErrMiss) != slices.Contains(test.gone, i) {
						t.Errorf("%s: %v", k, err)
					}
				}
			})
		}
	}
}

// TestWhatIsOnItsWayDuringAPurgeIsNotKept purges between the beginning of a fetch and its end, by the key and by selectors.
func TestWhatIsOnItsWayDuringAPurgeIsNotKept(t *testing.T) {
	k, data := testKey("a"), randomBytes(1000, 1)
	for name, selector := range map[string]Selector{
		"the key":     Selector(k),
		"its version": {Upstream: k.Upstream, Project: k.Project, Package: k.Package, Version: k.Version},
		"its project": {Upstream: k.Upstream, Project: k.Project},
		"everything":  {},
	} {
		for bytes, shared := range map[string]bool{"new bytes": false, "bytes that are stored under another name": true} {
			t.Run(name+", "+bytes, func(t *testing.T) {
				s := openStore(t, t.TempDir(), Limits{})
				other := Key{"https://other.example.com", "1", "pkg", "1.0.0", "a"}
				before := s.Generation(k)
				entry := s.put(t, k, randomBytes(1000, 2))
				fill := s.begin(t, k, FillSpec{Size: int64(len(data)), Confirmed: s.now()})
				fill.write(t, data)
				if _, err := s.Purge(context.Background(), selector); err != nil {
					t.Fatal(err)
				}
				if shared {
					s.put(t, other, data)
				}
				if after := s.Generation(k); after == before || !before.Precedes(after) {
					t.Errorf("the purge leads from generation %s to %s", before, after)
				}
				if _, err := fill.Commit(before); !errors.Is(err, ErrSuperseded) {
					t.Errorf("committed: %v", err)
				}
				if _, worth := s.Confirm(entry, before, s.now(), Named{}); worth != Superseded {
					t.Errorf("an answer from before is %s", worth)
				}
				if f, err := s.Begin(k, before, FillSpec{Size: 1}); !errors.Is(err, ErrSuperseded) {
					f.Abort(nil)
					t.Errorf("begun in the generation before: %v", err)
				}
				if _, err := s.Lookup(k); !errors.Is(err, ErrMiss) {
					t.Errorf("the key has an entry again: %v", err)
				}
			})
		}
	}
}

// TestAPurgeHoldsForWhatItHasNotComeToYet looks at the last of many entries while the first of them are being removed.
func TestAPurgeHoldsForWhatItHasNotComeToYet(t *testing.T) {
	const files = maxChanges + 10
	fs := &purgingFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	for i := range files {
		s.put(t, numberedKey(i), []byte{byte(i)})
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	last := numberedKey(99) // in the order of the index
	entry, err := s.Lookup(last)
	if err != nil {
		t.Fatal(err)
	}
	again, looked := numberedKey(98), false
	fs.before = func() {
		if looked {
			return
		}
		looked = true
		s.mu.Lock()
		known := s.entries.peek(last.hash()) != nil
		s.mu.Unlock()
		if !known {
			t.Error("the purge has come to the last entry already; the test shows nothing")
		}
		if _, worth := s.Confirm(entry, s.Generation(last), s.now(), Named{}); worth != Superseded {
			t.Errorf("an answer is %s", worth)
		}
		if _, err := s.Lookup(last); !errors.Is(err, ErrMiss) {
			t.Errorf("looked up: %v", err)
		}
		s.put(t, again, []byte("stored since"))
		if _, err := s.Lookup(again); err != nil {
			t.Errorf("what is stored since: %v", err)
		}
	}
	if _, err := s.Purge(context.Background(), Selector{Project: last.Project}); err != nil || !looked {
		t.Fatal(err, looked)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leaving.purges) != 0 {
		t.Errorf("%d purges that are over cost each look-up something", len(s.leaving.purges))
	}
}

// TestAKeyThatTheIndexCannotTellFromOthersIsNotStored: a zero byte ends a field there, and a name has a length that it can't pass.
func TestAKeyThatTheIndexCannotTellFromOthersIsNotStored(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	stored := s.put(t, testKey("a"), []byte("x"))
	for name, k := range map[string]Key{
		"zero byte in the package": {"u", "p", "a\x00b", "1", "f"},
		"zero byte in the file":    {"u", "p", "a", "1", "f\x00"},
		"zero byte first":          {"u", "p", "\x00a", "1", "f"},
		"too long":                 {"u", "p", "a", "1", strings.Repeat("f", maxKeyLength-7)},
	} {
		if f, err := s.Begin(k, s.Generation(k), FillSpec{Size: 1}); !errors.Is(err, ErrNoRoom) {
			f.Abort(nil)
			t.Errorf("%s: begun: %v", name, err)
		}
		if _, err := s.Link(k, s.Generation(k), FillSpec{Size: -1, SHA256: stored.Digest}); !errors.Is(err, ErrMiss) {
			t.Errorf("%s: linked: %v", name, err)
		}
	}
	longest := Key{"u", "p", "a", "1", strings.Repeat("f", maxKeyLength-8)}
	s.put(t, longest, []byte("y"))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := s.content(t, longest); string(got) != "y" {
		t.Errorf("the longest key has %q", got)
	}
}

// TestAPurgeTellsTheBytesThatNobodyNamesAnyMore purges a file's names one after the other.
func TestAPurgeTellsTheBytesThatNobodyNamesAnyMore(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	for _, name := range []string{"one", "other"} {
		s.put(t, testKey(name), randomBytes(1000, 1))
	}
	for _, want := range []struct {
		name  string
		bytes int64
	}{{"one", 0}, {"other", 1000}} {
		if purged, err := s.Purge(context.Background(), Selector(testKey(want.name))); err != nil || purged != (Purged{Entries: 1, Bytes: want.bytes}) {
			t.Errorf("%s: purged %+v, %v", want.name, purged, err)
		}
	}
}

// TestAPurgeTellsAFilesBytesOnce purges all of its names at a time.
func TestAPurgeTellsAFilesBytesOnce(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	awaitLoaded(t, s)
	for _, name := range []string{"one", "other"} {
		s.put(t, testKey(name), randomBytes(1000, 1))
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if purged, err := s.Purge(t.Context(), Selector{Project: "24"}); err != nil || purged != (Purged{Entries: 2, Bytes: 1000}) {
		t.Errorf("purged %+v, %v", purged, err)
	}
}

// TestAPurgeReturnsWhenItsFilesAreGone purges files of which one is being read, and one can't be removed.
func TestAPurgeReturnsWhenItsFilesAreGone(t *testing.T) {
	fs := &keepingFS{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 30})
	for i, name := range []string{"free", "read", "stuck"} {
		s.put(t, testKey(name), randomBytes(100_000<<i, byte(i)))
	}
	entry, err := s.Lookup(testKey("read"))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := s.OpenBlob(entry)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if entry, err = s.Lookup(testKey("stuck")); err != nil {
		t.Fatal(err)
	}
	fs.keep(blobPath(s.dir, entry.Digest))
	purged, err := s.Purge(t.Context(), Selector{Project: "24"})
	if want := (Purged{Entries: 3, Bytes: 100_000, Held: 600_000}); err != nil || purged != want {
		t.Errorf("purged %+v, %v, want %+v", purged, err, want)
	}
	if left := s.Stats().Bytes; left != 600_000 {
		t.Errorf("when it returns, %d bytes are still taken", left)
	}
}

// keepingFS doesn't remove one file.
type keepingFS struct {
	FS
	path atomic.Pointer[string]
}

func (f *keepingFS) keep(path string) { f.path.Store(&path) }

func (f *keepingFS) Remove(path string) error {
	if refused := f.path.Load(); refused != nil && *refused == path {
		return errors.New("refused")
	}
	return f.FS.Remove(path)
}
