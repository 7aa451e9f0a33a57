package caddymodule

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// These tests replay public reports about the line to GitLab, and what stands on it. docs/reports.md lists the reports.

// TestManyHintsBeforeAnAnswerFailNoDownload has something in front of GitLab send 103s before each answer.
func TestManyHintsBeforeAnAnswerFailNoDownload(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, _ *http.Request) bool {
		for i := range 20 {
			w.Header().Set("Link", fmt.Sprintf("</style%d.css>; rel=preload", i))
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		return false
	}), "")
	body := someBytes(300_000, 1)
	publishOld(gitlab, "app.bin", body)
	for _, want := range []string{"fwd=uri-miss", "; hit"} {
		if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), want) || got.Header.Get("Link") != "" {
			t.Errorf("%q, Link %q", got.cacheStatus(), got.Header.Get("Link"))
		}
		awaitNoFlight(t)
	}
	newer := someBytes(1000, 2)
	if got := e.put(t, filePath("new.bin"), newer); got.StatusCode != http.StatusCreated {
		t.Errorf("an upload: %s", got.Status)
	}
	e.mustGet(t, "new.bin", developer, newer)
}

// TestAFileIsThereOnceItIsPublishedHoweverOftenItWasAskedForBefore publishes beside the edge, which hears nothing of it.
func TestAFileIsThereOnceItIsPublishedHoweverOftenItWasAskedForBefore(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
		publishOld(gitlab, "other.bin", []byte("x"))
		e.mustGet(t, "other.bin", developer, []byte("x")) // so that the caller may read the project
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet, http.MethodGet, http.MethodGet} {
			if got := e.do(t, call{method: method, path: filePath("app.bin"), token: developer}); got.StatusCode != http.StatusNotFound {
				t.Errorf("before: %s", got.Status)
			}
		}
		body := someBytes(100_000, 1)
		publishOld(gitlab, "app.bin", body)
		e.mustGet(t, "app.bin", developer, body)
	})
}

// TestAFrontThatCompressesChangesNoByteOfAFile has nginx compress all that it may, and something that compresses unasked.
func TestAFrontThatCompressesChangesNoByteOfAFile(t *testing.T) {
	body := bytes.Repeat([]byte("compressible "), 30_000)
	t.Run("nginx", func(t *testing.T) {
		gitlab := newGitLab(t)
		e := startEdge(t, startNginx(t, gitlab.URL, nginxLines{http: "gzip on;\ngzip_types *;\ngzip_proxied any;\ngzip_http_version 1.0;\ngzip_min_length 0;"}).url, "")
		publishOld(gitlab, "app.bin", body)
		for _, header := range []http.Header{{"Accept-Encoding": {"gzip"}}, {"Accept-Encoding": {"gzip"}, "Origin": {"https://elsewhere.example"}}, {}} {
			got := e.do(t, call{path: filePath("app.bin"), token: developer, header: header})
			plain := got.body
			if got.Header.Get("Content-Encoding") == "gzip" { // what is forwarded is GitLab's own answer to the caller
				plain = gunzip(t, got.body)
			}
			if got.StatusCode != http.StatusOK || !bytes.Equal(plain, body) {
				t.Errorf("%v: %s, %d bytes", header, got.Status, len(got.body))
			}
			awaitNoFlight(t)
		}
	})
	t.Run("unasked", func(t *testing.T) {
		gitlab := newGitLab(t)
		var compressed bytes.Buffer
		writer := gzip.NewWriter(&compressed)
		_, _ = writer.Write(body)
		_ = writer.Close()
		e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
			if isProbe(r) {
				return false
			}
			w.Header().Set("Content-Disposition", "attachment")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(compressed.Bytes())
			return true
		}), "")
		for range 2 {
			got := e.do(t, call{path: filePath("app.bin"), token: developer})
			if got.Header.Get("Content-Encoding") != "gzip" || !bytes.Equal(gunzip(t, got.body), body) {
				t.Errorf("%s, Content-Encoding %q, %d bytes", got.Status, got.Header.Get("Content-Encoding"), len(got.body))
			}
			awaitNoFlight(t)
		}
		if blobsIn(t, e.directory) != 0 {
			t.Error("what isn't the file's bytes is stored")
		}
	})
}

