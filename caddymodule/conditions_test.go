package caddymodule

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestADownloadThatGoesOnByTheEdgesOwnTagIsAnsweredWhileTheEdgeIsCold has a downloader come back with the tag that it was given,
// after the file has left the edge.
func TestADownloadThatGoesOnByTheEdgesOwnTagIsAnsweredWhileTheEdgeIsCold(t *testing.T) {
	const size = 400_000
	body := someBytes(size, 1)
	right, wrong := `"`+hexSHA256(body)+`"`, `"`+hexSHA256([]byte("another file"))+`"`
	conditions := func(pairs ...string) http.Header {
		header := make(http.Header)
		for i := 0; i < len(pairs); i += 2 {
			header.Set(pairs[i], pairs[i+1])
		}
		return header
	}
	past := process.clock().Add(-24 * time.Hour).UTC().Format(http.TimeFormat)
	for _, m := range modes {
		for options, cold := range map[string]string{"": "fetched", "max_object 1000": "streamed", "range_wait 1": "range far ahead"} {
			t.Run(m.name+", "+cold, func(t *testing.T) {
				gitlab := newGitLab(t)
				gitlab.SetMode(m.mode)
				gitlab.SetChecksums(m.checksums)
				if cold == "streamed" {
					options = "cache " + t.TempDir() + " {\nmin_free 0\nmax_object 1000\n}"
				}
				e := startEdge(t, gitlab.URL, options)
				publishOld(gitlab, "app.bin", body)
				named := m.checksums && cold != "streamed"
				for _, test := range []struct {
					name       string
					method     string
					header     http.Header
					cold, warm int
				}{
					{"the right tag and a range", "GET", conditions("If-Match", right, "Range", "bytes=399000-"), 200, 206},
					{"the right tag", "GET", conditions("If-Match", right), 200, 200},
					{"another tag and a range", "GET", conditions("If-Match", wrong, "Range", "bytes=399000-"), 200, 412},
					{"any tag and a range", "GET", conditions("If-Match", "*", "Range", "bytes=100-199"), 206, 206},
					{"a HEAD with the right tag", "HEAD", conditions("If-Match", right), 200, 200},
					{"the right tag, and a date that doesn't count", "GET", conditions("If-Match", right, "If-Unmodified-Since", past, "Range", "bytes=399000-399001"), 200, 206},
				} {
					if named && (cold == "fetched" || test.warm == http.StatusPreconditionFailed) {
						test.cold = test.warm // GitLab has named the SHA-256
					}
					awaitNoFlight(t)
					if _, err := runningState().store.Load().Purge(t.Context(), cache.Selector{}); err != nil {
						t.Fatal(err)
					}
					if cold == "streamed" && test.header.Get("If-Match") == "*" {
						continue // GitLab's to answer
					}
					got := e.askWhileCold(t, gitlab, call{method: test.method, path: filePath("app.bin"), token: colleague, header: test.header}, cold == "streamed")
					whole := test.method == "HEAD" || got.StatusCode != http.StatusOK || bytes.Equal(got.body, body)
					if got.StatusCode != test.cold || !whole || got.err != nil {
						t.Errorf("%s, cold: %s with %d bytes, want %d", test.name, got.Status, len(got.body), test.cold)
					}
					if cold != "fetched" {
						continue
					}
					awaitNoFlight(t)
					e.mustGet(t, "app.bin", developer, body)
					awaitNoFlight(t)
					if got := e.do(t, call{method: test.method, path: filePath("app.bin"), token: developer, header: test.header}); got.StatusCode != test.warm {
						t.Errorf("%s, stored: %s, want %d", test.name, got.Status, test.warm)
					}
				}
			})
		}
	}
}

// askWhileCold asks for a file while another download has the edge fetch it, and the fetch can't end.
func (e *edge) askWhileCold(t *testing.T, gitlab *gitlabtest.Server, c call, streamed bool) (got answer) {
	t.Helper()
	if streamed {
		return e.do(t, c)
	}
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 200_000, Release: release})
	_, rest := e.beginDownload(t, "app.bin", developer, 1)
	var over atomic.Bool
	var asking sync.WaitGroup
	asking.Go(func() {
		defer over.Store(true)
		got = e.do(t, c)
	})
	await(t, func() bool { return over.Load() || following() > 0 })
	close(release)
	asking.Wait()
	if _, err := io.Copy(io.Discard, rest); err != nil {
		t.Error(err)
	}
	return got
}

// TestAPartWhoseDateCannotBeComparedIsNotSent has object storage that names no Last-Modified.
func TestAPartWhoseDateCannotBeComparedIsNotSent(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	gitlab.Inject(gitlabtest.Fault{Storage: true, Method: http.MethodGet, Times: -1, Header: http.Header{"Last-Modified": nil}, Chunked: true})
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(400_000, 1)
	publishOld(gitlab, "app.bin", body)
	for range 2 {
		got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{
			"If-Unmodified-Since": {process.clock().UTC().Format(http.TimeFormat)}, "Range": {"bytes=5-9"},
		}})
		if got.StatusCode != http.StatusOK || !bytes.Equal(got.body, body) || got.Header.Get("Last-Modified") != "" {
			t.Errorf("%s with %d bytes, %q", got.Status, len(got.body), got.Header.Get("Last-Modified"))
		}
		awaitNoFlight(t)
	}
}
