package caddymodule

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// empty is rm -rf directory/*.
func empty(t testing.TB, directory string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(directory, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		await(t, func() bool { return os.RemoveAll(name) == nil }) // the edge may begin anew while this goes on
	}
}

// awaitStoreAfter waits for a store in the place of a lost one.
func awaitStoreAfter(t testing.TB, lost *cache.Store) {
	t.Helper()
	await(t, func() bool {
		store := runningState().store.Load()
		return store != nil && store != lost && !store.IsLost()
	})
}

func mustRename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestACacheDirectoryThatIsLostIsBegunAnewWithinTenSeconds(t *testing.T) {
	if process.storeLookPause > 5*time.Second || process.storeRetryPause > 10*time.Second {
		t.Errorf("it may take %s and %s", process.storeLookPause, process.storeRetryPause)
	}
	for _, test := range []struct {
		name string
		lose func(t testing.TB, directory string)
	}{
		{"rm -rf of what is in it", empty},
		{"rm -rf of the directory", func(t testing.TB, directory string) {
			// What the edge begins while this goes on is in its way.
			await(t, func() bool { return os.RemoveAll(directory) == nil })
		}},
		{"rm index.db", func(t testing.TB, directory string) { remove(t, filepath.Join(directory, "index.db")) }},
		{"another directory in its place", func(t testing.TB, directory string) {
			mustRename(t, directory, directory+".old")
			if err := os.Mkdir(directory, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"a symlink to another directory in its place", func(t testing.TB, directory string) {
			mustRename(t, directory, directory+".old")
			if err := os.Symlink(t.TempDir(), directory); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			setForTest(t, &process.storeLookPause, 20*time.Millisecond)
			setForTest(t, &process.storeRetryPause, 100*time.Millisecond)
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "", withAdmin)
			body := someBytes(100_000, 1)
			publishOld(gitlab, "app.bin", body)
			e.mustGet(t, "app.bin", developer, body)
			awaitNoFlight(t)
			lost := runningState().store.Load()

			test.lose(t, e.directory)
			awaitStoreAfter(t, lost)
			e.mustGet(t, "app.bin", developer, body)
			awaitNoFlight(t)
			if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), "; hit") {
				t.Errorf("uncached: %q", got.cacheStatus())
			}
			if blobsIn(t, e.directory) != 1 {
				t.Error("the file isn't in the directory")
			}
			e.expectCLI(t, 0, []string{"working"}, "status", "--check")
			for _, want := range []string{"the cache directory was emptied or replaced", "the cache directory can be used again"} {
				if !strings.Contains(e.log(t), want) {
					t.Errorf("the log doesn't say %q", want)
				}
			}
		})
	}
}

func TestStatusDoesNotSayWorkingWhileTheCacheDirectoryIsLost(t *testing.T) {
	setForTest(t, &process.storeLookPause, time.Hour)
	e := startEdge(t, newGitLab(t).URL, "", withAdmin)
	e.expectCLI(t, 0, []string{"working"}, "status", "--check")
	empty(t, e.directory)
	e.expectCLI(t, 1, []string{"can't be used"}, "status", "--check")
}

// TestAMountThatVanishesAndReturnsIsUsedAgain moves the directory away and back, which is what the edge sees of a mount.
func TestAMountThatVanishesAndReturnsIsUsedAgain(t *testing.T) {
	setForTest(t, &process.storeLookPause, 20*time.Millisecond)
	setForTest(t, &process.storeRetryPause, 20*time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	body := someBytes(100_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	if err := runningState().store.Load().Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	mounted := runningState().store.Load()

	// Below the mount is something that isn't usable.
	mustRename(t, e.directory, e.directory+".mount")
	if err := os.WriteFile(e.directory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return runningState().store.Load() == nil })
	e.expectCLI(t, 1, []string{"can't be used"}, "status", "--check")
	e.mustGet(t, "app.bin", developer, body)

	remove(t, e.directory)
	mustRename(t, e.directory+".mount", e.directory)
	awaitStoreAfter(t, mounted)
	if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), "detail=confirmed") && !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("what the mount holds isn't used: %q", got.cacheStatus())
	}
	e.expectCLI(t, 0, []string{"working"}, "status", "--check")
}

