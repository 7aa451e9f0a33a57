package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/shardtest"
)

// One test for each hole that was found and closed.

// hookFS calls back before and after operations; nil for not.
type hookFS struct {
	cache.FS
	before, after func(operation, path string)
}

func (f *hookFS) around(operation, path string) func() {
	if f.before != nil {
		f.before(operation, path)
	}
	return func() {
		if f.after != nil {
			f.after(operation, path)
		}
	}
}

func (f *hookFS) Create(path string) (cache.File, error) {
	defer f.around("create", path)()
	file, err := f.FS.Create(path)
	if err != nil {
		return nil, err
	}
	return &hookFile{file, f, path}, nil
}

func (f *hookFS) Open(path string) (cache.File, error) {
	defer f.around("open", path)()
	file, err := f.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return &hookFile{file, f, path}, nil
}

func (f *hookFS) Rename(from, to string) error {
	defer f.around("rename", to)()
	return f.FS.Rename(from, to)
}

func (f *hookFS) ReadDir(path string) ([]string, error) {
	defer f.around("list", path)()
	return f.FS.ReadDir(path)
}

func (f *hookFS) Free(path string) (int64, error) {
	defer f.around("free", path)()
	return f.FS.Free(path)
}

// UpdateIndex implements cache.IndexFS.
func (f *hookFS) UpdateIndex(transaction func() error) error {
	defer f.around("transaction", "index")()
	if inner, ok := f.FS.(cache.IndexFS); ok {
		return inner.UpdateIndex(transaction)
	}
	return transaction()
}

type hookFile struct {
	cache.File
	fs   *hookFS
	path string
}

func (f *hookFile) Read(p []byte) (int, error) {
	defer f.fs.around("read", f.path)()
	return f.File.Read(p)
}

func (f *hookFile) WriteAt(p []byte, offset int64) (int, error) {
	defer f.fs.around("write", f.path)()
	return f.File.WriteAt(p, offset)
}

func (f *hookFile) Truncate(size int64) error {
	defer f.fs.around("truncate", f.path)()
	return f.File.Truncate(size)
}

func (f *hookFile) Sync() error {
	defer f.fs.around("sync", f.path)()
	return f.File.Sync()
}

