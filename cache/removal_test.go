package cache

import (
	"context"
	"sync/atomic"
	"testing"
)

// TestTheIndexNamesNoFileThatIsBeingRemoved looks into the index whenever a file goes: by a purge, for want of room, and
// since another took its place.
func TestTheIndexNamesNoFileThatIsBeingRemoved(t *testing.T) {
	fs := &watchedRemovals{FS: OS()}
	s := openOn(t, fs, Limits{MaxSize: 1 << 20})
	for name, remove := range map[string]func(k Key){
		"purged": func(k Key) {
			if _, err := s.Purge(context.Background(), Selector(k)); err != nil {
				t.Error(err)
			}
		},
		"its version purged": func(k Key) {
			if _, err := s.Purge(context.Background(), Selector{Version: k.Version}); err != nil {
				t.Error(err)
			}
		},
		"replaced": func(k Key) { s.put(t, k, randomBytes(100, 99)) },
		"evicted":  func(Key) { s.overfill(t, 20, 100_000) },
	} {
		k := testKey(name)
		entry := s.put(t, k, append([]byte(name), randomBytes(10_000, 1)...))
		if err := s.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		fs.watch(blobPath(s.dir, entry.Digest), func() {
			defer close(gone)
			record, err := s.readIndex(k)
			if err != nil {
				t.Errorf("%s: reading the index: %v", name, err)
			}
			if record != nil && record.Digest == entry.Digest {
				t.Errorf("%s: the index names the file", name)
			}
		})
		remove(k)
		if err := s.Sync(context.Background()); err != nil {
			t.Error(err)
		}
		<-gone
	}
}

// watchedRemovals calls a function before one file is removed.
type watchedRemovals struct {
	FS
	watched atomic.Pointer[watchedRemoval]
}

type watchedRemoval struct {
	path   string
	before func()
}

func (f *watchedRemovals) watch(path string, before func()) {
	f.watched.Store(&watchedRemoval{path, before})
}

func (f *watchedRemovals) Remove(path string) error {
	if w := f.watched.Load(); w != nil && w.path == path {
		w.before()
	}
	return f.FS.Remove(path)
}
