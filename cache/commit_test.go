package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// mustBegin begins a file and writes all of it.
func beginWith(t testing.TB, store *cache.Store, key cache.Key, data []byte, spec cache.FillSpec) *cache.Fill {
	t.Helper()
	fill, err := store.Begin(key, store.Generation(key), spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fill.Write(data); err != nil {
		t.Fatal(err)
	}
	return fill
}

// hooked opens a store whose disk calls back before each step, once something is set.
func hooked(t testing.TB, over cache.FS) (*cache.Store, *atomic.Pointer[func(operation, path string)], string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	hook := new(atomic.Pointer[func(operation, path string)])
	store := open(t, dir, &hookFS{FS: over, before: func(operation, path string) {
		if call := hook.Load(); call != nil {
			(*call)(operation, path)
		}
	}}, cache.Limits{})
	<-store.Ready()
	return store, hook, dir
}

// once calls back before the first step of a kind.
func once(hook *atomic.Pointer[func(operation, path string)], operation string, call func()) {
	var first sync.Once
	f := func(step, _ string) {
		if step == operation {
			first.Do(call)
		}
	}
	hook.Store(&f)
}

// TestWhatIsBeingCommittedIsNotAbortedAnyMore, and who aborts it too late has nobody's download broken off.
func TestWhatIsBeingCommittedIsNotAbortedAnyMore(t *testing.T) {
	store, hook, _ := hooked(t, cache.OS())
	key, data := cachetest.KeyOf("a"), cachetest.Content(1, 150_000)
	fill := beginWith(t, store, key, data, cache.FillSpec{Size: int64(len(data))})
	reader, err := fill.NewReader(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	once(hook, "rename", func() { fill.Abort(errors.New("too late")) })
	if _, err := fill.Commit(store.Generation(key)); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, data) {
		t.Errorf("a reader has %d bytes, %v", len(got), err)
	}
	if digest, err := cachetest.ReadDigest(store, key); err != nil || digest != sha256.Sum256(data) {
		t.Errorf("%s, %v", digest, err)
	}
}

// TestAFillThatHasEndedIsNeitherCommittedNorLeft, and says again how it has ended.
func TestAFillThatHasEndedIsNeitherCommittedNorLeft(t *testing.T) {
	store, _, dir := hooked(t, cache.OS())
	store.KeepBeginningsFrom(1000)
	key, data, why := cachetest.KeyOf("a"), cachetest.Content(1, 150_000), errors.New("given up")
	g := store.Generation(key)
	aborted := beginWith(t, store, key, data[:100_000], cache.FillSpec{Size: int64(len(data))})
	aborted.Abort(why)
	if kept := aborted.Leave(errors.New("later"), nil); kept {
		t.Error("what was aborted is kept")
	}
	if _, err := aborted.Commit(g); !errors.Is(err, why) {
		t.Errorf("committed with %v", err)
	}
	if b := store.TakeBeginning(key, g); b != nil {
		t.Error("there is a beginning of it")
	}
	whole := beginWith(t, store, key, data, cache.FillSpec{Size: -1})
	entry, err := whole.Commit(g)
	if err != nil {
		t.Fatal(err)
	}
	if kept := whole.Leave(why, nil); kept {
		t.Error("what was committed is kept as a beginning, too")
	}
	if again, err := whole.Commit(g); err != nil || again.Digest != entry.Digest {
		t.Errorf("committed again: %+v, %v", again, err)
	}
	if parts, _ := os.ReadDir(filepath.Join(dir, "fills")); len(parts) > 0 {
		t.Errorf("%d parts are left", len(parts))
	}
}

// TestACopyThatNobodyVouchesForIsNotLeftAsABeginning: the next fetch would go on from a stranger's bytes.
func TestACopyThatNobodyVouchesForIsNotLeftAsABeginning(t *testing.T) {
	store := open(t, t.TempDir(), nil, cache.Limits{UploadRoom: 4 << 20})
	store.KeepBeginningsFrom(1000)
	<-store.Ready()
	key := cachetest.KeyOf("a")
	copied := beginWith(t, store, key, cachetest.Content(1, 100_000), cache.FillSpec{Size: -1, Copy: cache.UnprovenUpload("192.0.2.1")})
	if copied.Leave(errors.New("the line broke"), nil) || store.TakeBeginning(key, store.Generation(key)) != nil {
		t.Error("it is kept")
	}
	if stats := store.Stats(); stats.Bytes != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestAnEntryHasTheLengthThatWasNamedOrElseItsOwn, whether its bytes are stored or were here.
func TestAnEntryHasTheLengthThatWasNamedOrElseItsOwn(t *testing.T) {
	store, _, _ := hooked(t, cache.OS())
	data := cachetest.Content(1, 1000)
	for named, want := range map[int64]int64{-1: 1000, 0: 0, 1000: 1000} {
		spec := cache.FillSpec{Size: 1000, SHA256: sha256.Sum256(data), Identity: cache.Identity{Length: named}}
		key := cachetest.KeyOf("a")
		stored, err := beginWith(t, store, key, data, spec).Commit(store.Generation(key))
		if err != nil || stored.Identity.Length != want {
			t.Errorf("stored: %d for %d, %v", stored.Identity.Length, named, err)
		}
		linked, err := store.Link(cachetest.KeyOf("b"), store.Generation(cachetest.KeyOf("b")), spec)
		if err != nil || linked.Identity.Length != want {
			t.Errorf("linked: %d for %d, %v", linked.Identity.Length, named, err)
		}
	}
}

// TestAnEntryIsAsOldAsTheAnswerItComesFrom, and one of a publish as old as its commit.
func TestAnEntryIsAsOldAsTheAnswerItComesFrom(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	store, err := cache.Open(cache.Config{Dir: t.TempDir(), Limits: cache.Limits{MaxSize: 1 << 30}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	store.CloseAtEnd(t, t.Error)
	key := cachetest.KeyOf("a")
	for confirmed, want := range map[time.Time]time.Time{{}: now, now.Add(-time.Minute): now.Add(-time.Minute)} {
		entry, err := beginWith(t, store, key, []byte("data"), cache.FillSpec{Size: 4, Confirmed: confirmed}).Commit(store.Generation(key))
		if err != nil || !entry.Stored.Equal(want) {
			t.Errorf("confirmed %s: stored %s, %v", confirmed, entry.Stored, err)
		}
	}
}

// TestStoredFilesAreCountedAndTheirBytesOnce where two names share them.
func TestStoredFilesAreCountedAndTheirBytesOnce(t *testing.T) {
	store, _, _ := hooked(t, cache.OS())
	for _, file := range []string{"a", "b"} {
		mustPut(t, store, cachetest.KeyOf(file), cachetest.Content(1, 1000))
	}
	if stats := store.Stats(); stats.Stored != 2 || stats.StoredBytes != 1000 {
		t.Errorf("%d files, %d bytes", stats.Stored, stats.StoredBytes)
	}
}

// TestACommitThatTheStoresEndOvertakesKeepsNothing closes the store while the end of the file is being written.
func TestACommitThatTheStoresEndOvertakesKeepsNothing(t *testing.T) {
	store, hook, dir := hooked(t, cache.OS())
	key, other, data := cachetest.KeyOf("a"), cachetest.KeyOf("b"), cachetest.Content(1, 1000)
	fill := beginWith(t, store, key, data, cache.FillSpec{Size: 1000})
	closed := make(chan error, 1)
	once(hook, "write", func() {
		go func() { closed <- store.Close() }() // ends after the commit
		await(t, "the store is closed", func() bool {
			_, err := store.Begin(other, store.Generation(other), cache.FillSpec{Size: 1})
			return errors.Is(err, cache.ErrClosed)
		})
	})
	if _, err := fill.Commit(store.Generation(key)); !errors.Is(err, cache.ErrClosed) {
		t.Errorf("committed with %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if isThere(pathOf(dir, data)) {
		t.Error("the file is kept")
	}
}

// TestAFileThatIsOvertakenWhileItsEndIsWrittenIsNotKept where another key's fill has stored the same bytes meanwhile.
func TestAFileThatIsOvertakenWhileItsEndIsWrittenIsNotKept(t *testing.T) {
	store, hook, _ := hooked(t, cache.OS())
	key, data := cachetest.KeyOf("a"), cachetest.Content(1, 1000)
	g := store.Generation(key)
	fill := beginWith(t, store, key, data, cache.FillSpec{Size: 1000})
	once(hook, "write", func() {
		hook.Store(nil)
		mustPut(t, store, cachetest.KeyOf("b"), data)
		store.Raise(key, cache.Published)
	})
	if _, err := fill.Commit(g); !errors.Is(err, cache.ErrSuperseded) {
		t.Errorf("committed with %v", err)
	}
	if _, err := store.Lookup(key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("what was before the publish is found: %v", err)
	}
}

// TestTheSameBytesUnderTwoNamesAtOnceAreStoredOnce has the second commit come while the first one's file gets its name, which it
// waits for without turning round.
func TestTheSameBytesUnderTwoNamesAtOnceAreStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, hook, _ := hooked(t, cache.OS())
		first, second, data := cachetest.KeyOf("a"), cachetest.KeyOf("b"), cachetest.Content(1, 150_000)
		spec := cache.FillSpec{Size: int64(len(data))}
		one, other := beginWith(t, store, first, data, spec), beginWith(t, store, second, data, spec)
		var renames atomic.Int64
		committed := make(chan error, 1)
		call := func(operation, _ string) {
			if operation != "rename" || renames.Add(1) > 1 {
				return
			}
			go func() { // ends when the first has its name
				_, err := other.Commit(store.Generation(second))
				committed <- err
			}()
			synctest.Wait()
		}
		hook.Store(&call)
		if _, err := one.Commit(store.Generation(first)); err != nil {
			t.Error(err)
		}
		if err := <-committed; err != nil || renames.Load() != 1 {
			t.Errorf("the second ended with %v; %d files got the name", err, renames.Load())
		}
		if stats := store.Stats(); stats.Blobs != 1 || stats.Entries != 2 {
			t.Errorf("%+v", stats)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// withAWrongFile returns a store that has a file which is known to be wrong, and whose disk fails in some ways from then on.
func withAWrongFile(t *testing.T, key cache.Key, data []byte, fails func(operation, path string) bool) (*cache.Store, *cachetest.FailingFS, *atomic.Pointer[func(operation, path string)], string) {
	t.Helper()
	failing := cachetest.NewFailingFS(nil)
	failing.Counts = fails
	store, hook, dir := hooked(t, failing)
	mustPut(t, store, key, data)
	mustSync(t, store)
	failing.Fail(0, 1<<30, syscall.EPERM)
	if err := os.Truncate(pathOf(dir, data), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := cachetest.ReadDigest(store, key); !errors.Is(err, cache.ErrMiss) {
		t.Fatal(err)
	}
	await(t, "removing it was tried", func() bool { return failing.Hit() != "" })
	return store, failing, hook, dir
}

// noteSteps notes in which order parts are synced and get their names.
func noteSteps(hook *atomic.Pointer[func(operation, path string)]) (steps func() []string) {
	var mu sync.Mutex
	var noted []string
	call := func(operation, path string) {
		if operation == "rename" || (operation == "sync" && strings.HasSuffix(path, ".part")) {
			mu.Lock()
			defer mu.Unlock()
			noted = append(noted, operation)
		}
	}
	hook.Store(&call)
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(noted)
	}
}

// TestTheIndexNamesNoUnsyncedFileInAWrongOnesPlace: the index names the wrong one still, and after a power cut its name could
// stand for less than the whole.
func TestTheIndexNamesNoUnsyncedFileInAWrongOnesPlace(t *testing.T) {
	key, data := cachetest.KeyOf("a"), cachetest.Content(1, 150_000)
	check := func(t *testing.T, store *cache.Store, steps []string) {
		t.Helper()
		if !slices.Equal(steps, []string{"sync", "rename"}) {
			t.Errorf("the steps were %v", steps)
		}
		if digest, err := cachetest.ReadDigest(store, key); err != nil || digest != sha256.Sum256(data) {
			t.Errorf("%s, %v", digest, err)
		}
		if stats := store.Stats(); stats.Bytes != int64(len(data)) {
			t.Errorf("%+v", stats)
		}
	}
	t.Run("that the disk doesn't remove", func(t *testing.T) {
		store, _, hook, _ := withAWrongFile(t, key, data, removals)
		steps := noteSteps(hook)
		mustPut(t, store, key, data)
		check(t, store, steps())
	})
	t.Run("that nobody has come to yet", func(t *testing.T) {
		store, hook, dir := hooked(t, cache.OS())
		mustPut(t, store, key, data)
		mustSync(t, store)
		fill := beginWith(t, store, key, data, cache.FillSpec{Size: int64(len(data))})
		held, release := make(chan struct{}), make(chan struct{})
		once(hook, "free", func() { close(held); <-release })
		store.SetLimits(cache.Limits{MaxSize: 1 << 30}) // wakes the janitor
		<-held
		steps := noteSteps(hook)
		if err := os.Truncate(pathOf(dir, data), 10); err != nil {
			t.Fatal(err)
		}
		if _, err := cachetest.ReadDigest(store, key); !errors.Is(err, cache.ErrMiss) {
			t.Error(err)
		}
		if _, err := fill.Commit(store.Generation(key)); err != nil {
			t.Error(err)
		}
		close(release)
		check(t, store, steps())
	})
}

// TestAWrongFileCountsUntilItIsGone also where its successor doesn't get its name.
func TestAWrongFileCountsUntilItIsGone(t *testing.T) {
	key, data := cachetest.KeyOf("a"), cachetest.Content(1, 150_000)
	store, failing, _, dir := withAWrongFile(t, key, data, func(operation, path string) bool {
		return operation == "rename" || removals(operation, path)
	})
	if err := put(store, key, data); !errors.Is(err, syscall.EPERM) {
		t.Errorf("stored with %v", err)
	}
	if stats := store.Stats(); stats.Bytes != int64(len(data)) || stats.Blobs != 1 {
		t.Errorf("while it is there: %+v", stats)
	}
	store.CheckSums(t, "while it is there")
	failing.Heal()
	store.SetLimits(cache.Limits{MaxSize: 1 << 30}) // wakes the janitor
	await(t, "it is gone", func() bool { return !isThere(pathOf(dir, data)) })
	mustPut(t, store, key, data)
}

// TestAStoreWhoseBlobsAreOnAnotherDiskNowIsLost, and one whose disk fails otherwise isn't.
func TestAStoreWhoseBlobsAreOnAnotherDiskNowIsLost(t *testing.T) {
	for _, test := range []struct {
		err  error
		lost bool
	}{{syscall.EXDEV, true}, {syscall.EIO, false}} {
		failing := cachetest.NewFailingFS(nil)
		failing.Counts = func(operation, _ string) bool { return operation == "rename" }
		store, _, _ := hooked(t, failing)
		failing.Fail(0, 1, test.err)
		if err := put(store, cachetest.KeyOf("a"), cachetest.Content(1, 1000)); !errors.Is(err, test.err) || !errors.Is(err, cache.ErrDisk) {
			t.Errorf("%v: stored with %v", test.err, err)
		}
		if store.IsLost() != test.lost {
			t.Errorf("%v: lost: %v", test.err, store.IsLost())
		}
	}
}

// TestNothingIsMadeAgainOfAStoreThatIsGone by a file that is committed then: another process may have the directory.
func TestNothingIsMadeAgainOfAStoreThatIsGone(t *testing.T) {
	store, _, dir := hooked(t, cache.OS())
	key, data := cachetest.KeyOf("a"), cachetest.Content(1, 1000)
	fill := beginWith(t, store, key, data, cache.FillSpec{Size: 1000})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := fill.Commit(store.Generation(key)); !errors.Is(err, cache.ErrDisk) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("committed with %v", err)
	}
	if isThere(dir) {
		t.Error("the directory is there again")
	}
	if err := store.Abandon(); err != nil {
		t.Error(err)
	}
}

// TestWhatIsStoredWhileTheStoreLoadsCountsBesideWhatItWillFind: until then the index says how much that is.
func TestWhatIsStoredWhileTheStoreLoadsCountsBesideWhatItWillFind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	store := open(t, dir, nil, cache.Limits{})
	mustPut(t, store, cachetest.KeyOf("old"), cachetest.Content(1, 1000))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	store = open(t, dir, &hookFS{FS: cache.OS(), before: func(operation, path string) {
		if operation == "list" && filepath.Base(path) == "00" {
			<-hold // loading comes by here first
		}
	}}, cache.Limits{})
	mustPut(t, store, cachetest.KeyOf("new"), cachetest.Content(2, 500))
	if stats := store.Stats(); stats.Bytes != 1500 || !stats.Loading {
		t.Errorf("while it loads: %+v", stats)
	}
	close(hold)
	<-store.Ready()
	if stats := store.Stats(); stats.Bytes != 1500 {
		t.Errorf("loaded: %+v", stats)
	}
}
