package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// withBody is a request of some method with a head's further lines and what comes after the head.
func withBody(method, host, body string, lines ...string) string {
	return method + " " + filePath("app.bin") + " HTTP/1.1\r\nHost: " + host + "\r\n" + goodLine + "\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// TestABodyIsWholeBeforeGitLabIsAsked sends bodies with requests that are no uploads. The file is stored and the caller's
// grant is old, so that each would have GitLab asked.
func TestABodyIsWholeBeforeGitLabIsAsked(t *testing.T) {
	setForTest(t, &process.bodyPatience, 300*time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	content := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", content)
	host := strings.TrimPrefix(e.url, "http://")
	const chunked, length, large = "Transfer-Encoding: chunked", "Content-Length: ", maxSmallBody + 1
	inChunk := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n, strings.Repeat("a", n)) }
	for name, test := range map[string]struct {
		line, body string
		status     int
	}{
		"a chunk that is none":        {chunked, "ZZZ\r\n", 400},
		"a chunk that is none, later": {chunked, "3\r\nabc\r\nZZZ\r\n", 400},
		"a chunk without an end":      {chunked, "3\r\nabcdef\r\n0\r\n\r\n", 400},
		"half of a length":            {length + "10", "12345", 408},
		"nothing of a length":         {length + "10", "", 408},
		"half of a chunk":             {chunked, "a\r\n12345", 408},
		"nothing of the chunks":       {chunked, "", 408},
		"no last chunk":               {chunked, "3\r\nabc\r\n", 408},
		"too long":                    {length + fmt.Sprint(large), strings.Repeat("a", large), 413},
		"too long, and not sent":      {length + "1000000000000", "", 413},
		"too long in chunks":          {chunked, inChunk(large), 413},
		"as long as may be":           {length + fmt.Sprint(maxSmallBody), strings.Repeat("a", maxSmallBody), 200},
		"as long as may be in chunks": {chunked, inChunk(maxSmallBody), 200},
		"an empty one in chunks":      {chunked, "0\r\n\r\n", 200},
		"with a trailer":              {chunked, "3\r\nabc\r\n0\r\nX-A: b\r\n\r\n", 200},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
			t.Run(name+", "+method, func(t *testing.T) {
				want := test.status
				if method == http.MethodDelete && want == 200 {
					want = http.StatusMethodNotAllowed // GitLab's own
				}
				gitlab.ResetRequests()
				text := withBody(method, host, test.body, test.line)
				if want != test.status || test.status == 200 {
					text = strings.Replace(text, "\r\n", "\r\nConnection: close\r\n", 1)
				}
				answers := raw(t, e.url, text) // until the edge hangs up
				if len(answers) != 1 || answers[0].status != want {
					t.Fatalf("%v", answers)
				}
				if test.status == 200 {
					if method == http.MethodGet && !bytes.Equal(answers[0].body, content) {
						t.Errorf("%d bytes", len(answers[0].body))
					}
					for _, asked := range gitlab.Requests() {
						if asked.Header.Get("Transfer-Encoding") != "" || asked.Header.Get("Trailer") != "" {
							t.Errorf("GitLab is sent %v", asked.Header)
						}
					}
					return
				}
				if asked := gitlab.Requests(); len(asked) != 0 {
					t.Errorf("GitLab is asked: %v", asked)
				}
			})
		}
	}
}

// TestAnIllegalNameIsRefusedBeforeTheBodyIsWaitedFor sends heads alone: whatever the body would say, the head's names are refused.
func TestAnIllegalNameIsRefusedBeforeTheBodyIsWaitedFor(t *testing.T) {
	setForTest(t, &process.bodyPatience, time.Hour)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	host := strings.TrimPrefix(e.url, "http://")
	for name, path := range map[string]string{
		"a version":             strings.Replace(filePath("app.bin"), "/1.0.0/", "/one/", 1),
		"a path in the query":   filePath("app.bin") + "?path=..",
		"a path that may be it": filePath("app.bin") + "?path[]=a",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
			text := strings.Replace(withBody(method, host, "", "Content-Length: 10"), filePath("app.bin"), path, 1)
			if answers := raw(t, e.url, text); len(answers) != 1 || answers[0].status != http.StatusBadRequest {
				t.Errorf("%s, %s: %v", name, method, answers)
			}
		}
	}
	if asked := gitlab.Requests(); len(asked) != 0 {
		t.Errorf("GitLab is asked: %v", asked)
	}
}

// TestABodyGoesOnWithAKnownLength looks at what reaches the upstream.
func TestABodyGoesOnWithAKnownLength(t *testing.T) {
	upstream, asked := newRawUpstream(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	e := startEdge(t, upstream, "")
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		for _, expect := range []string{"", "100-continue"} {
			header := http.Header{}
			if expect != "" {
				header.Set("Expect", expect)
			}
			got := e.do(t, call{method: method, path: filePath("app.bin"), token: developer, header: header, body: io.MultiReader(strings.NewReader("a=b&c=d")), length: -1})
			text := <-asked
			if !strings.Contains(text, "\r\nContent-Length: 7\r\n") || !strings.HasSuffix(text, "\r\n\r\na=b&c=d") || strings.Contains(text, "Transfer-Encoding") || strings.Contains(text, "Expect") {
				t.Errorf("%s %q: %s; GitLab is sent\n%s", method, expect, got.Status, text)
			}
		}
	}
}

