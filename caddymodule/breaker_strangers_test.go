package caddymodule

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// holdOpen sends the beginning of a request on a connection of its own, which stays open until the test ends.
func (e *edge) holdOpen(t testing.TB, text string) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if _, err := io.WriteString(connection, text); err != nil {
		t.Fatal(err)
	}
	return connection
}

// trusting is the option of an edge that trusts an authority, given in PEM.
func trusting(t testing.TB, authorityPEM []byte) string {
	t.Helper()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, authorityPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("transport http {\n tls_trust_pool file %s\n}", authority)
}

// brokenBodies are requests whose bodies break or never come, each after its head's first lines.
func brokenBodies(host string) map[string]string {
	bodies := make(map[string]string)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPut} {
		for query, kind := range map[string]string{"": "plain", "?status=default": "forwarded"} {
			head := method + " " + filePath("app.bin") + query + " HTTP/1.1\r\nHost: " + host + "\r\n"
			name := method + ", " + kind + ", "
			bodies[name+"a chunk that is none"] = head + "Transfer-Encoding: chunked\r\n\r\nZZZ\r\n"
			bodies[name+"a later chunk that is none"] = head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\nZZZ\r\n"
			bodies[name+"a body that never comes"] = head + "Content-Length: 5\r\n\r\n"
			bodies[name+"half a body"] = head + "Content-Length: 5\r\n\r\nab"
		}
	}
	return bodies
}

// expectNoOutage fails if strangers have made the edge take GitLab for dead: it was suspected, isn't asked, or somebody is
// served without being asked about.
func expectNoOutage(t *testing.T, e *edge, gitlab *gitlabtest.Server, body []byte) {
	t.Helper()
	if isDown(upstream.ServerGitLab) {
		t.Error("GitLab isn't asked any more")
	}
	putForward(2 * time.Minute)
	if got := e.mustGet(t, "app.bin", developer, body); strings.Contains(got.cacheStatus(), "offline") {
		t.Errorf("a good caller is served without GitLab: %q", got.cacheStatus())
	}
	if got := e.do(t, call{path: filePath("app.bin"), token: administrator}); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token that was revoked: %s, %q", got.Status, got.cacheStatus())
	}
	if probes := gitlab.CountProbes(); probes != 1 {
		t.Errorf("GitLab was probed %d times, and not only when it was met first", probes)
	}
}

// TestStrangersBodiesOpenNoBreaker has a front that reads whole uploads before it answers anybody, as nginx does, so that each
// broken one breaks on the way to it.
func TestStrangersBodiesOpenNoBreaker(t *testing.T) {
	const times = 50
	setForTest(t, &process.breakerPause, 20*time.Millisecond) // probes may follow each other soon
	setForTest(t, &process.bodyPatience, 100*time.Millisecond)
	for name, request := range brokenBodies("edge.example") {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, frontOf(t, gitlab, func(_ http.ResponseWriter, r *http.Request) bool {
				whole, err := io.ReadAll(r.Body)
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				r.Body = io.NopCloser(bytes.NewReader(whole))
				return false
			}), "")
			body := storeWithOneRevoked(t, e, gitlab)
			request = strings.ReplaceAll(request, "edge.example", strings.TrimPrefix(e.url, "http://"))
			var attack sync.WaitGroup
			isPut := strings.HasPrefix(request, http.MethodPut)
			for range times {
				connection := e.holdOpen(t, request)
				if isPut && strings.Contains(request, "Content-Length") {
					_ = connection.(*net.TCPConn).CloseWrite() // the upload ends before its length
				}
				attack.Go(func() { // ends with the answer, or with the connection
					_ = connection.SetReadDeadline(time.Now().Add(20 * time.Second))
					if _, err := io.Copy(io.Discard, connection); err != nil && strings.Contains(err.Error(), "timeout") {
						t.Error("the connection is neither answered nor closed")
					}
				})
			}
			attack.Wait()
			expectNoOutage(t, e, gitlab, body)
		})
	}
}

func TestUploadsThatStrangersHoldOpenOpenNoBreaker(t *testing.T) {
	setForTest(t, &process.breakerPause, 20*time.Millisecond)
	gitlab := newGitLab(t)
	held := make(chan struct{}, 50)
	e := startEdge(t, frontOf(t, gitlab, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		held <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}), "")
	body := storeWithOneRevoked(t, e, gitlab)
	connections := make([]net.Conn, 50)
	for i := range connections {
		connections[i] = e.holdOpen(t, "PUT "+filePath("app.bin")+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(e.url, "http://")+"\r\nContent-Length: 5\r\n\r\na")
	}
	await(t, func() bool { return len(held) == len(connections) })
	expectNoOutage(t, e, gitlab, body)
	for _, connection := range connections {
		_ = connection.(*net.TCPConn).SetLinger(0)
		_ = connection.Close()
	}
	await(t, func() bool { return runningForwards(gitlab) == 0 })
	expectNoOutage(t, e, gitlab, body)
}

