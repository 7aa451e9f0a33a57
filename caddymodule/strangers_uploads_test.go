package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const (
	fileSize = 1 << 20
	// smallCache has room for 15 files of fileSize beside its upload_room of 1 MiB.
	smallCache = "max_age 1h\ngrant_ttl 1h\noffline_grace 2h\ncache %s {\n min_free 0\n max_size 16MiB\n}"
)

// startSmallCache starts an edge with little room, and stores that many files.
func startSmallCache(t *testing.T, gitlab *gitlabtest.Server, url string, files int, options string) *edge {
	t.Helper()
	e := startEdge(t, url, fmt.Sprintf(smallCache, t.TempDir())+"\n"+options)
	for i := range files {
		publishOld(gitlab, numbered(i), someBytes(fileSize, byte(i)))
		e.mustGet(t, numbered(i), developer, someBytes(fileSize, byte(i)))
	}
	awaitNoFlight(t)
	return e
}

func numbered(i int) string { return fmt.Sprintf("f%d.bin", i) }

// expectHits fails if GitLab hears of the downloads of stored files.
func expectHits(t *testing.T, e *edge, gitlab *gitlabtest.Server, files int) {
	t.Helper()
	gitlab.ResetRequests()
	for i := range files {
		e.mustGet(t, numbered(i), developer, someBytes(fileSize, byte(i)))
	}
	for _, request := range gitlab.Requests() {
		if request.Method != http.MethodPut {
			t.Errorf("GitLab was asked: %s %s", request.Method, request.Path)
		}
	}
}

// expectOfflineLife fails if a stored file isn't served to its last caller while GitLab is down.
func expectOfflineLife(t *testing.T, e *edge, gitlab *gitlabtest.Server, file, token string, body []byte) {
	t.Helper()
	gitlab.SetDown(true)
	defer gitlab.SetDown(false)
	putForward(time.Hour + time.Minute)
	if got := e.mustGet(t, file, token, body); !strings.HasSuffix(got.cacheStatus(), "; detail=offline") {
		t.Errorf("%s while GitLab is down: %q", file, got.cacheStatus())
	}
}

// uploadReader is a front that reads uploads of strangers to their end, however long that takes, and refuses them then.
func uploadReader(t *testing.T, gitlab *gitlabtest.Server, begun *atomic.Int64) string {
	t.Helper()
	return frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.Header.Get("Private-Token") != "" {
			return false
		}
		if _, err := io.ReadFull(r.Body, make([]byte, 1)); err == nil {
			begun.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
}

func TestStrangersUploadsEvictNothingAndLeaveRoomForOthers(t *testing.T) {
	const full, held = 14, 256
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	var begun atomic.Int64
	e := startSmallCache(t, gitlab, uploadReader(t, gitlab, &begun), full, "")
	expectHits(t, e, gitlab, full)
	for i := range held {
		e.holdOpen(t, fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: 10.0.%d.%d\r\nContent-Length: 1000000\r\n\r\na",
			filePath(fmt.Sprintf("held%d.bin", i)), strings.TrimPrefix(e.url, "http://"), i/256, i%256))
	}
	await(t, func() bool { return begun.Load() == held })
	expectHits(t, e, gitlab, full)
	got := e.do(t, call{method: http.MethodPut, path: filePath("large.bin"), body: bytes.NewReader(someBytes(20<<20, 1))})
	if got.StatusCode != http.StatusUnauthorized {
		t.Errorf("an upload of more than the cache: %s", got.Status)
	}
	expectHits(t, e, gitlab, full)

	publishOld(gitlab, "new.bin", someBytes(fileSize, 99))
	e.mustGet(t, "new.bin", developer, someBytes(fileSize, 99))
	awaitNoFlight(t)
	fetches := gitlab.CountFetches()
	e.mustGet(t, "new.bin", developer, someBytes(fileSize, 99))
	if gitlab.CountFetches() != fetches {
		t.Error("while uploads are held open, another file isn't stored")
	}
	if stored := blobsIn(t, e.directory); stored > full {
		t.Errorf("%d files are stored", stored)
	}
	for i := 2; i < full; i++ { // the one or two that were used longest ago have made room for the new one
		expectOfflineLife(t, e, gitlab, numbered(i), developer, someBytes(fileSize, byte(i)))
		putForward(-time.Hour - time.Minute)
	}
}

