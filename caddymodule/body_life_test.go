package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestARefusedUploadThatStandsStillEndsSoon: the answer is there at once, and the connection goes after a time in which the
// caller could read it. Nobody waits for the rest of the body.
func TestARefusedUploadThatStandsStillEndsSoon(t *testing.T) {
	e := startEdge(t, hastyUpstream(t), "")
	host := strings.TrimPrefix(e.url, "http://")
	for name, test := range map[string]struct{ head, body string }{
		"a short body, half of it": {"Content-Length: 1000", "half"},
		"a long body, half of it":  {"Content-Length: 100000000", strings.Repeat("a", 100_000)},
		"chunks without an end":    {"Transfer-Encoding: chunked", "5\r\nchunk\r\n"},
		"half of a chunk":          {"Transfer-Encoding: chunked", "f\r\nchunk"},
		"nothing":                  {"Content-Length: 1000", ""},
	} {
		connection, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_ = connection.SetDeadline(begun.Add(10 * time.Second))
		_, err = fmt.Fprintf(connection, "PUT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n%s\r\n\r\n%s", filePath("app.bin"), host, wrongLine, test.head, test.body)
		if err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(connection)
		response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodPut})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			_ = connection.Close()
			continue
		}
		answered := time.Since(begun)
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		_, err = reader.ReadByte()
		if ended := time.Since(begun); response.StatusCode != http.StatusUnauthorized || answered > 5*time.Second || ended > 5*time.Second {
			t.Errorf("%s: %s after %v, over after %v, %v", name, response.Status, answered, ended, err)
		}
		_ = connection.Close()
	}
}

// hastyUpstream refuses each request as soon as it has its head. Go's own server would wait for the rest of a short body.
func hastyUpstream(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() { // ends with the listener
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer connection.Close()
				reader := bufio.NewReader(connection)
				if _, err := http.ReadRequest(reader); err == nil {
					_, _ = io.WriteString(connection, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
					_, _ = io.Copy(io.Discard, reader)
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}