// newRawUpstream starts a server that sends the same bytes to each connection, and tells what each sent it.
func newRawUpstream(t *testing.T, answer string) (url string, asked <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	told := make(chan string, 100)
	go func() { // ends with the listener
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			request, err := http.ReadRequest(bufio.NewReader(connection))
			if err != nil {
				_ = connection.Close()
				continue
			}
			var text bytes.Buffer
			body, _ := io.ReadAll(request.Body)
			_, _ = fmt.Fprintf(&text, "%s %s\r\n", request.Method, request.RequestURI)
			if request.ContentLength >= 0 {
				_, _ = fmt.Fprintf(&text, "Content-Length: %d\r\n", request.ContentLength)
			}
			for _, coding := range request.TransferEncoding {
				_, _ = fmt.Fprintf(&text, "Transfer-Encoding: %s\r\n", coding)
			}
			_ = request.Header.Write(&text)
			_, _ = text.WriteString("\r\n")
			_, _ = text.Write(body)
			told <- text.String()
			_, _ = io.WriteString(connection, answer)
			_ = connection.Close()
		}
	}()
	return "http://" + listener.Addr().String(), told
}

// TestAFormNamesNoFileThatTheRulesRefuse: GitLab takes path from a form as from the query.
func TestAFormNamesNoFileThatTheRulesRefuse(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	gitlab.Publish(project, "pkg", "1.0.0", "app.bin", []byte("plain"))
	gitlab.Publish(project, "pkg", "1.0.0", "dir/app.bin", []byte("nested"))
	const form = "application/x-www-form-urlencoded"
	for name, test := range map[string]struct {
		contentType, body string
		status            int
	}{
		"a token":             {form, "private_token=" + developer, 200},
		"another file":        {form, "path=dir&private_token=" + developer, 400},
		"another spelling":    {form, "private_token=" + developer + "&p%61th=dir", 400},
		"semicolons":          {form, "private_token=" + developer + ";path=dir", 400},
		"a list of types":     {"application/json, " + form, "path=dir", 400},
		"a charset":           {strings.ToUpper(form) + "; charset=utf-8", "path=dir", 400},
		"many parts":          {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\ndir\r\n--b--\r\n", 400},
		"no form, no reading": {"application/json", `{"path":"dir"}`, 401},
	} {
		got := e.do(t, call{path: filePath("app.bin"), header: http.Header{"Content-Type": {test.contentType}}, body: strings.NewReader(test.body)})
		if got.StatusCode != test.status || bytes.Contains(got.body, []byte("nested")) {
			t.Errorf("%s: %s %s", name, got.Status, got.body)
		}
	}
	e.reload(t, "rules current")
	got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Content-Type": {form}}, body: strings.NewReader("path=dir")})
	if string(got.body) != "nested" {
		t.Errorf("where the rules allow it: %s %s", got.Status, got.body)
	}
}

// TestTheDeadlineOfABodyEndsWithIt: after a body was read in time, its deadline ends nothing that goes on longer.
func TestTheDeadlineOfABodyEndsWithIt(t *testing.T) {
	setForTest(t, &process.bodyPatience, 200*time.Millisecond)
	upstream := slowUpstream(t, 500*time.Millisecond)
	e := startEdge(t, upstream, "")
	for _, body := range []io.Reader{strings.NewReader("a=b"), io.MultiReader(strings.NewReader("a=b"))} {
		got := e.do(t, call{path: filePath("app.bin"), token: developer, body: body})
		if got.StatusCode != http.StatusOK || string(got.body) != "slow" {
			t.Errorf("%s %s", got.Status, got.body)
		}
	}
	status, body := overHTTP2(t, strings.TrimPrefix(e.url, "http://"), filePath("app.bin"), hpack.HeaderField{Name: "origin", Value: "x"})
	if status != "200" || string(body) != "slow" {
		t.Errorf("HTTP/2: %s %s", status, body)
	}
}

// slowUpstream answers each request after a while.
func slowUpstream(t *testing.T, after time.Duration) string {
	t.Helper()
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-time.After(after):
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "slow")
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }() // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + listener.Addr().String()
}

// TestOverHTTP2ABodyIsBoundedToo sends DATA frames that never end, or never come.
func TestOverHTTP2ABodyIsBoundedToo(t *testing.T) {
	setForTest(t, &process.bodyPatience, 300*time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	client := http2Client(t)
	for name, test := range map[string]struct {
		sent, status int
		open         bool
	}{
		"never sent": {0, 408, true}, "never finished": {10, 408, true}, "too much": {maxSmallBody + 1, 413, true}, "whole": {10, 404, false},
	} {
		gitlab.ResetRequests()
		reader, writer := io.Pipe()
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, e.url+filePath("app.bin"), reader)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Private-Token", developer)
		go func() { // ends when the pipe is closed
			_, _ = writer.Write(make([]byte, test.sent))
			if !test.open {
				_ = writer.Close()
			}
		}()
		response, err := client.Do(request)
		_ = reader.CloseWithError(errors.New("over"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.status || response.ProtoMajor != 2 {
			t.Errorf("%s: %s by %s", name, response.Status, response.Proto)
		}
		if asked := len(gitlab.Requests()); (asked > 0) != (test.status == 404) {
			t.Errorf("%s: GitLab is asked %d times", name, asked)
		}
	}
}
