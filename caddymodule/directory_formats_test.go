package caddymodule

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// Kept directories are caches of http://gitlab.example.com: package pkg of project 24 with three files of version 1.0.0 and a pinned
// one of version 2.0.0. A real edge of format 3 wrote the first; of the second, two files of version 1.0.0 are in a shared store, and
// the others are owed to one. When the format changes, keep both, and add one of the new format: the earlier ones say what an upgrade
// does.
const (
	keptDirectory3 = "testdata/directory-of-format-3"
	keptDirectory4 = "testdata/directory-of-format-4"
)

func keptBody(number int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "file %d of the fixture\n", number), 50)
}

// keptFiles are the files in a kept directory by their URL paths.
func keptFiles() map[string][]byte {
	files := map[string][]byte{strings.Replace(filePath("pinned.txt"), "1.0.0", "2.0.0", 1): keptBody(9)}
	for i := range 3 {
		files[filePath(fmt.Sprintf("file-%d.txt", i))] = keptBody(i)
	}
	return files
}

// startOnKeptDirectory starts an edge on a copy of a kept directory, after prepare has been at it, with a stand-in that has the
// same files.
func startOnKeptDirectory(t *testing.T, kept string, prepare func(directory string)) (*edge, *gitlabtest.Server) {
	t.Helper()
	if os.Getpagesize() != 4096 {
		t.Skip("index.db has pages of 4096 bytes, as the machine that wrote it")
	}
	directory := filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(directory, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	prepare(directory)
	gitlab := newGitLab(t)
	// When they were published is part of what the index knows of them.
	gitlab.SetClock(func() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) })
	for i := range 3 {
		gitlab.Publish(project, "pkg", "1.0.0", fmt.Sprintf("file-%d.txt", i), keptBody(i))
	}
	gitlab.Publish(project, "pkg", "2.0.0", "pinned.txt", keptBody(9))
	gitlab.SetClock(process.clock)
	// The directory's files are those of this GitLab. The stand-in is reached as a proxy, whatever its own address is.
	e := startEdge(t, "http://gitlab.example.com", fmt.Sprintf(
		"cache %s {\n min_free 0\n}\ntransport http {\n network_proxy url %s\n}", directory, gitlab.URL), withAdmin)
	e.directory = directory
	return e, gitlab
}

// TestADirectoryThatAnEarlierBuildWroteIsServed is an upgrade: files, their number, and pins are those that were left.
func TestADirectoryThatAnEarlierBuildWroteIsServed(t *testing.T) {
	for _, kept := range []string{keptDirectory3, keptDirectory4} {
		t.Run(filepath.Base(kept), func(t *testing.T) { testKeptDirectory(t, kept) })
	}
}

func testKeptDirectory(t *testing.T, kept string) {
	t.Helper()
	e, gitlab := startOnKeptDirectory(t, kept, func(string) {})
	for path, body := range keptFiles() {
		got := e.do(t, call{path: path, token: developer})
		if !bytes.Equal(got.body, body) || !strings.Contains(got.cacheStatus(), "; detail=confirmed") {
			t.Errorf("GET %s: %s, %q; %s", path, got.Status, got.cacheStatus(), firstBytes(got.body))
		}
	}
	if fetches := gitlab.CountFetches(); fetches != 0 {
		t.Errorf("%d files were fetched", fetches)
	}
	await(t, func() bool { return series(t)["store_pinned_bytes"] == 1100 }) // pins are loaded last
	owed := map[string]float64{keptDirectory3: 0, keptDirectory4: 2}
	await(t, func() bool { return series(t)["shared_store_owed_files"] == owed[kept] })
	if aside, _ := filepath.Glob(filepath.Join(e.directory, "index.db.*")); len(aside) != 0 {
		t.Errorf("set aside: %v", aside)
	}
	if entries := series(t)["entries"]; entries != 4 || blobsIn(t, e.directory) != 4 {
		t.Errorf("%v entries, %d files", entries, blobsIn(t, e.directory))
	}
}

// TestADirectoryThatALaterBuildWroteIsLeftAndDownloadsStream is a roll-back past a change of the format. Nothing of the directory
// is lost, callers are served, and the admin is told what to do.
func TestADirectoryThatALaterBuildWroteIsLeftAndDownloadsStream(t *testing.T) {
	var before []byte
	e, _ := startOnKeptDirectory(t, keptDirectory4, func(directory string) {
		index := filepath.Join(directory, "index.db")
		db, err := bolt.Open(index, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("gitlab_packages 99"))
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if before, err = os.ReadFile(index); err != nil { //nolint:gosec // the test's own
			t.Fatal(err)
		}
	})
	for path, body := range keptFiles() {
		got := e.do(t, call{path: path, token: developer})
		if !bytes.Equal(got.body, body) || strings.Contains(got.cacheStatus(), "; hit") {
			t.Errorf("GET %s: %s, %q; %s", path, got.Status, got.cacheStatus(), firstBytes(got.body))
		}
	}
	e.expectCLI(t, 1, []string{"can't be used"}, "status", "--check")
	for _, want := range []string{"written by a later version", "name another directory", `gitlab_packages 99`, `gitlab_packages 4`} {
		if !strings.Contains(e.log(t), want) {
			t.Errorf("the log doesn't say %q", want)
		}
	}
	if series(t)["directories_unusable"] != 1 {
		t.Error("no metric tells that the directory can't be used")
	}
	after, err := os.ReadFile(filepath.Join(e.directory, "index.db"))
	if err != nil || !bytes.Equal(before, after) || blobsIn(t, e.directory) != 4 {
		t.Errorf("the directory was changed: %v, %d files", err, blobsIn(t, e.directory))
	}
}
