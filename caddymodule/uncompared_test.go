package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket/buckettest"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// startWithWrongObject starts an edge with an empty disk, and a bucket that has wrong bytes near a file's beginning.
func startWithWrongObject(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server, body []byte) *edge {
	t.Helper()
	publishOld(gitlab, "app.bin", body)
	e := startSharing(t, gitlab, storage, "first_byte 2s")
	e.mustGet(t, "app.bin", developer, body)
	e.anotherEdge(t, storage, "first_byte 2s")
	wrong := bytes.Clone(body)
	wrong[50]++
	storage.Set(objectOf(body), wrong, time.Now())
	return e
}

func (e *edge) part(t *testing.T, token, ranges string) answer {
	t.Helper()
	return e.do(t, call{path: filePath("app.bin"), token: token, header: http.Header{"Range": {ranges}}})
}

// TestAPartOfAWrongObjectIsNeverSent asks for parts that end long before the sum could be compared.
func TestAPartOfAWrongObjectIsNeverSent(t *testing.T) {
	for _, patience := range []time.Duration{time.Millisecond, 20 * time.Second} {
		t.Run(fmt.Sprint(patience), func(t *testing.T) {
			inBothModes(t, func(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server) {
				setForTest(t, &process.rangePatience, patience)
				body := someBytes(8<<20, 41)
				e := startWithWrongObject(t, gitlab, storage, body)
				if patience < time.Second { // then it isn't over in time
					storage.Inject(buckettest.Fault{Method: http.MethodGet, Part: "/blobs/", HangAt: 4 << 20, Times: 1})
				}
				for range 2 {
					got := e.part(t, developer, "bytes=0-99")
					if got.StatusCode != http.StatusPartialContent || got.err != nil || !bytes.Equal(got.body, body[:100]) {
						t.Errorf("%s, %d bytes, %v", got.Status, len(got.body), got.err)
					}
				}
			})
		})
	}
}

// TestNothingIsJoinedToBytesOfAWrongObject has a caller go on where their download broke off: by themselves, or before it did.
func TestNothingIsJoinedToBytesOfAWrongObject(t *testing.T) {
	inBothModes(t, func(t *testing.T, gitlab *gitlabtest.Server, storage *buckettest.Server) {
		setForTest(t, &process.rangePatience, time.Millisecond)
		body := someBytes(24<<20, 42)
		e := startWithWrongObject(t, gitlab, storage, body)
		storage.Inject(buckettest.Fault{Method: http.MethodGet, Part: "/blobs/", HangAt: 4 << 20, Times: 1})
		_, rest := e.beginDownload(t, "app.bin", developer, 1<<20)
		// All of these come while the object hangs.
		for _, ranges := range []string{"bytes=1048576-", "bytes=1048576-2097151", "bytes=20000000-", "bytes=20000000-20000099"} {
			if got := e.part(t, developer, ranges); got.StatusCode == http.StatusPartialContent && got.err == nil {
				t.Errorf("while it runs %s was sent", ranges)
			}
		}
		if _, err := io.ReadAll(rest); err == nil {
			t.Error("it didn't break off")
		}
		awaitNoFlight(t)
		if got := e.part(t, developer, "bytes=1048576-"); got.StatusCode != http.StatusConflict {
			t.Errorf("after it broke off: %s", got.Status)
		}
		if got := e.part(t, colleague, "bytes=1048576-"); got.StatusCode != http.StatusPartialContent || !bytes.Equal(got.body, body[1<<20:]) {
			t.Errorf("somebody else: %s, %d bytes", got.Status, len(got.body))
		}
		if got := e.part(t, developer, "bytes=-100"); got.StatusCode != http.StatusConflict {
			t.Errorf("its end: %s", got.Status)
		}
		if got := e.part(t, developer, "bytes=0-99"); got.StatusCode != http.StatusPartialContent || !bytes.Equal(got.body, body[:100]) {
			t.Errorf("its beginning: %s", got.Status)
		}
		got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=1048576-"}, "If-Range": {`"` + hexSHA256(body) + `"`}}})
		if got.StatusCode != http.StatusOK || !bytes.Equal(got.body, body) {
			t.Errorf("who takes all of it too: %s, %d bytes", got.Status, len(got.body))
		}
		if got := e.part(t, developer, "bytes=1048576-"); got.StatusCode != http.StatusPartialContent || !bytes.Equal(got.body, body[1<<20:]) {
			t.Errorf("who has begun anew: %s, %d bytes", got.Status, len(got.body))
		}
	})
}

