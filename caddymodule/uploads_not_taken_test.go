package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAnUploadThatGitLabDidNotTakeProvesNobody: whose uploads GitLab refuses, or fails to take, has no more room for copies than a
// stranger.
func TestAnUploadThatGitLabDidNotTakeProvesNobody(t *testing.T) {
	for status, proves := range map[int]bool{0: true, 400: false, 401: false, 403: false, 404: false, 429: false, 500: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			e := startSmallCache(t, gitlab, gitlab.URL, 3, "")
			if status != 0 {
				gitlab.Inject(gitlabtest.Fault{Method: http.MethodPut, Status: status, AfterBody: true})
			}
			if got := e.put(t, filePath("before.bin"), []byte("x")); (got.StatusCode == http.StatusCreated) != proves {
				t.Fatal(got.Status)
			}
			large := someBytes(2<<20, 77) // more than upload_room has for one
			if got := e.put(t, filePath("upload.bin"), large); got.StatusCode != http.StatusCreated {
				t.Fatal(got.Status)
			}
			gitlab.ResetRequests()
			e.mustGet(t, "upload.bin", colleague, large)
			if kept := gitlab.CountFetches() == 0; kept != proves {
				t.Errorf("its copy was kept: %v", kept)
			}
		})
	}
}

// TestNothingIsKeptOfAnUploadThatIsNotTheWholeFile has something in front of GitLab answer uploads: before their end, or by another
// success than that of a file that was taken.
func TestNothingIsKeptOfAnUploadThatIsNotTheWholeFile(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		early  bool
		kept   int
	}{
		"201 to a whole body":            {http.StatusCreated, false, 1},
		"200 to a whole body":            {http.StatusOK, false, 1},
		"202 to a whole body":            {http.StatusAccepted, false, 0},
		"204 to a whole body":            {http.StatusNoContent, false, 0},
		"201 before the end of the body": {http.StatusCreated, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut {
					return false
				}
				read := io.Reader(r.Body)
				if test.early {
					read = io.LimitReader(r.Body, 200_000)
				}
				_, _ = io.Copy(io.Discard, read)
				w.WriteHeader(test.status)
				return true
			}), "")
			known := someBytes(10, 1)
			publishOld(gitlab, "known.bin", known)
			e.mustGet(t, "known.bin", developer, known) // so that the edge learns of checksums
			awaitNoFlight(t)
			before := blobsIn(t, e.directory)
			body := someBytes(300_000, 2)
			if test.early {
				author := e.holdOpen(t, fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nPrivate-Token: %s\r\nContent-Length: %d\r\n\r\n%s",
					filePath("app.bin"), strings.TrimPrefix(e.url, "http://"), developer, len(body), body[:200_000]))
				if answered, err := io.ReadAll(io.LimitReader(author, 12)); err != nil || string(answered) != "HTTP/1.1 201" {
					t.Fatalf("%q, %v", answered, err)
				}
			} else if got := e.do(t, call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: bytes.NewReader(body)}); got.StatusCode != test.status {
				t.Fatal(got.Status)
			}
			if kept := blobsIn(t, e.directory) - before; kept != test.kept {
				t.Errorf("%d copies were kept, want %d", kept, test.kept)
			}
		})
	}
}
