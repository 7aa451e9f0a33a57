package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// lastRequest is the last one that has reached GitLab.
func lastRequest(t testing.TB, gitlab *gitlabtest.Server) gitlabtest.Request {
	t.Helper()
	requests := gitlab.Requests()
	if len(requests) == 0 {
		t.Fatal("GitLab heard nothing")
	}
	return requests[len(requests)-1]
}

// TestAllOtherRequestsReachGitLabWhicheverWayItsURLIsWritten has an edge without another directive.
func TestAllOtherRequestsReachGitLabWhicheverWayItsURLIsWritten(t *testing.T) {
	for _, form := range []struct{ base, written string }{{"", ""}, {"", "/"}, {"/gitlab", "/gitlab"}, {"/gitlab", "/gitlab/"}, {"/a/b", "/a/b//"}} {
		t.Run(form.written, func(t *testing.T) {
			gitlab := newGitLab(t, gitlabtest.WithBasePath(form.base))
			origin := strings.TrimSuffix(gitlab.URL, form.base)
			e := startEdge(t, origin+form.written, forwardsOthers)
			for _, path := range []string{
				"/", "/api/v4/version?x=%2F&y=1;z", "/group%2Fapp//-/x%20y;z=1", "/group/app.git/info/refs?service=git-upload-pack",
				"/api/v4/projects/24/packages/generic/only/1.0.0", "/api%2Fv4/projects/24/packages/generic/a/1.0.0/f",
			} {
				for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, "PROPFIND"} {
					got := e.do(t, call{method: method, path: form.base + path, token: developer, header: http.Header{
						"Cookie": {"_gitlab_session=1; theme=dark"}, "X-Forwarded-For": {"203.0.113.9"}, "X-Real-Ip": {"203.0.113.9"},
					}})
					asked := lastRequest(t, gitlab)
					want, query, _ := strings.Cut(form.base+path, "?")
					if asked.Method != method || asked.Path != want || asked.Query != query {
						t.Errorf("%s %s arrived as %s %s?%s", method, path, asked.Method, asked.Path, asked.Query)
					}
					if asked.Host != strings.TrimPrefix(origin, "http://") || asked.Header.Get("X-Forwarded-Host") != strings.TrimPrefix(e.url, "http://") ||
						asked.Header.Get("X-Forwarded-Proto") != "http" || asked.Header.Get("X-Forwarded-For") != "203.0.113.9" ||
						asked.Header.Get("X-Real-IP") != "" || asked.Header.Get("Cookie") != "_gitlab_session=1; theme=dark" || asked.Header.Get("Private-Token") != developer {
						t.Errorf("%s %s: GitLab heard %s, %v", method, path, asked.Host, asked.Header)
					}
					if want := fmt.Sprintf("gitlab_packages; fwd=bypass; fwd-status=%d", asked.Status); got.cacheStatus() != want || got.StatusCode != asked.Status {
						t.Errorf("%s %s: %s, %q", method, path, got.Status, got.cacheStatus())
					}
				}
			}
			publishOld(gitlab, "app.bin", []byte("x"))
			for range 2 {
				if got := e.do(t, call{path: form.base + filePath("app.bin"), token: developer}); string(got.body) != "x" {
					t.Errorf("a file: %s; %s", got.Status, firstBytes(got.body))
				}
			}
		})
	}
}

func TestWhatIsNotBelowGitLabsPathIs404(t *testing.T) {
	gitlab := newGitLab(t, gitlabtest.WithBasePath("/gitlab"))
	e := startEdge(t, gitlab.URL, forwardsOthers)
	for _, target := range []string{"/", "/git", "/gitlabs/x", "/x/../gitlab/y", "/gitlab/../x", "/gitlab/..%2fx", "/gitlab/a/%2e%2e/..", `/gitlab/..%5cx`, "*"} {
		for _, got := range raw(t, e.url, "GET "+target+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(e.url, "http://")+"\r\nConnection: close\r\n\r\n") {
			if got.status != http.StatusNotFound && got.status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", target, got.status, got.body)
			}
		}
	}
	if asked := gitlab.Requests(); len(asked) != 0 {
		t.Errorf("GitLab's host is asked: %+v", asked)
	}
	if got := e.do(t, call{path: "/"}); string(got.body) != `{"message":"404 Not Found - this GitLab is below /gitlab"}` {
		t.Errorf("%s", got.body)
	}
}

