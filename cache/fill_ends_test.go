package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

var errGivenUp = errors.New("given up")

// openHooked opens a store that calls back before each operation of that name, once it is armed.
func openHooked(t *testing.T, limits cache.Limits, operation string, before func(store *cache.Store)) (store *cache.Store, armed *atomic.Bool) {
	t.Helper()
	armed = new(atomic.Bool)
	store = open(t, filepath.Join(t.TempDir(), "store"), &hookFS{FS: cache.OS(), before: func(now, _ string) {
		if now == operation && armed.Load() {
			before(store)
		}
	}}, limits)
	<-store.Ready()
	return store, armed
}

func mustBegin(t *testing.T, store *cache.Store, spec cache.FillSpec) *cache.Fill {
	t.Helper()
	key := cachetest.KeyOf("a")
	fill, err := store.Begin(key, store.Generation(key), spec)
	if err != nil {
		t.Fatal(err)
	}
	return fill
}

func mustFollow(t *testing.T, fill *cache.Fill) *cache.FillReader {
	t.Helper()
	reader, err := fill.NewReader(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

// holdsNothing makes sure that no fill has left anything, neither counted nor on the disk.
func holdsNothing(t *testing.T, store *cache.Store, dir string) {
	t.Helper()
	if stats := store.Stats(); stats.Bytes != 0 || stats.Reserved != 0 || stats.Lingering != 0 || stats.Fills != 0 || stats.Copies != 0 {
		t.Errorf("left over: %+v", stats)
	}
	if parts, err := os.ReadDir(filepath.Join(dir, "fills")); err != nil || len(parts) > 0 {
		t.Errorf("on the disk: %v, %v", parts, err)
	}
}

func TestAFillThatBeginsWhileFillsEndIsOverAndLeavesNothing(t *testing.T) {
	for name, spec := range map[string]cache.FillSpec{
		"a fetch":             {Size: 100_000},
		"a stranger's upload": {Size: -1, Copy: cache.UnprovenUpload("192.0.2.1")},
	} {
		t.Run(name, func(t *testing.T) {
			var created atomic.Int64
			dir := filepath.Join(t.TempDir(), "store")
			var store *cache.Store
			store = open(t, dir, &hookFS{FS: cache.OS(), before: func(operation, _ string) {
				if operation == "create" {
					created.Add(1)
					store.EndFills()
				}
			}}, cache.Limits{UploadRoom: 16 << 20})
			<-store.Ready()
			key := cachetest.KeyOf("a")
			for _, when := range []string{"while they end", "afterwards"} {
				if _, err := store.Begin(key, store.Generation(key), spec); !errors.Is(err, cache.ErrClosed) {
					t.Errorf("%s: begun with %v", when, err)
				}
				holdsNothing(t, store, dir)
			}
			if created.Load() != 1 {
				t.Errorf("%d parts were made", created.Load())
			}
		})
	}
}

// TestWhoeverWritesToAFillThatSomebodyEndsHearsWhy aborts the fill at each step of Write. That is no trouble with the disk.
func TestWhoeverWritesToAFillThatSomebodyEndsHearsWhy(t *testing.T) {
	fetch, known := cache.FillSpec{Size: -1}, cache.FillSpec{Size: 500_000}
	upload := cache.FillSpec{Size: -1, Copy: cache.UnprovenUpload("192.0.2.1")}
	for name, test := range map[string]struct {
		at     string // the operation before which the fill is aborted
		spec   cache.FillSpec
		follow bool // somebody reads, so that the part stays open
		goesOn bool // the bytes that are written then may still seem to be
	}{
		"while it takes room":                         {"free", fetch, false, false},
		"while it takes room, and is read":            {"free", fetch, true, false},
		"while it writes":                             {"write", known, false, false},
		"while it writes, and is read":                {"write", known, true, true},
		"while it writes of unknown length":           {"write", fetch, false, false},
		"while it writes, is read, of unknown length": {"write", fetch, true, true},
		"an upload, while it takes room":              {"free", upload, false, false},
		"an upload, while it takes room, and is read": {"free", upload, true, false},
		"an upload, while it writes":                  {"write", upload, false, false},
		"an upload, while it writes, and is read":     {"write", upload, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var fill *cache.Fill
			store, armed := openHooked(t, cache.Limits{MaxSize: 16 << 20, UploadRoom: 4 << 20}, test.at, func(*cache.Store) { fill.Abort(errGivenUp) })
			fill = mustBegin(t, store, test.spec)
			var reader *cache.FillReader
			if test.follow {
				reader = mustFollow(t, fill)
			}
			armed.Store(true)
			if _, err := fill.Write(make([]byte, 400_000)); !errors.Is(err, errGivenUp) && (!test.goesOn || err != nil) {
				t.Errorf("written with %v", err)
			}
			if _, err := fill.Write([]byte("x")); !errors.Is(err, errGivenUp) {
				t.Errorf("and then with %v", err)
			}
			stats := store.Stats()
			if stats.DiskErrors != 0 || stats.Reserved != 0 || stats.Bytes != stats.Lingering || (stats.Lingering > 0) != test.goesOn {
				t.Errorf("%+v", stats)
			}
			if reader != nil {
				if got, err := io.ReadAll(reader); !errors.Is(err, errGivenUp) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
				if err := reader.Close(); err != nil {
					t.Error(err)
				}
			}
			if stats := store.Stats(); stats.Bytes != 0 || stats.Lingering != 0 {
				t.Errorf("left over: %+v", stats)
			}
		})
	}
}

func TestWhatIsBeingStoredIsNotAborted(t *testing.T) {
	var fill *cache.Fill
	store, armed := openHooked(t, cache.Limits{}, "rename", func(*cache.Store) { fill.Abort(errGivenUp) })
	data := cachetest.Content(1, 300_000)
	fill = mustBegin(t, store, cache.FillSpec{Size: 300_000})
	reader := mustFollow(t, fill)
	if _, err := fill.Write(data); err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	if _, err := fill.Commit(store.Generation(cachetest.KeyOf("a"))); err != nil {
		t.Errorf("committed with %v", err)
	}
	if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, err := fill.Result(); err != nil {
		t.Errorf("the result is %v", err)
	}
}

func TestWhatIsGivenUpWithoutAReasonIsNeverWhole(t *testing.T) {
	store := open(t, filepath.Join(t.TempDir(), "store"), nil, cache.Limits{})
	fill := mustBegin(t, store, cache.FillSpec{Size: -1})
	reader := mustFollow(t, fill)
	if _, err := fill.Write(cachetest.Content(1, 300_000)); err != nil {
		t.Fatal(err)
	}
	fill.Abort(nil)
	if got, err := io.ReadAll(reader); err == nil {
		t.Errorf("%d bytes seem to be all", len(got))
	}
	_, committed := fill.Commit(store.Generation(cachetest.KeyOf("a")))
	_, result := fill.Result()
	if committed == nil || result == nil || fill.Err() == nil {
		t.Errorf("committed with %v, the result is %v, ended with %v", committed, result, fill.Err())
	}
}

func TestAFillTellsWhatBecameOfIt(t *testing.T) {
	store := open(t, filepath.Join(t.TempDir(), "store"), nil, cache.Limits{})
	data := cachetest.Content(1, 100_000)
	for name, test := range map[string]struct {
		size   int64
		change func() // before it is committed
		want   error
	}{
		"stored":                    {int64(len(data)), func() {}, nil},
		"stored, of unknown length": {-1, func() {}, nil},
		"superseded":                {-1, func() { store.Raise(cachetest.KeyOf("a"), cache.Published) }, cache.ErrSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			g := store.Generation(cachetest.KeyOf("a"))
			fill := mustBegin(t, store, cache.FillSpec{Size: test.size})
			if _, err := fill.Write(data); err != nil {
				t.Fatal(err)
			}
			if _, err := fill.Result(); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("before its end: %v", err)
			}
			if fill.Size() != test.size {
				t.Errorf("before its end its length is %d", fill.Size())
			}
			test.change()
			if _, err := fill.Commit(g); !errors.Is(err, test.want) {
				t.Errorf("committed with %v", err)
			}
			entry, err := fill.Result()
			if !errors.Is(err, test.want) || (err == nil && entry.Digest != sha256.Sum256(data)) {
				t.Errorf("the result is %s, %v", entry.Digest, err)
			}
			if fill.Size() != int64(len(data)) || fill.Err() != nil {
				t.Errorf("its length is %d, and it ended with %v", fill.Size(), fill.Err())
			}
			if n, err := fill.Write([]byte("x")); n != 0 || err == nil {
				t.Errorf("afterwards %d bytes were written, %v", n, err)
			}
		})
	}
}

// TestBodiesWithAWrongSumAreCounted: the count tells an admin of a proxy or a storage that damages files.
func TestBodiesWithAWrongSumAreCounted(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(fill *cache.Fill, g cache.Generation)
		want int64
	}{
		"not the SHA-256 that was named": {func(fill *cache.Fill, g cache.Generation) { _, _ = fill.Commit(g) }, 1},
		"another sum":                    {func(fill *cache.Fill, _ cache.Generation) { fill.Abort(cache.ErrChecksum) }, 1},
		"given up":                       {func(fill *cache.Fill, _ cache.Generation) { fill.Abort(errGivenUp) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			store := open(t, filepath.Join(t.TempDir(), "store"), nil, cache.Limits{})
			fill := mustBegin(t, store, cache.FillSpec{Size: -1, SHA256: sha256.Sum256([]byte("other"))})
			if _, err := fill.Write([]byte("some")); err != nil {
				t.Fatal(err)
			}
			test.end(fill, store.Generation(cachetest.KeyOf("a")))
			fill.Abort(cache.ErrChecksum) // it is over, and counts once
			if got := store.Stats().ChecksumFailures; got != test.want {
				t.Errorf("%d are counted", got)
			}
		})
	}
}
