package cache_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// faultRound is what is done to a store while one call of its disk fails. Each round has keys and contents of its own.
type faultRound struct {
	store  *cache.Store
	dir    string
	number int
	// kept is what Commit, or Link, said that it keeps.
	kept map[cache.Key]cache.Digest
	told []error
}

// content is of no round but this one, and of none of its other files.
func (r *faultRound) content(file byte) []byte {
	data := cachetest.Content(file, 150_000)
	copy(data, fmt.Sprintf("round %d", r.number))
	return data
}

func (r *faultRound) key(file string) cache.Key { return cachetest.KeyOf(fmt.Sprint(file, r.number)) }

func (r *faultRound) note(key cache.Key, data []byte, err error) {
	if err != nil {
		r.told = append(r.told, err)
		return
	}
	r.kept[key] = sha256.Sum256(data)
}

// storeInTwo stores a file whose first half is all that comes at first.
func (r *faultRound) storeInTwo(key cache.Key, data []byte) error {
	g, spec := r.store.Generation(key), cache.FillSpec{Size: int64(len(data))}
	fill, err := r.store.Begin(key, g, spec)
	if err != nil {
		return err
	}
	if _, err := fill.Write(data[:len(data)/2]); err != nil {
		return err
	}
	if !fill.Leave(errors.New("the line broke"), nil) {
		return errors.New("nothing is kept")
	}
	b := r.store.TakeBeginning(key, g)
	if b == nil {
		return errors.New("nothing is left")
	}
	if fill, err = r.store.Continue(b, g, spec); err != nil {
		return err
	}
	if _, err = fill.Write(data[fill.Written():]); err == nil {
		_, err = fill.Commit(g)
	}
	fill.Abort(err)
	return err
}

// storeByParts stores a file whose end comes first. Before that it is left with a part ahead, which the disk may refuse to cut
// off: nothing is kept then, which is no error.
func (r *faultRound) storeByParts(key cache.Key, data []byte) error {
	g, spec := r.store.Generation(key), cache.FillSpec{Size: int64(len(data)), Parts: true}
	fill, err := r.store.Begin(key, g, spec)
	if err != nil {
		return err
	}
	ahead := func(from, to int) (err error) {
		part, err := fill.Ahead(int64(from), int64(to))
		if err != nil {
			return err
		}
		for at := from; at < to && err == nil; at += 10_000 {
			_, err = part.Write(data[at:min(at+10_000, to)])
		}
		return err
	}
	defer func() {
		if fill != nil {
			fill.Abort(err)
		}
	}()
	if err = ahead(60_000, 80_000); err != nil {
		return err
	}
	if _, err = fill.Write(data[:20_000]); err != nil {
		return err
	}
	if fill.Leave(errors.New("the line broke"), nil) {
		fill, err = r.store.Continue(r.store.TakeBeginning(key, g), g, spec)
	} else {
		fill, err = r.store.Begin(key, g, spec)
	}
	if err != nil {
		return err
	}
	for _, from := range []int{100_000, 50_000, 25_000} {
		if err = ahead(from, from+from/2); err != nil {
			return err
		}
	}
	for fill.Written() < spec.Size {
		if _, err = fill.Write(data[fill.Written():min(fill.Written()+30_000, spec.Size)]); err != nil && !errors.Is(err, cache.ErrTaken) {
			return err
		}
		if _, err = fill.Advance(); err != nil {
			return err
		}
	}
	_, err = fill.Commit(g)
	return err
}

func (r *faultRound) play() {
	first, again, moved, broken := r.content(1), r.content(2), r.content(3), r.content(4)
	a, linked := r.key("a"), r.key("linked")
	r.note(a, first, put(r.store, a, first))
	_, err := r.store.Link(linked, r.store.Generation(linked), cache.FillSpec{Size: -1, SHA256: sha256.Sum256(first)})
	if !errors.Is(err, cache.ErrMiss) {
		r.note(linked, first, err)
	}
	if _, err := cachetest.ReadDigest(r.store, a); err != nil && !errors.Is(err, cache.ErrMiss) {
		r.told = append(r.told, err)
	}
	r.note(a, again, put(r.store, a, again))
	_ = os.Remove(filepath.Dir(pathOf(r.dir, moved))) // unless other files are there
	r.note(r.key("moved"), moved, put(r.store, r.key("moved"), moved))
	r.note(r.key("broken"), broken, r.storeInTwo(r.key("broken"), broken))
	r.note(r.key("parts"), r.content(5), r.storeByParts(r.key("parts"), r.content(5)))
	if err := r.store.Sync(context.Background()); err != nil {
		r.told = append(r.told, err)
	}
	if _, err := r.store.Purge(context.Background(), cache.Selector(linked)); err != nil {
		r.told = append(r.told, err)
	}
	delete(r.kept, linked) // for look-ups, whatever became of the index
}

// check holds, with a disk that is well again, that what was kept is there, and that somebody has heard of what failed.
func (r *faultRound) check(t *testing.T, when string, since cache.Stats) {
	t.Helper()
	stats := r.store.Stats().Since(since)
	if len(r.told) == 0 && stats.DiskErrors+stats.Damaged == 0 {
		t.Errorf("%s: nobody has heard of it", when)
	}
	for _, err := range r.told {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: told %v", when, err)
		}
	}
	for key, want := range r.kept {
		got, err := cachetest.ReadDigest(r.store, key)
		if lost := errors.Is(err, cache.ErrMiss) && stats.Damaged > 0; !lost && (err != nil || got != want) {
			t.Errorf("%s: %s is kept, and read with %v", when, key, err)
		}
	}
	if _, err := r.store.Lookup(r.key("linked")); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("%s: what was purged is found: %v", when, err)
	}
	if _, err := r.store.Purge(context.Background(), cache.Selector{}); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	r.store.CheckSums(t, when)
}

// TestWhicheverCallOfTheDiskFailsItIsToldAndNoRoomIsLost fails the first call of each kind, then the second, until none is left.
func TestWhicheverCallOfTheDiskFailsItIsToldAndNoRoomIsLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	failing := cachetest.NewFailingFS(nil)
	var fails atomic.Value // the kind
	fails.Store("")
	failing.Counts = func(operation, _ string) bool { return operation == fails.Load() }
	store := open(t, dir, failing, cache.Limits{})
	store.KeepBeginningsFrom(1000)
	<-store.Ready()
	number := 0
	for _, test := range []struct {
		operation string
		// harms says that a file which was taken for whole may have to go.
		harms bool
	}{
		{"create", false},
		{"write", false},
		{"truncate", false},
		{"rename", false},
		{"mkdir", false},
		{"remove", false},
		{"free", false},
		{"sync directory", true},
		{"sync", true},
		{"open", true},
		{"read", true},
		{"begin transaction", false},
		{"end transaction", false},
	} {
		t.Run(test.operation, func(t *testing.T) {
			fails.Store(test.operation)
			for call := 0; !t.Failed(); call++ {
				number++
				r := &faultRound{store: store, dir: dir, number: number, kept: make(map[cache.Key]cache.Digest)}
				since := store.Stats()
				failing.Fail(call, 1, syscall.EIO)
				r.play()
				hit := failing.Hit()
				failing.Heal()
				if hit == "" {
					if call == 0 {
						t.Error("no call failed; the test shows nothing")
					}
					return
				}
				if damaged := store.Stats().Since(since).Damaged; damaged > 0 && !test.harms {
					t.Errorf("%s: %d files prove damaged that were taken for whole", hit, damaged)
				}
				r.check(t, hit, since)
			}
		})
	}
}
