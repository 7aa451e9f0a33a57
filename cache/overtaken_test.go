package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

// atRename calls a function, once, before a file gets its name.
type atRename struct {
	FS
	before atomic.Pointer[func()]
}

func (f *atRename) Rename(from, to string) error {
	if before := f.before.Swap(nil); before != nil {
		(*before)()
	}
	return f.FS.Rename(from, to)
}

// TestAFileThatIsOvertakenWhileItGetsItsNameIsNeitherKeptNorLeft has something happen to its key at the last moment.
func TestAFileThatIsOvertakenWhileItGetsItsNameIsNeitherKeptNorLeft(t *testing.T) {
	k := testKey("a")
	for name, test := range map[string]struct {
		overtake func(t *testing.T, s *Store)
		want     string // the key's content afterwards
	}{
		"published":   {func(_ *testing.T, s *Store) { s.Raise(k, Published) }, ""},
		"soft purged": {func(_ *testing.T, s *Store) { s.Raise(k, SoftPurged) }, ""},
		"its project purged": {func(t *testing.T, s *Store) {
			if _, err := s.Purge(context.Background(), Selector{Project: k.Project}); err != nil {
				t.Error(err)
			}
		}, ""},
		"named newer content": {func(t *testing.T, s *Store) { s.put(t, k, []byte("newer")) }, "newer"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := new(atRename)
			fs.FS = OS()
			s := openOn(t, fs, Limits{MaxSize: 1 << 30})
			g, asked := s.Generation(k), s.now()
			fill := s.begin(t, k, FillSpec{Size: 1000, Confirmed: asked})
			fill.write(t, randomBytes(1000, 1))
			overtake := func() { test.overtake(t, s) }
			fs.before.Store(&overtake)
			if _, err := fill.Commit(g); !errors.Is(err, ErrSuperseded) {
				t.Errorf("committed: %v", err)
			}
			if got := s.content(t, k); string(got) != test.want {
				t.Errorf("there are %d bytes", len(got))
			}
			s.checkOpen(t, int64(len(test.want)))
			if use := diskUse(t, s.dir); use != int64(len(test.want)) {
				t.Errorf("%d bytes are on the disk", use)
			}
		})
	}
}
