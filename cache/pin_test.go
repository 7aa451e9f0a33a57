package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// overfill stores so much that everything else is evicted that can be.
func (s *Store) overfill(t testing.TB, files, size int) {
	t.Helper()
	for i := range files {
		s.put(t, testKey(fmt.Sprintf("filler%d", i)), randomBytes(size, byte(i)))
	}
}

func TestAPinnedFileIsNotEvictedUntilItsTime(t *testing.T) {
	dir := t.TempDir()
	limits := Limits{MaxSize: 1 << 20}
	s := openStore(t, dir, limits)
	awaitLoaded(t, s)
	pinned, other := randomBytes(100_000, 201), randomBytes(100_000, 202)
	s.put(t, testKey("pinned"), pinned)
	s.put(t, testKey("other"), other)
	until := time.Now().Add(time.Hour)
	if err := s.Pin(context.Background(), testKey("pinned"), until); err != nil {
		t.Fatal(err)
	}
	s.overfill(t, 30, 100_000)
	if !bytes.Equal(s.content(t, testKey("pinned")), pinned) {
		t.Error("the pinned file is gone")
	}
	if s.content(t, testKey("other")) != nil {
		t.Error("the other file was not evicted; the test shows nothing")
	}
	// A restart keeps the pin.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, limits)
	awaitLoaded(t, s)
	if got := s.Stats().Pinned; got != 100_000 {
		t.Errorf("%d bytes are pinned after a restart", got)
	}
	listed, err := s.Entries(context.Background(), Selector(testKey("pinned")), nil, 1)
	if err != nil || len(listed) != 1 || !listed[0].Pinned.Equal(until.UTC()) {
		t.Errorf("listed %+v, %v", listed, err)
	}
	s.overfill(t, 30, 100_000)
	if !bytes.Equal(s.content(t, testKey("pinned")), pinned) {
		t.Error("the pinned file is gone after a restart")
	}
	// When its time has come it is a file like others.
	s.asJanitor(func() {
		s.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		s.removeExpiredPins()
	})
	if got := s.Stats().Pinned; got != 0 {
		t.Errorf("%d bytes are pinned after their time", got)
	}
	s.overfill(t, 30, 100_000)
	if s.content(t, testKey("pinned")) != nil {
		t.Error("the file is still not evicted")
	}
}

func TestPinnedFilesLeaveRoomForOthers(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 1 << 20, MaxPinned: 250_000})
	awaitLoaded(t, s)
	for i := range 3 {
		s.put(t, numberedKey(i), randomBytes(100_000, byte(100+i)))
		err := s.Pin(context.Background(), numberedKey(i), time.Now().Add(time.Hour))
		if wanted := i == 2; errors.Is(err, ErrNoRoom) != wanted {
			t.Errorf("pin %d: %v", i, err)
		}
	}
	// A second pin of the same file takes no more room.
	if err := s.Pin(context.Background(), numberedKey(0), time.Now().Add(2*time.Hour)); err != nil {
		t.Error(err)
	}
	// What takes the place of a pinned file is pinned in its place, as far as there is room.
	s.put(t, numberedKey(0), randomBytes(120_000, 150))
	if got := s.Stats().Pinned; got != 220_000 {
		t.Errorf("%d bytes are pinned", got)
	}
	s.put(t, numberedKey(0), randomBytes(200_000, 151))
	if got := s.Stats().Pinned; got != 100_000 {
		t.Errorf("%d bytes are pinned, after one has outgrown the room", got)
	}
	// By default it is half of the store.
	s.SetLimits(Limits{MaxSize: 1 << 20})
	if err := s.Pin(context.Background(), numberedKey(0), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestWhatIsPurgedIsUnpinned(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Pin(context.Background(), testKey("a"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(context.Background(), testKey("nothing"), time.Now().Add(time.Hour)); !errors.Is(err, ErrMiss) {
		t.Errorf("pinning what isn't there: %v", err)
	}
	if _, err := s.Purge(context.Background(), Selector(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	s.put(t, testKey("a"), randomBytes(1000, 2))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	if got := s.Stats().Pinned; got != 0 {
		t.Errorf("%d bytes are pinned", got)
	}
}

// TestAPurgeDuringTheStartUnpins has the start read the pins before a purge, and take them in after it.
func TestAPurgeDuringTheStartUnpins(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Limits{})
	for _, name := range []string{"a", "b"} {
		s.put(t, testKey(name), randomBytes(1000, 1))
		if err := s.Pin(context.Background(), testKey(name), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	held := &heldFS{FS: OS(), listing: make(chan struct{}), held: make(chan struct{})}
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: held})
	if err != nil {
		t.Fatal(err)
	}
	read, err := s.pinsOfIndex()
	if err != nil || len(read) != 2 {
		t.Fatalf("%d pins, %v", len(read), err)
	}
	if _, err := s.Purge(context.Background(), Selector(testKey("a"))); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.pins.load(read)
	s.mu.Unlock()
	close(held.held)
	awaitLoaded(t, s)
	s.put(t, testKey("a"), randomBytes(1000, 2))
	for _, when := range []string{"before a restart", "after it"} {
		if got := s.Stats().Pinned; got != 1000 {
			t.Errorf("%s %d bytes are pinned", when, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir, Limits{})
		awaitLoaded(t, s)
	}
}

func TestAPinWithATimeThatHasPassedUnpins(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	s.put(t, testKey("a"), randomBytes(1000, 1))
	for _, until := range []time.Time{time.Now().Add(time.Hour), time.Now().Add(-time.Second)} {
		if err := s.Pin(context.Background(), testKey("a"), until); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats().Pinned; got != 0 {
		t.Errorf("%d bytes are pinned", got)
	}
}

func TestAPurgeDuringAPinLeavesNoPinBehind(t *testing.T) {
	dir := t.TempDir()
	purged := false
	var s *Store
	fs := &purgingFS{FS: OS()}
	s, err := Open(Config{Dir: dir, Limits: Limits{MaxSize: 1 << 30}, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	awaitLoaded(t, s)
	s.put(t, testKey("a"), randomBytes(1000, 1))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	fs.before = func() {
		if purged {
			return
		}
		purged = true
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pins.drop(testKey("a").hash()) // as a purge does first, when the pin isn't in the index yet
	}
	if err := s.Pin(context.Background(), testKey("a"), time.Now().Add(time.Hour)); err != nil || !purged {
		t.Fatal(err, purged)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Limits{})
	awaitLoaded(t, s)
	if got := s.Stats().Pinned; got != 0 {
		t.Errorf("%d bytes are pinned after a restart", got)
	}
}

// purgingFS calls a function before each transaction of the index.
type purgingFS struct {
	FS
	before func()
}

func (f *purgingFS) UpdateIndex(transaction func() error) error {
	if f.before != nil {
		f.before()
	}
	return transaction()
}
