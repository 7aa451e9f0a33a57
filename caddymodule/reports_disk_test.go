package caddymodule

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// These tests replay public reports about the disk and about Caddy's storage. docs/reports.md lists the reports.

// TestALockThatIsLeftInTheStorageDoesNotKeepAProjectOn: who died while holding it leaves it behind, without content if the disk
// was full.
func TestALockThatIsLeftInTheStorageDoesNotKeepAProjectOn(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "of long ago": `{"created":"2020-01-01T00:00:00Z","updated":"2020-01-01T00:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := startSwitchable(t, "")
			e.expectStatus(t, http.StatusOK, "24")
			locks := storedFile(e, "locks")
			if err := os.MkdirAll(locks, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(locks, switchesLock+".lock"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			e.expectCLI(t, 0, nil, "disable", "24")
			e.expectStatus(t, http.StatusNotFound, "24")
			e.restartAfter(t, "", func() {})
			e.expectStatus(t, http.StatusNotFound, "24")
		})
	}
}

// TestWhatACleanerTakesFromTheCacheDirectoryIsMadeAgain removes what systemd-tmpfiles and its like take while a server runs:
// what nobody has used for days, be it an empty directory or a file.
func TestWhatACleanerTakesFromTheCacheDirectoryIsMadeAgain(t *testing.T) {
	for _, test := range []struct{ name, taken string }{
		{"the directory of fills", "fills"}, {"the directories of files", "blobs"}, {"a file", "blobs/*/*"},
	} {
		t.Run(test.name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "", withAdmin)
			old, body := someBytes(3<<20, 1), someBytes(2<<20, 2) // more than the edge keeps in memory
			publishOld(gitlab, "old.bin", old)
			publishOld(gitlab, "new.bin", body)
			e.mustGet(t, "old.bin", developer, old)
			awaitNoFlight(t)
			if err := runningState().store.Load().Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			taken, err := filepath.Glob(filepath.Join(e.directory, filepath.FromSlash(test.taken)))
			if err != nil || len(taken) == 0 {
				t.Fatalf("nothing to take: %v", err)
			}
			for _, path := range taken {
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				e.mustGet(t, "old.bin", developer, old)
				e.mustGet(t, "new.bin", developer, body)
				awaitNoFlight(t)
			}
			for file, want := range map[string][]byte{"old.bin": old, "new.bin": body} {
				if got := e.mustGet(t, file, developer, want); !strings.Contains(got.cacheStatus(), "; hit") {
					t.Errorf("%s: %q", file, got.cacheStatus())
				}
			}
			if n := blobsIn(t, e.directory); n != 2 {
				t.Errorf("%d files are stored", n)
			}
			e.expectCLI(t, 0, []string{"working"}, "status", "--check")
		})
	}
}

// TestACacheDirectoryThatIsCopiedServesAfterOneQuestion moves an edge's files to another disk, or another machine.
func TestACacheDirectoryThatIsCopiedServesAfterOneQuestion(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(300_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.CopyFS(moved, os.DirFS(e.directory)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(e.directory); err != nil {
		t.Fatal(err)
	}
	e.reload(t, "cache "+moved+" {\n min_free 0\n}")
	e.mustGet(t, "app.bin", developer, body)
	if gets, questions := gitlab.CountFetches(), gitlab.CountQuestions(); gets != 1 || questions != 1 {
		t.Errorf("%d fetches and %d questions", gets, questions)
	}
}

// TestAFileThatAPowerCutLeftEmptyIsFetchedAgain has a file system that lost what it had promised: the file is there, and of
// another length.
func TestAFileThatAPowerCutLeftEmptyIsFetchedAgain(t *testing.T) {
	for name, length := range map[string]int64{"empty": 0, "short": 100_000, "long": 400_000} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "")
			body := someBytes(300_000, 1)
			publishOld(gitlab, "app.bin", body)
			e.mustGet(t, "app.bin", developer, body)
			e.restartAfter(t, "", func() {
				digest := hexSHA256(body)
				if err := os.Truncate(filepath.Join(e.directory, "blobs", digest[:2], digest), length); err != nil {
					t.Fatal(err)
				}
			})
			for range 2 {
				e.mustGet(t, "app.bin", developer, body)
				awaitNoFlight(t)
			}
			if n := gitlab.CountFetches(); n != 2 {
				t.Errorf("%d fetches", n)
			}
		})
	}
}

// TestAnIndexThatSomebodyElseHoldsDelaysNoStart has an admin look into index.db with bbolt's own tool, which locks it, when the
// edge starts.
func TestAnIndexThatSomebodyElseHoldsDelaysNoStart(t *testing.T) {
	setForTest(t, &process.storeRetryPause, 20*time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(300_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	var held *os.File
	e.restartAfter(t, "", func() {
		var err error
		if held, err = os.Open(filepath.Join(e.directory, "index.db")); err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(held.Fd()), unix.LOCK_SH); err != nil { //nolint:gosec // descriptors are small
			t.Fatal(err)
		}
	})
	e.mustGet(t, "app.bin", developer, body)
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		return strings.Contains(e.mustGet(t, "app.bin", developer, body).cacheStatus(), "; hit")
	})
}

// TestMemoryStaysFlatForDownloadsOfALargeFile has callers read it while it comes, and once it is stored.
func TestMemoryStaysFlatForDownloadsOfALargeFile(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	const size = 512 << 20
	gitlab.SetClock(func() time.Time { return process.clock().Add(-time.Hour) })
	gitlab.PublishContent(project, "pkg", "1.0.0", "big.bin", gitlabtest.Generated(size, 1))
	gitlab.SetClock(process.clock)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 2 {
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				response, err := e.begin(call{path: filePath("big.bin"), token: developer})
				if err != nil {
					t.Error(err)
					return
				}
				defer response.Body.Close()
				if n, err := io.Copy(io.Discard, response.Body); n != size || err != nil {
					t.Errorf("%s, %d bytes, %v", response.Status, n, err)
				}
			})
		}
		callers.Wait()
		awaitNoFlight(t)
	}
	runtime.ReadMemStats(&after)
	if grown := after.Sys - before.Sys; after.Sys > before.Sys && grown > 64<<20 {
		t.Errorf("the process grew by %d MiB", grown>>20)
	}
	if n := gitlab.CountFetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}
