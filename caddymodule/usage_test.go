package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func TestUsageTellsWhoseFilesTakeTheRoom(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h", withAdmin)
	same := someBytes(40_000, 1)
	for _, file := range []struct {
		project   int
		pkg, name string
		body      []byte
	}{
		{project, "pkg", "a.bin", same},
		{project, "pkg", "b.bin", someBytes(10_000, 2)},
		{project, "tools", "c.bin", someBytes(70_000, 3)},
		{otherProject, "pkg", "d.bin", same},
	} {
		gitlab.Publish(file.project, file.pkg, "1.0.0", file.name, file.body)
		for range map[string]int{"b.bin": 3, "d.bin": 2}[file.name] + 1 {
			path := fmt.Sprintf("/api/v4/projects/%d/packages/generic/%s/1.0.0/%s", file.project, file.pkg, file.name)
			if got := e.do(t, call{path: path, token: developer}); got.StatusCode != http.StatusOK {
				t.Fatal(path, got.Status)
			}
			awaitNoFlight(t)
		}
	}
	usage := mustCall[adminapi.Usage](t, e, http.MethodGet, adminapi.CallUsage, "")
	want := []adminapi.ProjectUsage{
		{Upstream: gitlab.URL, Project: "24", Bytes: 120_000, Entries: 3, Hits: 3, Packages: []adminapi.PackageUsage{
			{Package: "tools", Bytes: 70_000, Entries: 1}, {Package: "pkg", Bytes: 50_000, Entries: 2, Hits: 3},
		}},
		{Upstream: gitlab.URL, Project: "25", Bytes: 40_000, Entries: 1, Hits: 2, Packages: []adminapi.PackageUsage{{Package: "pkg", Bytes: 40_000, Entries: 1, Hits: 2}}},
	}
	if fmt.Sprint(usage.Projects) != fmt.Sprint(want) || usage.Bytes != 160_000 || usage.Entries != 4 {
		t.Errorf("%+v,\nwant %+v", usage, want)
	}
	if got := filesOf(usage.Largest); !slices.Equal(got, []string{"c.bin", "a.bin", "d.bin", "b.bin"}) {
		t.Errorf("the largest are %v", got)
	}
	if got := filesOf(usage.MostUsed); !slices.Equal(got, []string{"b.bin", "d.bin"}) || usage.MostUsed[0].Hits != 3 || usage.MostUsed[0].Directory != e.directory {
		t.Errorf("the most used are %+v", usage.MostUsed)
	}
	// It is put together once in a while.
	e.expectCLI(t, 0, nil, "purge", "--all")
	if again := mustCall[adminapi.Usage](t, e, http.MethodGet, adminapi.CallUsage, ""); fmt.Sprint(again) != fmt.Sprint(usage) {
		t.Errorf("a moment later: %+v", again)
	}
	putForward(adminapi.UsagePause)
	if after := mustCall[adminapi.Usage](t, e, http.MethodGet, adminapi.CallUsage, ""); after.Entries != 0 || len(after.Projects) != 0 || !after.At.After(usage.At) {
		t.Errorf("after the pause: %+v", after)
	}
}

func filesOf(entries []adminapi.EntryStatus) (files []string) {
	for _, e := range entries {
		files = append(files, e.File)
	}
	return files
}

// TestUsageIsOfAllDirectoriesTogether compares the sums of several stores, which have projects in common, with those made of a list of
// all entries.
func TestUsageIsOfAllDirectoriesTogether(t *testing.T) {
	projects := make(map[string]*adminapi.ProjectUsage)
	packages := make(map[string]map[string]int64)
	const stores = 3
	sources := make([]*usageSource, 0, stores)
	var all int64
	for number := range stores {
		store := openEmptyStore(t)
		for i := range 2*usageStep + 10 {
			name, pkg := fmt.Sprintf("group/p%02d", i%(adminapi.MaxUsageProjects+7)), fmt.Sprintf("pkg%d", i%(number+23))
			size := int64(i%90 + 1)
			putStored(t, store, cache.Key{Upstream: "u", Project: name, Package: pkg, Version: "1", File: fmt.Sprint(i)}, make([]byte, size))
			if projects[name] == nil {
				projects[name], packages[name] = &adminapi.ProjectUsage{Upstream: "u", Project: name}, make(map[string]int64)
			}
			projects[name].Bytes += size
			projects[name].Entries++
			packages[name][pkg] += size
			all += size
		}
		sources = append(sources, &usageSource{directory: fmt.Sprint(number), store: store})
	}
	usage, err := sumUsage(t.Context(), sources)
	if err != nil {
		t.Fatal(err)
	}
	shown := int64(0)
	for i, got := range usage.Projects {
		want, sizes := projects[got.Project], packages[got.Project]
		if got.Bytes != want.Bytes || got.Entries != want.Entries || len(got.Packages) != adminapi.MaxUsagePackages || got.OtherPackages != len(sizes)-adminapi.MaxUsagePackages {
			t.Errorf("%s: %+v, want %+v and %d packages", got.Project, got, want, len(sizes))
		}
		sum := got.OtherBytes
		for _, pkg := range got.Packages {
			if pkg.Bytes != sizes[pkg.Package] {
				t.Errorf("%s %s: %d bytes, want %d", got.Project, pkg.Package, pkg.Bytes, sizes[pkg.Package])
			}
			sum += pkg.Bytes
		}
		if sum != got.Bytes || (i > 0 && got.Bytes > usage.Projects[i-1].Bytes) {
			t.Errorf("%s: %d bytes in packages, of %d", got.Project, sum, got.Bytes)
		}
		shown += got.Bytes
	}
	if len(usage.Projects) != adminapi.MaxUsageProjects || usage.OtherProjects != 7 || shown+usage.OtherBytes != all || usage.Bytes != all {
		t.Errorf("%d projects and %d more, %d bytes and %d more, want %d", len(usage.Projects), usage.OtherProjects, shown, usage.OtherBytes, all)
	}
	if len(usage.Largest) != adminapi.MaxUsageFiles || usage.Largest[0].Size != 90 || usage.Largest[adminapi.MaxUsageFiles-1].Size != 90 || len(usage.MostUsed) != 0 {
		t.Errorf("the largest are %+v, the most used %+v", usage.Largest, usage.MostUsed)
	}
}