func TestARedirectToGitLabsOwnHostLeadsToTheEdge(t *testing.T) {
	for _, base := range []string{"", "/gitlab"} {
		gitlab := newGitLab(t, gitlabtest.WithBasePath(base))
		e := startEdge(t, gitlab.URL, forwardsOthers)
		got := e.do(t, call{path: base + "/dashboard/projects"})
		if got.StatusCode != http.StatusFound || got.Header.Get("Location") != base+"/users/sign_in" || got.Header.Get("Set-Cookie") != "_gitlab_session=1; path=/; HttpOnly" {
			t.Errorf("%s, %v", got.Status, got.Header)
		}
		led, err := got.Location()
		if err != nil || led.Host != strings.TrimPrefix(e.url, "http://") {
			t.Errorf("it leads to %s, %v", led, err)
		}
	}
}

// TestTheExampleNeedsNothingButGitLabsURL runs Caddyfile.example in front of GitLabs with a slash and a path in their URLs.
func TestTheExampleNeedsNothingButGitLabsURL(t *testing.T) {
	for _, written := range []string{"", "/", "/gitlab/"} {
		base := strings.TrimSuffix(written, "/")
		gitlab := newGitLab(t, gitlabtest.WithBasePath(base))
		address := freeAddress(t)
		startExample(t, "http://"+address, strings.TrimSuffix(gitlab.URL, base)+written)
		e := &edge{url: "http://" + address}
		if got := e.do(t, call{path: base + "/users/sign_in"}); got.StatusCode != http.StatusOK || !bytes.Contains(got.body, []byte("Please sign in")) {
			t.Errorf("with %q: %s; %s", written, got.Status, firstBytes(got.body))
		}
		publishOld(gitlab, "app.bin", []byte("x"))
		if got := e.do(t, call{path: base + filePath("app.bin"), token: developer}); string(got.body) != "x" {
			t.Errorf("with %q a file: %s; %s", written, got.Status, firstBytes(got.body))
		}
	}
}

// TestAGitLabWithTLSIsForwardedToWithoutAWarning has the authority of the certificate in transport alone.
func TestAGitLabWithTLSIsForwardedToWithoutAWarning(t *testing.T) {
	gitlab := newGitLab(t, gitlabtest.WithTLS())
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, gitlab.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEdge(t, gitlab.URL, forwardsOthers+"\ntransport http {\n tls_trust_pool file "+authority+"\n}")
	if got := e.do(t, call{path: "/users/sign_in"}); got.StatusCode != http.StatusOK || lastRequest(t, gitlab).Proto != "HTTP/2.0" {
		t.Errorf("%s by %s", got.Status, lastRequest(t, gitlab).Proto)
	}
	if got := e.do(t, call{path: "/dashboard/projects"}); got.Header.Get("Location") != "/users/sign_in" {
		t.Errorf("%v", got.Header)
	}
	connection, reader, head := e.openWebSocket(t, "/-/cable", "websocket") //nolint:bodyclose // the connection's
	defer connection.Close()
	if head.StatusCode != http.StatusSwitchingProtocols || echoed(t, connection, reader, "over TLS") != "over TLS" {
		t.Errorf("a WebSocket: %s", head.Status)
	}
	for line := range strings.Lines(e.log(t)) {
		if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, "header") {
			t.Error(line)
		}
	}
}

// openWebSocket sends a request to switch protocols and returns the connection and the head of the answer.
func (e *edge) openWebSocket(t *testing.T, path, protocol string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	_, err = fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nPRIVATE-TOKEN: %s\r\n\r\n", path, strings.TrimPrefix(e.url, "http://"), protocol, developer)
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(connection)
	head, err := http.ReadResponse(reader, nil) //nolint:bodyclose // the connection's
	if err != nil {
		t.Fatal(err)
	}
	return connection, reader, head
}

