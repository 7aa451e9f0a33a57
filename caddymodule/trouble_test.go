package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache/cachetest"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestEveryAnswerOfTheEdgeIsRightWhicheverStepOfTheDiskFails plays the same requests again and again: first step 0 of
// what the store does on the disk fails, then step 1, until they pass untouched. Whatever fails, callers get whole and
// right files; and when the disk is well again, so is the cache, without anybody's help.
func TestEveryAnswerOfTheEdgeIsRightWhicheverStepOfTheDiskFails(t *testing.T) {
	for _, trouble := range []struct {
		name  string
		count int
		err   error
	}{
		{"one I/O error", 1, syscall.EIO},
		{"no space for a while", 25, syscall.ENOSPC},
		{"broken from then on", 1 << 30, syscall.EIO},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			disk := cachetest.NewFailingFS(nil)
			process.fileSystem = disk
			t.Cleanup(func() { process.fileSystem = nil }) // after the edge has ended
			gitlab := newGitLab(t)
			// Without them a file published this very second can't be told from another, and a download of it not go on.
			gitlab.SetChecksums(true)
			e := startEdge(t, gitlab.URL, "")
			e.reload(t, "cache "+e.directory+" {\n memory 0\n min_free 0\n}")
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(disk.Hit(), lastLines(e.log(t), 15))
				}
			})
			const most = 300
			for step := range most {
				disk.Fail(step, trouble.count, trouble.err)
				cold := playUnderTrouble(t, e, gitlab, step)
				untouched := disk.Hit() == ""
				what := disk.Hit()
				disk.Heal()
				recovered := func() bool {
					return strings.Contains(e.mustGet(t, cold.name, developer, cold.body).cacheStatus(), "; hit")
				}
				if t.Failed() {
					t.Fatalf("step %d: %s", step, what)
				}
				await(t, recovered)
				if untouched {
					t.Logf("untouched at step %d", step)
					return
				}
			}
			t.Errorf("step %d still failed", most)
		})
	}
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

type testFile struct {
	name string
	body []byte
}

// playUnderTrouble publishes a file, downloads it, and a cold one by three callers, one of them a part, then again, and
// returns the cold one. Names and bytes are new each time.
func playUnderTrouble(t *testing.T, e *edge, gitlab *gitlabtest.Server, step int) testFile {
	t.Helper()
	body := someBytes(400_000, 1)
	copy(body, fmt.Sprintf("file of step %d", step))
	published := testFile{fmt.Sprintf("published%d.bin", step), body[:150_000]}
	if got := e.put(t, filePath(published.name), published.body); got.StatusCode != http.StatusCreated {
		t.Errorf("publishing: %s, %s", got.Status, got.body)
	}
	e.mustGet(t, published.name, developer, published.body)

	cold := testFile{fmt.Sprintf("cold%d.bin", step), body}
	publishOld(gitlab, cold.name, cold.body)
	var callers sync.WaitGroup
	for _, token := range []string{developer, colleague} {
		callers.Go(func() {
			if got := e.do(t, call{path: filePath(cold.name), token: token}); got.StatusCode != http.StatusOK || !bytes.Equal(got.body, body) {
				t.Errorf("cold: %s, %d bytes, %v", got.Status, len(got.body), got.err)
			}
		})
	}
	callers.Go(func() {
		got := e.do(t, call{path: filePath(cold.name), token: developer, header: http.Header{"Range": {"bytes=200000-299999"}}})
		if got.StatusCode != http.StatusPartialContent || !bytes.Equal(got.body, body[200_000:300_000]) {
			t.Errorf("a part: %s, %d bytes, %v", got.Status, len(got.body), got.err)
		}
	})
	callers.Wait()
	e.mustGet(t, cold.name, colleague, cold.body)
	e.mustGet(t, published.name, developer, published.body)
	if got := e.do(t, call{method: http.MethodHead, path: filePath(cold.name), token: developer}); got.StatusCode != http.StatusOK || got.ContentLength != int64(len(body)) {
		t.Errorf("HEAD: %s, %d", got.Status, got.ContentLength)
	}
	return cold
}