// openEmptyStore opens a store that ends with the test.
func openEmptyStore(t testing.TB) *cache.Store {
	t.Helper()
	store, err := cache.Open(cache.Config{Dir: filepath.Join(t.TempDir(), "store"), Limits: cache.Limits{MaxSize: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	<-store.Ready()
	return store
}

// putStored stores a file.
func putStored(t testing.TB, store *cache.Store, key cache.Key, data []byte) cache.Entry {
	t.Helper()
	generation := store.Generation(key)
	fill, err := store.Begin(key, generation, cache.FillSpec{Size: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fill.Write(data); err != nil {
		t.Fatal(err)
	}
	entry, err := fill.Commit(generation)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// TestWhoAsksForUsageTogetherSharesOneWalk has several ask at once; the first of them leaves.
func TestWhoAsksForUsageTogetherSharesOneWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var report usageReport
		var walks atomic.Int64
		release := make(chan struct{})
		walk := func(ctx context.Context) (adminapi.Usage, error) {
			number := walks.Add(1)
			select {
			case <-release:
				return adminapi.Usage{At: time.Now(), Entries: int(number)}, nil
			case <-ctx.Done():
				return adminapi.Usage{}, context.Cause(ctx)
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		var askers sync.WaitGroup
		askers.Go(func() {
			if _, err := report.of(ctx, time.Now, walk); !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		for range 5 {
			askers.Go(func() {
				if usage, err := report.of(t.Context(), time.Now, walk); err != nil || usage.Entries != 2 {
					t.Errorf("who stayed got %+v, %v", usage, err)
				}
			})
		}
		synctest.Wait()
		if walks.Load() != 1 {
			t.Errorf("%d walks under way", walks.Load())
		}
		impatient, give := context.WithCancel(t.Context())
		askers.Go(func() {
			if _, err := report.of(impatient, time.Now, walk); !errors.Is(err, context.Canceled) {
				t.Errorf("the impatient one got %v", err)
			}
		})
		synctest.Wait()
		give()
		leave()
		synctest.Wait()
		if walks.Load() != 2 {
			t.Errorf("%d walks after the first had left", walks.Load())
		}
		close(release)
		askers.Wait()
		time.Sleep(adminapi.UsagePause - time.Nanosecond)
		if usage, err := report.of(t.Context(), time.Now, walk); err != nil || usage.Entries != 2 {
			t.Errorf("within the pause %+v, %v", usage, err)
		}
		time.Sleep(time.Nanosecond)
		if usage, err := report.of(t.Context(), time.Now, walk); err != nil || usage.Entries != 3 {
			t.Errorf("after the pause %+v, %v", usage, err)
		}
	})
}

func TestAWalkThatFailsIsToldToAllAndTriedAgain(t *testing.T) {
	var report usageReport
	broken := errors.New("broken")
	for range 2 {
		if _, err := report.of(t.Context(), time.Now, func(context.Context) (adminapi.Usage, error) { return adminapi.Usage{}, broken }); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	usage, err := report.of(t.Context(), time.Now, func(context.Context) (adminapi.Usage, error) { return adminapi.Usage{Entries: 1}, nil })
	if err != nil || usage.Entries != 1 {
		t.Errorf("got %+v, %v", usage, err)
	}
	// A walk of a store ends with the context of who asks.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	store := openEmptyStore(t)
	putStored(t, store, cache.Key{Upstream: "u", Project: "24", Package: "p", Version: "1", File: "f"}, []byte("x"))
	if err := store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := sumUsage(ctx, []*usageSource{{store: store}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkUsage adds up a store of 200,000 entries, of 2,000 projects.
func BenchmarkUsage(b *testing.B) {
	const entries = 200_000
	store := openEmptyStore(b)
	data := []byte("x")
	digest := putStored(b, store, cache.Key{Upstream: "u", Project: "first", Package: "p", Version: "1", File: "f"}, data).Digest
	for i := 1; i < entries; i++ {
		key := cache.Key{
			Upstream: "https://gitlab.example.com", Project: fmt.Sprintf("group/project-%d", i%2000), Package: fmt.Sprintf("package-%d", i%7),
			Version: fmt.Sprintf("1.0.%d", i), File: "file.tar.gz",
		}
		if _, err := store.Link(key, store.Generation(key), cache.FillSpec{Size: 1, SHA256: digest}); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		usage, err := sumUsage(b.Context(), []*usageSource{{store: store}})
		if err != nil || usage.Entries != entries || len(usage.Projects) != adminapi.MaxUsageProjects {
			b.Fatal(usage.Entries, err)
		}
	}
}
