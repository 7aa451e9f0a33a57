package cache_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
)

// fillAndClose makes a store of small files in a directory.
func fillAndClose(t testing.TB, dir string, files int) {
	t.Helper()
	store := open(t, dir, nil, cache.Limits{})
	for i := range files {
		mustPut(t, store, cachetest.KeyOf(fmt.Sprint(i)), cachetest.Content(byte(i), 100+i))
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// damageIndex changes the index's file behind the back of whoever has it open.
func damageIndex(t *testing.T, dir string, damage func(file *os.File, size int64) error) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "index.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := damage(file, info.Size()); err != nil {
		t.Fatal(err)
	}
}

// worksStill uses a store in all ways: what it finds is right, and what it is given it keeps.
func worksStill(t *testing.T, store *cache.Store, files int) {
	t.Helper()
	for i := range files {
		digest, err := cachetest.ReadDigest(store, cachetest.KeyOf(fmt.Sprint(i)))
		if err == nil && digest != sha256.Sum256(cachetest.Content(byte(i), 100+i)) {
			t.Errorf("file %d has other bytes", i)
		}
	}
	_, _ = store.Purge(context.Background(), cache.Selector(cachetest.KeyOf("1"))) // may meet the damage
	_, _ = store.Entries(context.Background(), cache.Selector{}, nil, 10)
	data := cachetest.Content(99, 5000)
	await(t, "the store keeps files again", func() bool {
		_ = put(store, cachetest.KeyOf("new"), data) // the first may meet the damage
		if store.Sync(context.Background()) != nil {
			return false
		}
		digest, err := cachetest.ReadDigest(store, cachetest.KeyOf("new"))
		return err == nil && digest == sha256.Sum256(data)
	})
}

func TestAnIndexThatIsDamagedWhileItIsUsedStopsNothing(t *testing.T) {
	const files, head = 300, 2 * 4096 // the head is read once, at the start
	for name, damage := range map[string]func(file *os.File, size int64) error{
		"zeros": func(file *os.File, size int64) error {
			_, err := file.WriteAt(make([]byte, size-head), head)
			return err
		},
		"noise": func(file *os.File, size int64) error {
			_, err := file.WriteAt(cachetest.Content(7, int(size-head)), head)
			return err
		},
		"cut short": func(file *os.File, _ int64) error { return file.Truncate(head + 4096) },
		"emptied":   func(file *os.File, _ int64) error { return file.Truncate(0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			fillAndClose(t, dir, files)
			store := open(t, dir, nil, cache.Limits{})
			<-store.Ready()
			damageIndex(t, dir, damage)
			worksStill(t, store, files)
			if err := store.Close(); err != nil {
				t.Error(err)
			}
			store = open(t, dir, nil, cache.Limits{})
			<-store.Ready()
			digest, err := cachetest.ReadDigest(store, cachetest.KeyOf("new"))
			if err != nil || digest != sha256.Sum256(cachetest.Content(99, 5000)) {
				t.Errorf("after the next start: %s, %v", digest, err)
			}
			if aside, err := filepath.Glob(filepath.Join(dir, "index.db.damaged-*")); err != nil || len(aside) != 1 {
				t.Errorf("set aside: %v, %v", aside, err)
			}
		})
	}
}

// A fault in the middle of bbolt may leave its locks held for ever. That must be the end of those who wait for them, and
// of nobody else.
func TestAFaultInTheIndexStopsNobodyWhoComesLater(t *testing.T) {
	const files = 300
	dir := filepath.Join(t.TempDir(), "store")
	fillAndClose(t, dir, files)
	store := open(t, dir, nil, cache.Limits{})
	<-store.Ready()
	begun := make(chan struct{}, files)
	for i := range files {
		// Ends with its one look-up, or with the test's process where bbolt never answers.
		go func() {
			begun <- struct{}{}
			_, _ = cachetest.ReadDigest(store, cachetest.KeyOf(fmt.Sprint(i))) // may meet the damage
		}()
	}
	<-begun
	damageIndex(t, dir, func(file *os.File, _ int64) error { return file.Truncate(0) })
	worksStill(t, store, 0)
}

// TestBytesThatFlipInTheIndexStopNothing flips some bytes anywhere in the index, before a start and after it.
func TestBytesThatFlipInTheIndexStopNothing(t *testing.T) {
	const files = 100
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(round), 1)) //nolint:gosec // the same each time
			flip := func(file *os.File, size int64) error {
				for range 1 + random.IntN(20) {
					at := random.Int64N(size)
					var one [1]byte
					if _, err := file.ReadAt(one[:], at); err != nil {
						return err
					}
					one[0] ^= byte(1 + random.IntN(255)) //nolint:gosec // below 256
					if _, err := file.WriteAt(one[:], at); err != nil {
						return err
					}
				}
				return nil
			}
			dir := filepath.Join(t.TempDir(), "store")
			fillAndClose(t, dir, files)
			if round%2 == 0 {
				damageIndex(t, dir, flip)
			}
			store := open(t, dir, nil, cache.Limits{})
			if round%2 == 1 {
				<-store.Ready()
				damageIndex(t, dir, flip)
			}
			worksStill(t, store, files)
			<-store.Ready()
			worksStill(t, store, files)
		})
	}
}