// echoed sends a text into a tunnel and returns as much of what comes back.
func echoed(t *testing.T, connection io.Writer, reader io.Reader, text string) string {
	t.Helper()
	if _, err := io.WriteString(connection, text); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(reader, back); err != nil {
		t.Fatal(err)
	}
	return string(back)
}

func TestAWebSocketPassesAndOutlivesAReload(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, forwardsOthers)
	connection, reader, head := e.openWebSocket(t, "/-/cable", "websocket") //nolint:bodyclose // the connection's
	if head.StatusCode != http.StatusSwitchingProtocols || head.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || len(head.Header["Upgrade"]) != 1 {
		t.Fatalf("%s, %v", head.Status, head.Header)
	}
	if got := echoed(t, connection, reader, "before"); got != "before" {
		t.Errorf("%q came back", got)
	}
	e.reload(t, forwardsOthers+"\nmax_age 2m")
	if got := echoed(t, connection, reader, "after"); got != "after" {
		t.Errorf("%q came back", got)
	}
	_ = connection.Close()
	await(t, func() bool {
		log := e.log(t)
		return strings.Contains(log, `"outcome":"other"`) && strings.Contains(log, `"status":101`)
	})
	await(t, func() bool { return lastRequest(t, gitlab).Done }) // and with it the connection to GitLab
}

// TestNoOtherProtocolIsSwitchedTo: in a tunnel of HTTP/2, a package could be asked for past names and switches.
func TestNoOtherProtocolIsSwitchedTo(t *testing.T) {
	headers := make(chan http.Header, 1)
	gitlab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header.Clone()
		w.Header().Set("Upgrade", "h2c")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
	}))
	defer gitlab.Close()
	e := startEdge(t, gitlab.URL, forwardsOthers)
	for _, protocol := range []string{"h2c", "websocket, h2c", "TLS/1.0", "websocket"} {
		connection, _, head := e.openWebSocket(t, "/", protocol) //nolint:bodyclose // the connection's
		_ = connection.Close()
		if head.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %s", protocol, head.Status)
		}
		heard := <-headers
		if passed := heard.Get("Upgrade") != ""; passed != (protocol == "websocket") || heard.Get("HTTP2-Settings") != "" {
			t.Errorf("of %s GitLab heard %v", protocol, heard)
		}
	}
}

// gitPush is what Git says of the body of a push.
var gitPush = http.Header{"Content-Type": {"application/x-git-receive-pack-request"}}

func TestAnUploadOfAnyKindStreamsToGitLab(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, forwardsOthers)
	for _, length := range []int64{8 << 20, -1} {
		body, push := io.Pipe()
		t.Cleanup(func() { _ = push.Close() })
		answered := make(chan answer, 1)
		go func() { // ends with the answer
			answered <- e.do(t, call{method: http.MethodPost, path: "/group/app.git/git-receive-pack", header: gitPush, body: body, length: length})
		}()
		if _, err := push.Write(make([]byte, 4<<20)); err != nil {
			t.Fatal(err)
		}
		// GitLab has the first half, but for what fills a buffer, while the caller still has the second.
		await(t, func() bool {
			requests := gitlab.Requests()
			return len(requests) > 0 && !requests[len(requests)-1].Done && requests[len(requests)-1].Received > 3<<20
		})
		if _, err := push.Write(make([]byte, 4<<20)); err != nil {
			t.Fatal(err)
		}
		_ = push.Close()
		if got := <-answered; got.StatusCode != http.StatusOK || string(got.body) != "8388608 bytes\n" {
			t.Errorf("%s; %s", got.Status, got.body)
		}
	}
}