func gunzip(t *testing.T, body []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return nil
	}
	var plain bytes.Buffer
	if _, err := plain.ReadFrom(reader); err != nil { //nolint:gosec // the test's own bytes
		t.Error(err)
	}
	return plain.Bytes()
}

// TestAChunkedBodyThatIsCutIsNeverKept: without a length only the last chunk tells that a body is whole.
func TestAChunkedBodyThatIsCutIsNeverKept(t *testing.T) {
	for _, checksums := range []bool{false, true} {
		gitlab := newGitLab(t)
		gitlab.SetChecksums(checksums)
		e := startEdge(t, gitlab.URL, "retries 0")
		body := someBytes(1<<20, 1)
		publishOld(gitlab, "app.bin", body)
		gitlab.Inject(gitlabtest.Fault{Chunked: true, CutAfter: 600_000, Times: -1})
		if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode == http.StatusOK && got.err == nil {
			t.Errorf("a cut body looks whole: %d bytes", len(got.body))
		}
		awaitNoFlight(t)
		if blobsIn(t, e.directory) != 0 {
			t.Error("what was cut is stored")
		}
		gitlab.ClearFaults()
		putForward(10 * time.Second) // the file may rest
		gitlab.Inject(gitlabtest.Fault{Chunked: true})
		e.mustGet(t, "app.bin", developer, body)
		awaitNoFlight(t)
		if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), "; hit") {
			t.Errorf("%q", got.cacheStatus())
		}
	}
}

// TestARestThatBeginsElsewhereIsNotJoined has something in front of GitLab answer the request for a rest by another part, which
// it names truly.
func TestARestThatBeginsElsewhereIsNotJoined(t *testing.T) {
	body := someBytes(1<<20, 1)
	for name, from := range map[string]int{"from the beginning": 0, "from later": 700_000} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") == "" || isQuestion(r) {
					return false
				}
				w.Header().Set("Content-Disposition", "attachment")
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
				w.Header().Set("Last-Modified", process.clock().Add(-time.Hour).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(body[from:])
				return true
			}), "retries 1")
			publishOld(gitlab, "app.bin", body)
			gitlab.Inject(gitlabtest.Fault{CutAfter: 300_000})
			got := e.do(t, call{path: filePath("app.bin"), token: developer})
			if got.StatusCode == http.StatusOK && got.err == nil && !bytes.Equal(got.body, body) {
				t.Errorf("the parts were joined: %d bytes", len(got.body))
			}
			awaitNoFlight(t)
			e.mustGet(t, "app.bin", developer, body)
		})
	}
}

// TestConnectionsThatGitLabRetiresFailNoDownload: a server of HTTP/2 says GOAWAY when it closes a connection, be it after so
// many requests or for its own restart. Here it does after each answer, with others under way.
func TestConnectionsThatGitLabRetiresFailNoDownload(t *testing.T) {
	gitlab := newGitLab(t)
	target, err := url.Parse(gitlab.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	var protocols sync.Map
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols.Store(r.Proto, true)
		w.Header().Set("Connection", "close") // which Go's server makes a GOAWAY of
		proxy.ServeHTTP(w, r)
	}))
	front.EnableHTTP2 = true
	front.StartTLS()
	t.Cleanup(front.Close)
	e := startEdge(t, front.URL, trusting(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})))
	var callers sync.WaitGroup
	for i := range byte(60) {
		file, body := fmt.Sprintf("app%d.bin", i), someBytes(50_000, i)
		publishOld(gitlab, file, body)
		callers.Go(func() {
			e.mustGetConcurrently(t, file, body)
			if got := e.do(t, call{path: filePath(file), token: []string{developer, colleague, administrator}[i%3]}); got.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", file, got.Status)
			}
		})
	}
	callers.Wait()
	if _, ok := protocols.Load("HTTP/2.0"); !ok {
		t.Error("GitLab wasn't asked over HTTP/2")
	}
}

// TestADownloadThatOutlivesItsSignedURLGoesOn cuts the storage's body when its URL has long expired.
func TestADownloadThatOutlivesItsSignedURLGoesOn(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(2<<20, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, CutAfter: 1 << 20, Reached: func() { putForward(time.Hour) }})
	e.mustGet(t, "app.bin", developer, body)
	if n := gitlab.CountStorage(http.MethodGet); n != 2 {
		t.Errorf("the storage was asked %d times", n)
	}
}
