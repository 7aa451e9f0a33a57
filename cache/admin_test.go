package cache

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestListedEntriesTellTheirUse(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	start := time.Now()
	at := start
	s.now = func() time.Time { return at }
	s.put(t, testKey("a"), randomBytes(1000, 1))
	s.put(t, testKey("b"), randomBytes(1000, 2))
	at = start.Add(time.Hour)
	for range 3 {
		entry, err := s.Lookup(testKey("a"))
		if err != nil {
			t.Fatal(err)
		}
		blob, err := s.OpenHit(entry)
		if err != nil {
			t.Fatal(err)
		}
		_ = blob.Close()
	}
	look := func(when string) {
		t.Helper()
		listed, err := s.Entries(context.Background(), Selector{}, nil, 10)
		if err != nil || len(listed) != 2 {
			t.Fatal(listed, err)
		}
		a, b := listed[0], listed[1]
		if a.Hits != 3 || b.Hits != 0 {
			t.Errorf("%s: %d and %d hits", when, a.Hits, b.Hits)
		}
		if !a.LastUsed.Equal(start.Add(time.Hour)) || b.LastUsed.After(start.Add(time.Minute)) {
			t.Errorf("%s: last used %s and %s", when, a.LastUsed, b.LastUsed)
		}
	}
	look("before it is durable")
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	look("out of the index")
}

func TestSoftenedEntriesStayAndAreUnconfirmed(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	keys := make([]Key, 6)
	for i := range keys {
		keys[i] = Key{"https://gitlab.example.com", "24", fmt.Sprintf("pkg%d", i%2), "1.0.0", fmt.Sprint(i)}
		s.put(t, keys[i], randomBytes(1000, byte(i)))
		if i == 2 {
			if err := s.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	running := s.Generation(keys[0])
	softened, err := s.Soften(context.Background(), Selector{Upstream: keys[0].Upstream, Project: "24", Package: "pkg0"})
	if err != nil || softened != 3 {
		t.Errorf("%d entries, %v", softened, err)
	}
	for i, k := range keys {
		entry, err := s.Lookup(k)
		if err != nil || entry.Confirmed.IsZero() != (i%2 == 0) {
			t.Errorf("%s: %+v, %v", k, entry, err)
		}
	}
	if s.Generation(keys[0]) == running {
		t.Error("what was begun before would be kept")
	}
}

func TestProjectsAreListedOnceEach(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	want := []Project{{"https://a.example", "24"}, {"https://a.example", "group/app"}, {"https://b.example", "24"}}
	for i, p := range slices.Concat(want, want) {
		s.put(t, Key{p.Upstream, p.Project, "pkg", "1.0.0", fmt.Sprint(i)}, randomBytes(100, byte(i)))
		if i == 3 {
			if err := s.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := s.Projects(context.Background(), 10)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("listed %v, %v", got, err)
	}
	if got, err := s.Upstreams(context.Background()); err != nil || !slices.Equal(got, []string{"https://a.example", "https://b.example"}) {
		t.Errorf("upstreams are %v, %v", got, err)
	}
	if got, err := s.Projects(context.Background(), 2); err != nil || !slices.Equal(got, want[:2]) {
		t.Errorf("of two: %v, %v", got, err)
	}
}

// changingFS has as much room as it is told.
type changingFS struct {
	FS
	free *atomic.Int64
}

func (f changingFS) Free(string) (int64, error) { return f.free.Load(), nil }

func TestAFullFileSystemIsToldOnceAndWhenItIsOver(t *testing.T) {
	var told []bool
	var free atomic.Int64
	free.Store(100 << 20)
	fs := changingFS{FS: OS(), free: &free}
	s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 30, MinFree: 50 << 20}, FS: fs, OnFull: func(full bool) { told = append(told, full) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	awaitLoaded(t, s)
	begin := func(size int64) {
		f, err := s.Begin(testKey("a"), s.Generation(testKey("a")), FillSpec{Size: size})
		if err == nil {
			f.Abort(ErrShort)
		}
	}
	begin(1000)
	free.Store(50 << 20)
	begin(1000)
	begin(1000)
	free.Store(100 << 20)
	begin(2 << 30) // doesn't fit into max_size, which says nothing about the disk
	begin(1000)
	if fmt.Sprint(told) != "[true false]" {
		t.Errorf("told %v", told)
	}
}

func TestAListIsNoShorterForWhatIsOutOfDate(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{})
	for i := range 9 {
		s.put(t, numberedKey(i), randomBytes(100, byte(i)))
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	// Gone now, or others, and the index doesn't know yet.
	for i := range 3 {
		s.mu.Lock()
		s.dropLocked(s.entries.peek(numberedKey(i).hash()))
		s.mu.Unlock()
	}
	s.put(t, numberedKey(4), randomBytes(100, 104))
	listed := make([]string, 0, 6)
	var after *Key
	for range 2 {
		page, err := s.Entries(context.Background(), Selector{}, after, 3)
		if err != nil || len(page) != 3 {
			t.Fatalf("a page of %d, %v", len(page), err)
		}
		for _, e := range page {
			listed = append(listed, e.Key.Version)
		}
		after = &page[2].Key
	}
	if want := "[1.0.3 1.0.4 1.0.5 1.0.6 1.0.7 1.0.8]"; fmt.Sprint(listed) != want {
		t.Errorf("listed %v", listed)
	}
}
