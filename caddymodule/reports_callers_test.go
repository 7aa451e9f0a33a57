package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// These tests replay public reports about clients by what the clients send. docs/reports.md lists the reports.

// TestTheLastBytesOfAColdFileAreAskedForByTheirNumber as installers do that look into an archive's directory at its end before
// they download it.
func TestTheLastBytesOfAColdFileAreAskedForByTheirNumber(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "")
		body := someBytes(3<<20, 1)
		publishOld(gitlab, "app.whl", body)
		for _, state := range []string{"cold", "stored"} {
			for _, last := range []int{64, 10_240, 1 << 20, len(body) + 1} {
				got := e.do(t, call{path: filePath("app.whl"), token: developer, header: http.Header{"Range": {fmt.Sprintf("bytes=-%d", last)}}})
				from := max(0, len(body)-last)
				want := fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body))
				if got.StatusCode != http.StatusPartialContent || got.Header.Get("Content-Range") != want || !bytes.Equal(got.body, body[from:]) {
					t.Errorf("%s, the last %d: %s, %q, %d bytes", state, last, got.Status, got.Header.Get("Content-Range"), len(got.body))
				}
			}
			e.mustGet(t, "app.whl", developer, body)
			awaitNoFlight(t)
		}
	})
}

// javaLines are what Java's HttpClient adds to each request on a connection without TLS: it offers to go on in HTTP/2.
const javaLines = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/17.0.1\r\n"

// TestJavasUploadsAndDownloadsAreServedThoughTheyOfferHTTP2 sends them one after the other on one connection, as Java does.
func TestJavasUploadsAndDownloadsAreServedThoughTheyOfferHTTP2(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := string(someBytes(100_000, 1))
	head := func(method, file, more string) string {
		return method + " " + filePath(file) + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(e.url, "http://") + "\r\n" + javaLines + goodLine + "\r\n" + more + "\r\n"
	}
	answers := raw(t, e.url, head(http.MethodPut, "app.jar", fmt.Sprintf("Content-Length: %d\r\n", len(body)))+body+
		head(http.MethodPut, "chunked.jar", "Transfer-Encoding: chunked\r\n")+fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)+
		head(http.MethodGet, "app.jar", "")+head(http.MethodGet, "chunked.jar", "")+
		strings.Replace(head(http.MethodGet, "absent.jar", ""), "Connection: Upgrade", "Connection: close, Upgrade", 1))
	statuses := make([]int, 0, len(answers))
	for _, answer := range answers {
		statuses = append(statuses, answer.status)
		if answer.header.Get("Upgrade") != "" || (answer.status == http.StatusOK && string(answer.body) != body) {
			t.Errorf("%d: Upgrade %q, %d bytes", answer.status, answer.header.Get("Upgrade"), len(answer.body))
		}
	}
	if fmt.Sprint(statuses) != "[201 201 200 200 404]" {
		t.Errorf("got %v", statuses)
	}
}

// TestAPlusSignIsTheSameHoweverItIsWritten: some clients and proxies write it as %2B, and others as it is; to nobody is it a
// space.
func TestAPlusSignIsTheSameHoweverItIsWritten(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "rules current")
	path := func(plus string) string {
		return fmt.Sprintf("/api/v4/projects/%d/packages/generic/my%[2]spkg/1.0.0%[2]sbuild.5/app%[2]s1.bin", project, plus)
	}
	body := someBytes(100_000, 1)
	if got := e.put(t, path("%2B"), body); got.StatusCode != http.StatusCreated {
		t.Fatalf("an upload: %s", got.Status)
	}
	for _, plus := range []string{"+", "%2B", "%2b"} {
		if got := e.do(t, call{path: path(plus), token: developer}); got.StatusCode != http.StatusOK || !bytes.Equal(got.body, body) {
			t.Errorf("%s: %s, %d bytes", plus, got.Status, len(got.body))
		}
		awaitNoFlight(t)
	}
	if n := gitlab.CountFetches(); n > 1 {
		t.Errorf("%d fetches", n)
	}
	for _, space := range []string{"%20", "%252B"} {
		if got := e.do(t, call{path: path(space), token: developer}); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", space, got.Status)
		}
	}
}

// TestAPartOfAFileIsNotCompressed: the numbers of its bytes are those of the file, whatever Caddy's encode may do around it.
func TestAPartOfAFileIsNotCompressed(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", around{site: "encode gzip {\n match header Content-Type *\n}\n"})
	body := bytes.Repeat([]byte("compressible "), 10_000)
	publishOld(gitlab, "app.svg", body)
	for range 2 { // cold, and stored
		got := e.do(t, call{path: filePath("app.svg"), token: developer, header: http.Header{"Accept-Encoding": {"gzip"}, "Range": {"bytes=1000-99999"}}})
		if got.StatusCode != http.StatusPartialContent || got.Header.Get("Content-Encoding") != "" || !bytes.Equal(got.body, body[1000:100_000]) ||
			got.Header.Get("Content-Range") != fmt.Sprintf("bytes 1000-99999/%d", len(body)) {
			t.Errorf("%s, Content-Encoding %q, %q, %d bytes", got.Status, got.Header.Get("Content-Encoding"), got.Header.Get("Content-Range"), len(got.body))
		}
		awaitNoFlight(t)
	}
}
