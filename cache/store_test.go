package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache/shardtest"
)

func TestMain(m *testing.M) { os.Exit(shardtest.Run(m)) }

func openStore(t testing.TB, dir string, limits Limits) *Store {
	t.Helper()
	if limits.MaxSize == 0 {
		limits.MaxSize = 1 << 30
	}
	shardtest.Lend(t, dir)
	s, err := Open(Config{Dir: dir, Limits: limits, Logger: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Error)
	return s
}

// awaitLoaded waits until the start's work is over.
// openOn opens a store on a file system of the test's own, and waits until it is loaded. It may be closed in any state.
func openOn(t testing.TB, fs FS, limits Limits) *Store {
	t.Helper()
	dir := t.TempDir()
	shardtest.Lend(t, dir)
	s, err := Open(Config{Dir: dir, Limits: limits, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	s.CloseAtEnd(t, t.Log)
	awaitLoaded(t, s)
	return s
}

func awaitLoaded(t testing.TB, s *Store) {
	t.Helper()
	select {
	case <-s.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the store does not finish loading")
	}
}

func testKey(file string) Key { return Key{"https://gitlab.example.com", "24", "pkg", "1.0.0", file} }

func randomBytes(n int, seed byte) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// leftWith returns a directory that a store has left with one file.
func leftWith(t testing.TB, k Key, data []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := openStore(t, dir, Limits{})
	s.put(t, k, data)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// leftWithNumbered returns a directory that a store has left with so many files of 1000 bytes.
func leftWithNumbered(t testing.TB, files int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := openStore(t, dir, Limits{})
	for i := range files {
		s.put(t, numberedKey(i), randomBytes(1000, byte(i)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// put stores a file. A disk that is slow to sync can't make room in time, which is no failure; it is asked again.
func (s *Store) put(t testing.TB, k Key, data []byte) Entry {
	t.Helper()
	g := s.Generation(k)
	spec := FillSpec{Size: int64(len(data)), Confirmed: s.now(), Disposition: "attachment"}
	f, err := s.Begin(k, g, spec)
	for tries := 0; errors.Is(err, ErrNoRoom) && tries < 30; tries++ {
		f, err = s.Begin(k, g, spec)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	entry, err := f.Commit(g)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// content reads a stored file; nil for a miss.
func (s *Store) content(t testing.TB, k Key) []byte {
	t.Helper()
	entry, err := s.Lookup(k)
	if errors.Is(err, ErrMiss) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	blob, err := s.OpenBlob(entry)
	if errors.Is(err, ErrMiss) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	data, err := io.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAStoredFileSurvivesARestartUnconfirmed(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	data := randomBytes(300_000, 1)
	if e := s.put(t, testKey("a"), data); e.Confirmed.IsZero() || e.Digest != sha256.Sum256(data) {
		t.Fatalf("stored as %+v", e)
	}
	if !bytes.Equal(s.content(t, testKey("a")), data) {
		t.Fatal("other bytes came back")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	e, err := s.Lookup(testKey("a"))
	if err != nil || !e.Confirmed.IsZero() || e.Disposition != "attachment" {
		t.Fatalf("after the restart: %+v, %v", e, err)
	}
	if !bytes.Equal(s.content(t, testKey("a")), data) {
		t.Fatal("other bytes came back after the restart")
	}
	awaitLoaded(t, s)
	if stats := s.Stats(); stats.Bytes != int64(len(data)) || stats.Entries != 1 {
		t.Errorf("after the restart: %+v", stats)
	}
	if _, err := s.Lookup(testKey("b")); !errors.Is(err, ErrMiss) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestOneProcessHoldsADirectory(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir, Limits{})
	if _, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1}}); !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
}

func TestReadersFollowAFillAndTheEndIsHeldBackUntilItIsRight(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(1<<20, 2)
	for _, size := range []int64{int64(len(data)), -1} {
		k := testKey(fmt.Sprint("f", size))
		g := s.Generation(k)
		f, err := s.Begin(k, g, FillSpec{Size: size, SHA256: sha256.Sum256(data)})
		if err != nil {
			t.Fatal(err)
		}
		var readers sync.WaitGroup
		for range 10 {
			reader, err := f.NewReader(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			readers.Go(func() {
				defer reader.Close()
				if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, data) {
					t.Errorf("a reader got %d bytes, %v", len(got), err)
				}
			})
		}
		for piece := range slices.Chunk(data, 100_000) {
			if _, err := f.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if v, _ := f.view(0); v.flushed != int64(len(data)-heldBack) {
			t.Errorf("before the commit %d bytes may be read", v.flushed)
		}
		if _, err := f.Commit(g); err != nil {
			t.Fatal(err)
		}
		readers.Wait()
	}
	if stats := s.Stats(); stats.Bytes != int64(len(data)) || stats.Reserved != 0 || stats.Lingering != 0 || stats.Fills != 0 {
		t.Errorf("two names of the same bytes: %+v", stats)
	}
}

func TestADamagedBodyIsNeitherKeptNorEverWhole(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(200_000, 3)
	for _, test := range []struct {
		name string
		body []byte
		want error
	}{
		{"short", data[:199_999], ErrShort},
		{"wrong", append(bytes.Clone(data[:199_999]), data[199_999]+1), ErrChecksum},
	} {
		k := testKey(test.name)
		g := s.Generation(k)
		f, err := s.Begin(k, g, FillSpec{Size: int64(len(data)), SHA256: sha256.Sum256(data)})
		if err != nil {
			t.Fatal(err)
		}
		reader, err := f.NewReader(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(test.body); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Commit(g); !errors.Is(err, test.want) {
			t.Errorf("%s: committed with %v", test.name, err)
		}
		got, err := io.ReadAll(reader)
		if !errors.Is(err, test.want) || len(got) > len(data)-heldBack {
			t.Errorf("%s: a reader got %d bytes, %v", test.name, len(got), err)
		}
		_ = reader.Close()
		if s.content(t, k) != nil {
			t.Errorf("%s: kept", test.name)
		}
	}
	if stats := s.Stats(); stats.Bytes != 0 || stats.Reserved != 0 {
		t.Errorf("left over: %+v", stats)
	}
	parts, _ := os.ReadDir(fillsPath(s.dir))
	if len(parts) != 0 {
		t.Errorf("%d parts left over", len(parts))
	}
}

func TestWhatBeganInAnOlderGenerationIsNeitherCommittedNorConfirmed(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	k := testKey("a")
	g := s.Generation(k)
	e := s.put(t, k, []byte("old"))
	f, err := s.Begin(k, g, FillSpec{Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write([]byte("new"))
	if raised := s.Raise(k, Published); raised != g.Next() {
		t.Errorf("raised %v to %v", g, raised)
	}
	if _, err := f.Commit(g); !errors.Is(err, ErrSuperseded) {
		t.Errorf("committed with %v", err)
	}
	if _, ok := s.Confirm(e, g, time.Now(), Named{}); ok != Superseded {
		t.Error("confirmed by an answer from before the publish")
	}
	if got, err := s.Lookup(k); err != nil || !got.Confirmed.IsZero() {
		t.Errorf("after the publish: confirmed %v, %v", got.Confirmed, err)
	}
}

func TestLinkNeedsTheBlob(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	data := randomBytes(1000, 4)
	s.put(t, testKey("a"), data)
	spec := FillSpec{Size: 1000, SHA256: sha256.Sum256(data)}
	if _, err := s.Link(testKey("b"), s.Generation(testKey("b")), spec); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.content(t, testKey("b")), data) {
		t.Error("the linked entry has other bytes")
	}
	spec.SHA256[0]++
	if _, err := s.Link(testKey("c"), s.Generation(testKey("c")), spec); !errors.Is(err, ErrMiss) {
		t.Errorf("linked an unknown blob: %v", err)
	}
	if stats := s.Stats(); stats.Bytes != 1000 || stats.Entries != 2 {
		t.Errorf("%+v", stats)
	}
}

func TestTheLeastRecentlyUsedGoesFirstAndMaxSizeHolds(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 20})
	awaitLoaded(t, s)
	first := randomBytes(100_000, 0)
	s.put(t, testKey("0"), first)
	for i := 1; i < 30; i++ {
		s.put(t, testKey(fmt.Sprint(i)), randomBytes(100_000, byte(i)))
		if stats := s.Stats(); stats.Bytes > 1<<20 {
			t.Fatalf("%d bytes after %d files", stats.Bytes, i)
		}
		if !bytes.Equal(s.content(t, testKey("0")), first) {
			t.Fatalf("the file in use was evicted after %d others", i)
		}
	}
	if s.content(t, testKey("1")) != nil || s.content(t, testKey("29")) == nil {
		t.Error("the wrong file was evicted")
	}
	if _, err := s.Begin(testKey("big"), s.Generation(testKey("big")), FillSpec{Size: 2 << 20}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a file larger than the store: %v", err)
	}
}

func TestPurgeIsAtOnceAndDurable(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	for i := range 5 {
		s.put(t, testKey(fmt.Sprint(i)), randomBytes(1000, byte(i)))
	}
	entry, err := s.Lookup(testKey("0"))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := s.OpenBlob(entry)
	if err != nil {
		t.Fatal(err)
	}
	purged, err := s.Purge(context.Background(), Selector(testKey("0")))
	if err != nil || purged.Entries != 1 || s.content(t, testKey("0")) != nil {
		t.Errorf("purged %+v, %v", purged, err)
	}
	if data, err := io.ReadAll(blob); err != nil || len(data) != 1000 {
		t.Errorf("the purge disturbed a reader: %d bytes, %v", len(data), err)
	}
	_ = blob.Close()
	all, err := s.Purge(context.Background(), Selector{Upstream: testKey("").Upstream, Project: "24"})
	if err != nil || all.Entries != 4 {
		t.Errorf("purged %+v, %v", all, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	if stats := s.Stats(); stats.Entries != 0 || stats.Bytes != 0 {
		t.Errorf("after the restart: %+v", stats)
	}
}

func TestADamagedIndexIsSetAside(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"noise":      func(path string) error { return os.WriteFile(path, randomBytes(70_000, 9), 0o600) },
		"truncated":  func(path string) error { return os.Truncate(path, 4096*3) },
		"empty page": func(path string) error { return os.WriteFile(path, make([]byte, 40_000), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := leftWith(t, testKey("a"), randomBytes(1000, 1))
			if err := damage(indexPath(dir)); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, dir, Limits{})
			awaitLoaded(t, s)
			_ = s.content(t, testKey("a"))
			s.put(t, testKey("b"), randomBytes(1000, 2))
			if s.content(t, testKey("b")) == nil {
				t.Error("the store does not work after that")
			}
			if aside, _ := filepath.Glob(indexPath(dir) + ".damaged-*"); len(aside) != 1 {
				t.Errorf("set aside: %v", aside)
			}
		})
	}
}

func TestADamagedBlobIsAMissAndGone(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"truncated": func(path string) error { return os.Truncate(path, 10) },
		"gone":      os.Remove,
		"changed":   func(path string) error { return os.WriteFile(path, randomBytes(1000, 77), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Limits{Memory: 1 << 20})
			e := s.put(t, testKey("a"), randomBytes(1000, 1))
			if err := damage(blobPath(s.dir, e.Digest)); err != nil {
				t.Fatal(err)
			}
			if s.content(t, testKey("a")) != nil {
				t.Error("served")
			}
			if _, err := s.Lookup(testKey("a")); !errors.Is(err, ErrMiss) {
				t.Errorf("the entry is still there: %v", err)
			}
			s.put(t, testKey("a"), randomBytes(1000, 1))
			if s.content(t, testKey("a")) == nil {
				t.Error("not stored again")
			}
		})
	}
}