func TestFilesThatAreNoneOfTheStoresAreLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := open(t, dir, nil, cache.Limits{}).Close(); err != nil {
		t.Fatal(err)
	}
	strays := []string{"README", "blobs/README", "blobs/ab/notes.txt", "blobs/ab/" + strings.Repeat("AB", 32), "blobs/zz/file", "fills/folder/file"}
	for _, stray := range strays {
		path := filepath.Join(dir, stray)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One of the directories of blobs can't be one.
	noShard := filepath.Join(dir, "blobs", "cd")
	if err := errors.Join(os.Remove(noShard), os.WriteFile(noShard, []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	store := open(t, dir, nil, cache.Limits{})
	<-store.Ready()
	worksStill(t, store, 0)
	for i := range 50 {
		data := cachetest.Content(byte(i), 1000+i)
		err := put(store, cachetest.KeyOf(fmt.Sprint(i)), data)
		if digest := sha256.Sum256(data); (err != nil) != (digest[0] == 0xcd) {
			t.Errorf("%x: %v", digest, err)
		}
	}
	for _, stray := range append(strays, "blobs/cd") {
		if data, err := os.ReadFile(filepath.Join(dir, stray)); err != nil || string(data) != "mine" {
			t.Errorf("%s: %q, %v", stray, data, err)
		}
	}
}

func TestADirectoryThatCannotBeWrittenIsToldAtOnce(t *testing.T) {
	parent := t.TempDir()
	file := filepath.Join(parent, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := cache.Open(cache.Config{Dir: filepath.Join(file, "store"), Limits: cache.Limits{MaxSize: 1 << 20}})
	if err == nil || errors.Is(err, cache.ErrLocked) {
		t.Errorf("below a file: %v", err)
	}
	failing := cachetest.NewFailingFS(nil)
	failing.Fail(0, 1<<30, syscall.EROFS)
	dir := filepath.Join(parent, "store")
	if _, err = cache.Open(cache.Config{Dir: dir, FS: failing, Limits: cache.Limits{MaxSize: 1 << 20}}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("on a read-only file system: %v", err)
	}
	failing.Heal()
	// What failed holds nothing: the next try succeeds.
	worksStill(t, open(t, dir, failing, cache.Limits{}), 0)
}

func TestAFileSystemThatBecomesReadOnlyServesOnAndRecovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	failing := cachetest.NewFailingFS(nil)
	failing.Counts = func(operation, _ string) bool {
		return operation != "open" && operation != "read" && operation != "free"
	}
	store := open(t, dir, failing, cache.Limits{})
	<-store.Ready()
	data := cachetest.Content(1, 200_000)
	mustPut(t, store, cachetest.KeyOf("a"), data)
	mustSync(t, store)
	failing.Fail(0, 1<<30, syscall.EROFS)
	if err := put(store, cachetest.KeyOf("b"), data); !errors.Is(err, cache.ErrDisk) {
		t.Errorf("storing: %v", err)
	}
	if digest, err := cachetest.ReadDigest(store, cachetest.KeyOf("a")); err != nil || digest != sha256.Sum256(data) {
		t.Errorf("%s, %v", digest, err)
	}
	if stats := store.Stats(); stats.Reserved != 0 || stats.Lingering != 0 || stats.Bytes != int64(len(data)) {
		t.Errorf("%+v", stats)
	}
	failing.Heal()
	worksStill(t, store, 0)
}

// TestLastUseIsKept uses files in another order than they were stored, and finds that order again after a restart and
// after a power cut.
func TestLastUseIsKept(t *testing.T) {
	const files, size = 10, 100_000
	dir := filepath.Join(t.TempDir(), "store")
	power := cachetest.NewPowerFS(dir, func(string) {})
	clock := time.Now()
	store, err := cache.Open(cache.Config{Dir: dir, FS: power, Limits: cache.Limits{MaxSize: 1 << 30}, Now: func() time.Time {
		clock = clock.Add(time.Second) // the store calls under its lock, and nobody else does
		return clock
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-store.Ready()
	for i := range files {
		mustPut(t, store, cachetest.KeyOf(fmt.Sprint(i)), cachetest.Content(byte(i), size))
	}
	mustSync(t, store)
	for _, used := range []int{0, 3, 1} {
		if _, err := cachetest.ReadDigest(store, cachetest.KeyOf(fmt.Sprint(used))); err != nil {
			t.Fatal(err)
		}
	}
	mustSync(t, store)
	cut := filepath.Join(t.TempDir(), "left")
	if err := power.Cut(cut, cachetest.OnlySynced); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"restart": dir, "power cut": cut} {
		store := open(t, dir, nil, cache.Limits{MaxSize: 4*size - size/2}) // of which some is kept free
		await(t, "the rest is evicted", func() bool { return store.Stats().Entries <= 3 })
		for _, used := range []int{0, 3, 1} {
			if _, err := store.Lookup(cachetest.KeyOf(fmt.Sprint(used))); err != nil {
				t.Errorf("after the %s: file %d: %v", name, used, err)
			}
		}
	}
}