func open(t testing.TB, dir string, fs cache.FS, limits cache.Limits) *cache.Store {
	t.Helper()
	if limits.MaxSize == 0 {
		limits.MaxSize = 1 << 30
	}
	shardtest.Lend(t, dir)
	store, err := cache.Open(cache.Config{Dir: dir, FS: fs, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	store.CloseAtEnd(t, t.Log) // most tests close it themselves
	return store
}

// put stores a file and returns what Commit says.
func put(store *cache.Store, key cache.Key, data []byte) error {
	g := store.Generation(key)
	fill, err := store.Begin(key, g, cache.FillSpec{Size: int64(len(data))})
	if err != nil {
		return err
	}
	if _, err = fill.Write(data); err == nil {
		_, err = fill.Commit(g)
	}
	fill.Abort(err)
	return err
}

func mustPut(t testing.TB, store *cache.Store, key cache.Key, data []byte) {
	t.Helper()
	if err := put(store, key, data); err != nil {
		t.Fatal(err)
	}
}

func mustSync(t testing.TB, store *cache.Store) {
	t.Helper()
	if err := store.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func pathOf(dir string, data []byte) string {
	name := cache.Digest(sha256.Sum256(data)).String()
	return filepath.Join(dir, "blobs", name[:2], name)
}

// await waits for what goroutines of the store do by themselves.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// judgeCut makes sure that under the key there is nothing, or what belongs there.
func judgeCut(t *testing.T, left, when string, key cache.Key, want []byte) {
	t.Helper()
	store := open(t, left, nil, cache.Limits{})
	<-store.Ready()
	digest, err := cachetest.ReadDigest(store, key)
	if !errors.Is(err, cache.ErrMiss) && (err != nil || digest != sha256.Sum256(want)) {
		t.Errorf("%s: %s, %v", when, digest, err)
	}
}

// cutAtRenames returns a file system that, while it is armed, has the power cut after each rename, and judges what is left
// of a key. cut says that it has.
func cutAtRenames(t *testing.T, dir string, key cache.Key, want []byte) (power *cachetest.PowerFS, armed, cut *atomic.Bool) {
	t.Helper()
	armed, cut = new(atomic.Bool), new(atomic.Bool)
	power = cachetest.NewPowerFS(dir, func(step string) {
		if !armed.Load() || !strings.HasPrefix(step, "rename") {
			return
		}
		cut.Store(true)
		for _, survival := range cachetest.Survivals {
			left := filepath.Join(t.TempDir(), "left")
			if err := power.Cut(left, survival); err != nil {
				t.Error(err)
			}
			judgeCut(t, left, survival.String(), key, want)
		}
	})
	return power, armed, cut
}

// What the index names already must not be on the disk unsynced, under any name: a power cut would leave an entry with
// zeros, which only Verify would find.
func TestBytesThatTheIndexNamesAreSyncedBeforeTheyHaveTheirName(t *testing.T) {
	data := cachetest.Content(1, 300_000)
	first, second := cachetest.KeyOf("first"), cachetest.KeyOf("second")
	for name, lose := range map[string]func(*testing.T, *cache.Store, string, *cachetest.FailingFS){
		"damaged": func(t *testing.T, store *cache.Store, path string, _ *cachetest.FailingFS) {
			if err := os.Truncate(path, 100); err != nil {
				t.Fatal(err)
			}
			if _, err := cachetest.ReadDigest(store, first); !errors.Is(err, cache.ErrMiss) {
				t.Fatal(err)
			}
			await(t, "the damaged file is gone", func() bool { return !isThere(path) })
		},
		"purged while the index could not be written": func(t *testing.T, store *cache.Store, path string, failing *cachetest.FailingFS) {
			failing.Fail(0, 1<<30, syscall.ENOSPC)
			if _, err := store.Purge(context.Background(), cache.Selector(first)); err == nil {
				t.Fatal("the purge is durable without the index")
			}
			await(t, "the purged file is gone", func() bool { return !isThere(path) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			power, armed, cut := cutAtRenames(t, dir, first, data)
			failing := cachetest.NewFailingFS(power)
			failing.Counts = func(operation, _ string) bool { return strings.Contains(operation, "transaction") }
			store := open(t, dir, failing, cache.Limits{})
			<-store.Ready()
			mustPut(t, store, first, data)
			mustSync(t, store)
			lose(t, store, pathOf(dir, data), failing)
			armed.Store(true)
			mustPut(t, store, second, data)
			if !cut.Load() {
				t.Error("the same bytes were not stored again")
			}
			failing.Heal()
		})
	}
}

func TestBytesStoredWhileTheIndexIsBeingReadAreSyncedBeforeTheyHaveTheirName(t *testing.T) {
	data := cachetest.Content(1, 300_000)
	first, second := cachetest.KeyOf("first"), cachetest.KeyOf("second")
	dir := filepath.Join(t.TempDir(), "store")
	power, armed, _ := cutAtRenames(t, dir, first, data)
	store := open(t, dir, power, cache.Limits{})
	mustPut(t, store, first, data)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	hold := make(chan struct{})
	store = open(t, dir, &hookFS{FS: power, before: func(operation, path string) {
		if operation == "list" && filepath.Base(path) == "00" {
			<-hold // loading comes by here first
		}
	}}, cache.Limits{})
	mustPut(t, store, second, data)
	close(hold)
	<-store.Ready()
	for _, key := range []cache.Key{first, second} {
		if digest, err := cachetest.ReadDigest(store, key); err != nil || digest != sha256.Sum256(data) {
			t.Errorf("%s: %s, %v", key, digest, err)
		}
	}
	if stats := store.Stats(); stats.Bytes != int64(len(data)) || stats.Blobs != 1 {
		t.Errorf("%+v", stats)
	}
}

// A fill may be overtaken while its file gets its name. Until that is removed another entry may name it, and be written
// into the index.
func TestAnOvertakenFileIsSyncedIfAnotherEntryNamesIt(t *testing.T) {
	data := cachetest.Content(1, 300_000)
	overtaken, other := cachetest.KeyOf("overtaken"), cachetest.KeyOf("other")
	dir := filepath.Join(t.TempDir(), "store")
	power := cachetest.NewPowerFS(dir, func(string) {})
	var store *cache.Store
	stage := make(chan string, 1)
	hold := make(chan struct{})
	hooks := &hookFS{FS: power, before: func(operation, path string) {
		switch {
		case operation == "rename" && path == pathOf(dir, data):
			store.Raise(overtaken, cache.Published)
		case operation == "free":
			select {
			case <-stage: // the janitor waits here, and removes nothing meanwhile
				stage <- "waiting"
				<-hold
			default:
			}
		}
	}}
	store = open(t, dir, hooks, cache.Limits{})
	<-store.Ready()
	g := store.Generation(overtaken)
	fill, err := store.Begin(overtaken, g, cache.FillSpec{Size: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fill.Write(data); err != nil {
		t.Fatal(err)
	}
	stage <- "stop"
	store.SetLimits(cache.Limits{MaxSize: 1 << 30}) // wakes the janitor
	await(t, "the janitor stops", func() bool {
		select {
		case now := <-stage:
			if now == "waiting" {
				return true
			}
			stage <- now
		default:
		}
		return false
	})
	if _, err := fill.Commit(g); !errors.Is(err, cache.ErrSuperseded) {
		t.Fatal(err)
	}
	_, err = store.Link(other, store.Generation(other), cache.FillSpec{Size: -1, SHA256: sha256.Sum256(data)})
	if err != nil {
		t.Fatal(err)
	}
	close(hold)
	mustSync(t, store)
	left := filepath.Join(t.TempDir(), "left")
	if err := power.Cut(left, cachetest.OnlySynced); err != nil {
		t.Fatal(err)
	}
	after := open(t, left, nil, cache.Limits{})
	if digest, err := cachetest.ReadDigest(after, other); err != nil || digest != sha256.Sum256(data) {
		t.Errorf("after the power cut: %s, %v", digest, err)
	}
}

// A file is published again while the one before it is being synced: the index then still names the one before that.
func TestTheIndexNamesNoFileThatIsGoneWhenAFileIsReplacedTwice(t *testing.T) {
	key := cachetest.KeyOf("a")
	contents := [][]byte{cachetest.Content(1, 100_000), cachetest.Content(2, 100_000), cachetest.Content(3, 100_000)}
	promise := cachetest.Promise{May: make(map[cache.Digest]bool), Missing: true}
	for _, data := range contents {
		promise.May[sha256.Sum256(data)] = true
	}
	dir := filepath.Join(t.TempDir(), "store")
	var removed atomic.Bool
	var power *cachetest.PowerFS
	power = cachetest.NewPowerFS(dir, func(step string) {
		if step != "remove "+filepath.Base(pathOf(dir, contents[0])) {
			return
		}
		removed.Store(true)
		left := filepath.Join(t.TempDir(), "left")
		if err := power.Cut(left, cachetest.NamesSurvive); err != nil {
			t.Error(err)
		}
		cachetest.Check(t, left, step, map[cache.Key]cachetest.Promise{key: promise}, false)
	})
	var store *cache.Store
	store = open(t, dir, &hookFS{FS: power, before: func(operation, path string) {
		if operation == "sync" && path == pathOf(dir, contents[1]) {
			mustPut(t, store, key, contents[2])
		}
	}}, cache.Limits{})
	<-store.Ready()
	mustPut(t, store, key, contents[0])
	mustSync(t, store)
	mustPut(t, store, key, contents[1])
	mustSync(t, store)
	await(t, "the first file is gone", removed.Load)
	mustSync(t, store)
	if digest, err := cachetest.ReadDigest(store, key); err != nil || digest != sha256.Sum256(contents[2]) {
		t.Errorf("%s, %v", digest, err)
	}
}

func TestClosingTheStoreWhileItVerifiesHarmsNoFile(t *testing.T) {
	data := cachetest.Content(1, 3<<20)
	dir := filepath.Join(t.TempDir(), "store")
	reading := make(chan struct{}, 16)
	store := open(t, dir, &hookFS{FS: cache.OS(), before: func(operation, _ string) {
		if operation == "read" {
			reading <- struct{}{}
		}
	}}, cache.Limits{})
	mustPut(t, store, cachetest.KeyOf("a"), data)
	mustSync(t, store)
	verified := make(chan error, 1)
	go func() { // ends with the store
		_, err := store.Verify(context.Background(), 1, nil)
		verified <- err
	}()
	<-reading
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-verified; !errors.Is(err, cache.ErrClosed) {
		t.Errorf("verifying ended with %v", err)
	}
	store = open(t, dir, nil, cache.Limits{})
	if digest, err := cachetest.ReadDigest(store, cachetest.KeyOf("a")); err != nil || digest != sha256.Sum256(data) {
		t.Errorf("%s, %v", digest, err)
	}
	if damaged := store.Stats().Damaged; damaged != 0 {
		t.Errorf("%d files count as damaged", damaged)
	}
}

func TestASweepThatFailedIsTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	stray := cachetest.Content(1, 1000)
	if err := os.MkdirAll(filepath.Dir(pathOf(dir, stray)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pathOf(dir, stray), bytes.Repeat([]byte("x"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	layOut(t, dir, "fills/", "lock")
	failing := cachetest.NewFailingFS(nil)
	failing.Counts = removals
	failing.Fail(0, 1, syscall.EIO)
	store := open(t, dir, failing, cache.Limits{})
	<-store.Ready()
	await(t, "the orphan is gone", func() bool { return !isThere(pathOf(dir, stray)) })
	mustPut(t, store, cachetest.KeyOf("a"), stray)
	if digest, err := cachetest.ReadDigest(store, cachetest.KeyOf("a")); err != nil || digest != sha256.Sum256(stray) {
		t.Errorf("%s, %v", digest, err)
	}
}

func TestWhatIsWrittenWhileAFillIsAbortedIsCountedOnce(t *testing.T) {
	var fill *cache.Fill
	store := open(t, filepath.Join(t.TempDir(), "store"), &hookFS{FS: cache.OS(), after: func(operation, _ string) {
		if operation == "write" {
			fill.Abort(errors.New("given up"))
		}
	}}, cache.Limits{})
	key := cachetest.KeyOf("a")
	fill, err := store.Begin(key, store.Generation(key), cache.FillSpec{Size: 300_000})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fill.Write(cachetest.Content(1, 300_000)) // it may have come to its end
	if _, err := fill.Commit(store.Generation(key)); err == nil {
		t.Error("committed")
	}
	if stats := store.Stats(); stats.Bytes != 0 || stats.Reserved != 0 || stats.Lingering != 0 {
		t.Errorf("left over: %+v", stats)
	}
}