// TestRightBytesOfTheSharedStoreAreSentInPartsToo, without a byte of GitLab's.
func TestRightBytesOfTheSharedStoreAreSentInPartsToo(t *testing.T) {
	gitlab, storage, body := naming(t), newSharedStore(t), someBytes(8<<20, 43)
	e := startWithWrongObject(t, gitlab, storage, body)
	storage.Set(objectOf(body), body, time.Now())
	for ranges, want := range map[string][]byte{"bytes=0-99": body[:100], "bytes=1048576-": body[1<<20:], "bytes=-100": body[len(body)-100:]} {
		e.reload(t, sharedOptions(t.TempDir(), storage, "first_byte 2s"))
		if got := e.part(t, developer, ranges); got.StatusCode != http.StatusPartialContent || got.err != nil || !bytes.Equal(got.body, want) {
			t.Errorf("%s: %s, %d bytes, %v", ranges, got.Status, len(got.body), got.err)
		}
		awaitNoFlight(t)
	}
}

// TestDownloadersThatGoOnByThemselvesNeverEndWithAWrongFile is of programs that resume what broke off, or ask for parts at once.
func TestDownloadersThatGoOnByThemselvesNeverEndWithAWrongFile(t *testing.T) {
	for name, arguments := range map[string][]string{
		"wget":   {"-nv", "--tries=5", "-O", "app.bin"},
		"curl":   {"-sS", "-f", "--retry", "2", "--retry-all-errors", "-C", "-", "-o", "app.bin"},
		"aria2c": {"-q", "-x4", "-s4", "-k1M", "-o", "app.bin"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); err != nil {
				t.Skipf("%s is missing", name)
			}
			body := someBytes(32<<20, 44)
			e := startWithWrongObject(t, naming(t), newSharedStore(t), body)
			command := exec.Command(name, append(arguments, "--header=PRIVATE-TOKEN: "+developer, e.url+filePath("app.bin"))...) //nolint:gosec // the test's own
			if name == "curl" {
				command.Args = append(command.Args[:len(command.Args)-2], "-H", "PRIVATE-TOKEN: "+developer, e.url+filePath("app.bin"))
			}
			command.Dir = t.TempDir()
			said, failed := command.CombinedOutput()
			got, err := os.ReadFile(filepath.Join(command.Dir, "app.bin"))
			if failed == nil && (err != nil || !bytes.Equal(got, body)) {
				t.Errorf("it is content with a wrong file: %d bytes, %v, %s", len(got), err, said)
			}
		})
	}
}

func TestOnlySoManyUncomparedDownloadsAreRememberedAndNotForEver(t *testing.T) {
	u, now := newUncompared(), time.Unix(1_700_000_000, 0)
	which := func(i int) uncomparedDownload {
		return uncomparedDownload{cache.Key{File: fmt.Sprint(i)}, upstream.GrantKey{Project: "24"}}
	}
	for i := range maxUncompared + 1 {
		u.note(which(i), now)
	}
	if u.has(which(0), now) || !u.has(which(1), now) {
		t.Error("the oldest isn't the one that was forgotten")
	}
	if last := which(maxUncompared); !u.has(last, now.Add(uncomparedFor-1)) || u.has(last, now.Add(uncomparedFor)) {
		t.Error("it isn't remembered for an hour")
	}
}