func TestDownloadsGoOnWhenTheCacheDirectoryIsLost(t *testing.T) {
	setForTest(t, &process.storeLookPause, 20*time.Millisecond)
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "")
	body, stored := someBytes(16<<20, 1), someBytes(16<<20, 2)
	publishOld(gitlab, "big.bin", body)
	publishOld(gitlab, "stored.bin", stored)
	e.mustGet(t, "stored.bin", developer, stored)
	awaitNoFlight(t)
	storedFirst, storedRest := e.beginDownload(t, "stored.bin", developer, 1)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release})
	first, rest := e.beginDownload(t, "big.bin", developer, 1)
	lost := runningState().store.Load()

	empty(t, e.directory)
	awaitStoreAfter(t, lost)
	close(release)
	for _, download := range []struct {
		first, want []byte
		rest        io.Reader
	}{{first, body, rest}, {storedFirst, stored, storedRest}} {
		if digest, err := digestOfRest(download.first, download.rest); err != nil || digest != hexSHA256(download.want) {
			t.Errorf("%v", err)
		}
	}
}

func TestAPublishDuringTheLossOfTheDirectoryIsNotServedInItsOldForm(t *testing.T) {
	setForTest(t, &process.storeLookPause, 20*time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	before, after := someBytes(1000, 1), someBytes(1000, 2)
	publishOld(gitlab, "app.bin", before)
	lost := runningState().store.Load()
	body, send := io.Pipe()
	done := make(chan int, 1)
	go func() { // ends with the answer
		response, err := e.begin(call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: body, length: int64(len(after))})
		if err != nil {
			done <- 0
			return
		}
		defer response.Body.Close()
		done <- response.StatusCode
	}()
	_, _ = send.Write(after[:10])
	empty(t, e.directory)
	awaitStoreAfter(t, lost)
	e.mustGet(t, "app.bin", developer, before)
	awaitNoFlight(t)
	_, _ = send.Write(after[10:])
	_ = send.Close()
	if status := <-done; status != http.StatusCreated {
		t.Fatalf("published with %d", status)
	}
	e.mustGet(t, "app.bin", developer, after)
}

// mountedFS has another file system mounted at blobs, once it is told so.
type mountedFS struct {
	cache.FS
	mounted atomic.Bool
}

func (f *mountedFS) Rename(from, to string) error {
	if f.mounted.Load() {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
	}
	return f.FS.Rename(from, to)
}

func TestBlobsOnAnotherDiskAreToldAndNothingIsSaidToBeStored(t *testing.T) {
	for name, early := range map[string]bool{"at the start": true, "mounted under a running edge": false} {
		t.Run(name, func(t *testing.T) {
			setForTest(t, &process.storeLookPause, 20*time.Millisecond)
			disk := &mountedFS{FS: cache.OS()}
			disk.mounted.Store(early)
			process.fileSystem = disk
			t.Cleanup(func() { process.fileSystem = nil }) // after the edge has ended
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "", withAdmin)
			body := someBytes(100_000, 1)
			publishOld(gitlab, "app.bin", body)
			disk.mounted.Store(true)
			if !early {
				e.mustGet(t, "app.bin", developer, body) // whose file shows it
			}
			await(t, func() bool { return runningState().store.Load() == nil })
			for range 2 {
				if got := e.mustGet(t, "app.bin", developer, body); strings.Contains(got.cacheStatus(), "stored") {
					t.Errorf("it isn't: %q", got.cacheStatus())
				}
			}
			e.expectCLI(t, 1, []string{"can't be used"}, "status", "--check")
			await(t, func() bool { return strings.Contains(e.log(t), cache.ErrSplit.Error()) })
		})
	}
}