// TestAnUploadThatGitLabTookIsKept tells who may have room: an unproven uploader's small file has its place in upload_room, a
// proven one's larger file takes it from others.
func TestAnUploadThatGitLabTookIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		proven bool
		stored int
		size   int
		kept   bool
	}{
		"unproven":                                {false, 3, 200 << 10, true},
		"unproven, the cache is full":             {false, 15, 200 << 10, true},
		"unproven, more than a part of the room":  {false, 3, 2 << 20, false},
		"proven":                                  {true, 3, 2 << 20, true},
		"proven, the cache is full":               {true, 15, 2 << 20, true},
		"proven, small, and the cache is full":    {true, 15, 200 << 10, true},
		"proven long ago, more than a part of it": {true, 3, 2 << 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			e := startSmallCache(t, gitlab, gitlab.URL, test.stored, "")
			if test.proven {
				if got := e.put(t, filePath("before.bin"), []byte("x")); got.StatusCode != http.StatusCreated {
					t.Fatal(got.Status)
				}
			}
			if strings.Contains(name, "long ago") {
				putForward(time.Hour + time.Minute)
			}
			body := someBytes(test.size, 77)
			if got := e.put(t, filePath("upload.bin"), body); got.StatusCode != http.StatusCreated {
				t.Fatal(got.Status)
			}
			gitlab.ResetRequests()
			e.mustGet(t, "upload.bin", colleague, body)
			questions, fetches := gitlab.CountQuestions(), gitlab.CountFetches()
			if kept := questions == 1 && fetches == 0; kept != test.kept {
				t.Errorf("the first download costs %d questions and %d bodies", questions, fetches)
			}
		})
	}
}

func TestRefusedDownloadsKeepNoFileFromEviction(t *testing.T) {
	const full = 15
	gitlab := newGitLab(t)
	e := startSmallCache(t, gitlab, gitlab.URL, full, "")
	for range 20 {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, token := range []string{"", outsider, "glpat-wrong"} {
				if got := e.do(t, call{method: method, path: filePath(numbered(0)), token: token}); got.StatusCode == http.StatusOK {
					t.Fatal(got.Status)
				}
			}
		}
	}
	for i := range 2 {
		file := fmt.Sprintf("new%d.bin", i)
		publishOld(gitlab, file, someBytes(fileSize, byte(100+i)))
		e.mustGet(t, file, developer, someBytes(fileSize, byte(100+i)))
		awaitNoFlight(t)
	}
	gitlab.ResetRequests()
	for i := full - 1; i > 3; i-- {
		e.mustGet(t, numbered(i), developer, someBytes(fileSize, byte(i)))
	}
	if n := gitlab.CountFetches(); n != 0 {
		t.Errorf("%d files that were used later were evicted", n)
	}
	e.mustGet(t, numbered(0), developer, someBytes(fileSize, 0))
	if gitlab.CountFetches() == 0 {
		t.Error("the file that only strangers asked for was kept longest")
	}
}

func TestStrangersUploadsLeaveOthersConnectionsToGitLab(t *testing.T) {
	gitlab := newGitLab(t)
	var begun atomic.Int64
	e := startEdge(t, uploadReader(t, gitlab, &begun), "transport http {\n max_conns_per_host 4\n}")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	publishOld(gitlab, "cold.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	for i := range 10 {
		e.holdOpen(t, fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: 192.0.2.%d\r\nContent-Length: 5\r\n\r\na", filePath("app.bin"), strings.TrimPrefix(e.url, "http://"), i))
	}
	await(t, func() bool { return begun.Load() >= 2 })
	putForward(2 * time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	for _, test := range []struct {
		name string
		call call
	}{
		{"a check", call{path: filePath("app.bin"), token: colleague}},
		{"a fetch", call{path: filePath("cold.bin"), token: colleague}},
		{"a HEAD", call{method: http.MethodHead, path: filePath("app.bin"), token: developer}},
		{"an upload by who was just allowed", call{method: http.MethodPut, path: filePath("new.bin"), token: developer, body: strings.NewReader("x")}},
	} {
		name, c := test.name, test.call
		c.context = ctx
		response, err := e.begin(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	if n := begun.Load(); n != 2 {
		t.Errorf("strangers hold %d of 4 connections", n)
	}
}