// TestAnAnswerOfAnyKindStreamsToItsCaller sends one event after the other, each when the one before has arrived.
func TestAnAnswerOfAnyKindStreamsToItsCaller(t *testing.T) {
	arrived := make(chan struct{})
	gitlab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-arrived:
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer gitlab.Close()
	e := startEdge(t, gitlab.URL, forwardsOthers)
	response, err := e.begin(call{path: "/events"})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	reader := bufio.NewReader(response.Body)
	for i := range 3 {
		if line, err := reader.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
		_, _ = reader.ReadString('\n')
		arrived <- struct{}{}
	}
}

// TestNothingOfOtherRequestsIsKeptAndTheirBytesAreNoPackages asks for a page twice.
func TestNothingOfOtherRequestsIsKeptAndTheirBytesAreNoPackages(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, forwardsOthers)
	before := series(t)
	var page []byte
	for range 2 {
		page = e.do(t, call{path: "/users/sign_in"}).body
	}
	if asked := len(gitlab.Requests()); asked != 2 {
		t.Errorf("GitLab was asked %d times", asked)
	}
	expectGrown(t, before, map[string]float64{
		"requests_total GET other": 2, "first_byte_seconds other": 2, "upstream_received_bytes_total": 0, "sent_bytes_total upstream": 0, "entries": 0,
	})
	want := fmt.Sprintf(`"gitlab_packages":{"outcome":"other","project":"","bytes_upstream":%d,"first_byte":0.`, len(page))
	await(t, func() bool { return strings.Count(e.log(t), want) == 2 })
}

// TestAnOtherRequestThatFailsIsAnsweredInTheEdgesWordsAndShowsNoSecret fails before the head of the answer, and after it.
func TestAnOtherRequestThatFailsIsAnsweredInTheEdgesWordsAndShowsNoSecret(t *testing.T) {
	const secret = "s3cr3t-value"
	gitlab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "some")
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}))
	defer gitlab.Close()
	e := startEdge(t, gitlab.URL, forwardsOthers)
	secrets := http.Header{"Private-Token": {secret}, "Job-Token": {secret}, "Cookie": {"_gitlab_session=" + secret}}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		got := e.do(t, call{method: method, path: "/none?private_token=" + secret, header: secrets})
		if got.StatusCode != http.StatusBadGateway || string(got.body) != bodyUnreachable || got.Header.Get("Retry-After") == "" || got.cacheStatus() != "gitlab_packages; detail=unreachable" {
			t.Errorf("%s: %s, %v, %s", method, got.Status, got.Header, got.body)
		}
	}
	if got := e.do(t, call{path: "/broken?private_token=" + secret, header: secrets}); got.err == nil {
		t.Errorf("an answer that broke off looks whole: %s", got.body)
	}
	if got := e.do(t, call{method: http.MethodConnect, path: "/x"}); got.StatusCode != http.StatusNotImplemented {
		t.Errorf("a tunnel: %s", got.Status)
	}
	await(t, func() bool { return strings.Count(e.log(t), "http.log.access") >= 4 })
	for line := range strings.Lines(e.log(t)) {
		if strings.Contains(line, secret) && !strings.Contains(line, "http.log.access") { // which the admin has gitlab_redacted for
			t.Error(line)
		}
	}
}

// TestACallerOfAnythingElseWhoLeavesEndsTheirRequestToGitLab leaves in mid-upload.
func TestACallerOfAnythingElseWhoLeavesEndsTheirRequestToGitLab(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, forwardsOthers)
	before := series(t)
	body, push := io.Pipe()
	defer push.Close()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { // ends when the caller leaves
		_, err := e.begin(call{method: http.MethodPost, path: "/group/app.git/git-receive-pack", header: gitPush, body: body, length: 8 << 20, context: ctx}) //nolint:bodyclose // there is none
		left <- err
	}()
	if _, err := push.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return len(gitlab.Requests()) == 1 })
	leave()
	_ = push.CloseWithError(context.Canceled) // Go's transport may wait for the next bytes before it looks at the context
	if err := <-left; err == nil {
		t.Error("there was an answer")
	}
	await(t, func() bool { return lastRequest(t, gitlab).Done })
	expectGrown(t, before, map[string]float64{"requests_total POST abandoned": 1, "requests_total POST other": 0})
}