// storeWithOneRevoked has app.bin stored for the developer, and for the administrator, whose token is revoked then.
func storeWithOneRevoked(t *testing.T, e *edge, gitlab *gitlabtest.Server) []byte {
	t.Helper()
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	e.mustGet(t, "app.bin", administrator, body)
	awaitProbeAnswered(t)
	gitlab.RevokeToken(administrator)
	return body
}

// runningForwards counts the requests that GitLab hasn't ended.
func runningForwards(gitlab *gitlabtest.Server) (running int) {
	for _, request := range gitlab.Requests() {
		if !request.Done {
			running++
		}
	}
	return running
}

// TestHeadersThatAreTooLargeForTheLineOpenNoBreaker sends more headers than HTTP/2 takes to GitLab, with requests that are
// forwarded, that ask about a stored file, and that fetch one.
func TestHeadersThatAreTooLargeForTheLineOpenNoBreaker(t *testing.T) {
	setForTest(t, &process.breakerPause, 20*time.Millisecond)
	gitlab := newGitLab(t)
	target, err := url.Parse(gitlab.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(target))
	front.EnableHTTP2 = true
	front.Config.MaxHeaderBytes = 4096 // less than Caddy takes
	front.StartTLS()
	defer front.Close()
	e := startEdge(t, front.URL, trusting(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})))
	body := storeWithOneRevoked(t, e, gitlab)
	lines := func(name string) string { return strings.Repeat(name+": x\r\n", 10_000/len(name+": x\r\n")) }
	for name, request := range map[string]string{
		"forwarded":            "GET " + filePath("app.bin") + "?status=default HTTP/1.1\r\n" + lines("X-A"),
		"a stored file":        "GET " + filePath("app.bin") + " HTTP/1.1\r\n" + lines("Job-Token"),
		"an absent file":       "GET " + filePath("cold.bin") + " HTTP/1.1\r\n" + lines("Job-Token"),
		"an absent file, HEAD": "HEAD " + filePath("cold.bin") + " HTTP/1.1\r\n" + lines("Job-Token"),
		"an upload":            "PUT " + filePath("app.bin") + " HTTP/1.1\r\nContent-Length: 1\r\n" + lines("X-A"),
	} {
		reached := len(gitlab.Requests())
		for range 50 {
			request := request + "Host: " + strings.TrimPrefix(e.url, "http://") + "\r\nConnection: close\r\n\r\n"
			if strings.HasPrefix(request, http.MethodPut) {
				request += "x"
			}
			for _, got := range raw(t, e.url, request) {
				// A connection so new that the server's settings haven't come yet has the server itself refuse them.
				if got.status != http.StatusBadGateway && got.status != http.StatusRequestHeaderFieldsTooLarge {
					t.Fatalf("%s: %d", name, got.status) // refused for another reason
				}
			}
		}
		if n := len(gitlab.Requests()) - reached; n != 0 {
			t.Errorf("%s: %d of them are no headers that are too large", name, n)
		}
	}
	expectNoOutage(t, e, gitlab, body)
}

// TestNobodyCanHoldTheTryThatFindsGitLabBack has strangers hold requests of all kinds open from before an outage until after
// it, and begin new ones all the time: each could be the one that is let through to see whether GitLab is back.
func TestNobodyCanHoldTheTryThatFindsGitLabBack(t *testing.T) {
	setForTest(t, &process.breakerPause, 20*time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitProbeAnswered(t)
	putForward(2 * time.Minute)
	gitlab.SetDown(true)
	for range 2 {
		e.mustGet(t, "app.bin", developer, body)
	}
	await(t, func() bool { return isDown(upstream.ServerGitLab) })

	host := strings.TrimPrefix(e.url, "http://")
	begin := func() {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPut} {
			e.holdOpen(t, method+" "+filePath("app.bin")+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 5\r\n\r\na")
			e.holdOpen(t, method+" "+filePath("app.bin")+"?status=default HTTP/1.1\r\nHost: "+host+"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		}
	}
	begin()
	gitlab.SetDown(false)
	for noticed := time.Now().Add(10 * time.Second); isDown(upstream.ServerGitLab); {
		if time.Now().After(noticed) {
			t.Fatal("GitLab is back, and nobody notices")
		}
		begin()
	}
	if got := e.mustGet(t, "app.bin", colleague, body); strings.Contains(got.cacheStatus(), "offline") {
		t.Errorf("who was never asked about: %q", got.cacheStatus())
	}
}
