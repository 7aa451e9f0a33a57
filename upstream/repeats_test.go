package upstream_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// fickleFront answers the first request of each connection, and closes the connection when it has heard the second one.
type fickleFront struct {
	url string

	// mu guards heard, which holds the heads of all requests.
	mu    sync.Mutex
	heard []string
}

func newFickleFront(t *testing.T) *fickleFront {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	front := &fickleFront{url: "http://" + listener.Addr().String()}
	go func() { // ends with the listener
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go front.serve(connection) // ends with the second request, or the connection
		}
	}()
	return front
}

func (f *fickleFront) serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for _, answer := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""} {
		head, err := readHead(reader)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.heard = append(f.heard, head)
		f.mu.Unlock()
		_, _ = io.WriteString(connection, answer)
	}
}

// heads are those of the requests that were heard since the last call.
func (f *fickleFront) heads() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	heads := f.heard
	f.heard = nil
	return heads
}

// TestOnlySafeRequestsAreRepeatedWhenAKeptConnectionCloses sends each on a connection that GitLab closes as soon as it has
// heard the request: whether GitLab has done what was asked, nobody knows.
func TestOnlySafeRequestsAreRepeatedWhenAKeptConnectionCloses(t *testing.T) {
	front := newFickleFront(t)
	connections, err := upstream.NewConnections(upstream.ConnectionsConfig{Transport: &http.Transport{}, Silence: never, Freshness: never})
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, front.url, func(c *upstream.Config) { c.Transport = connections }, closing(connections.CloseIdleConnections))
	send := func(method, key string, forward func(http.ResponseWriter, *http.Request) error) error {
		request := httptest.NewRequest(method, "/api/v4/jobs/1/retry", nil)
		if key != "" {
			request.Header.Set(key, "k-1")
		}
		return forward(httptest.NewRecorder(), request)
	}
	other := func(w http.ResponseWriter, r *http.Request) error {
		return client.ForwardOther(w, r, upstream.Forwarding{})
	}
	packages := func(w http.ResponseWriter, r *http.Request) error {
		return client.Forward(w, r, upstream.Forwarding{Path: ref.EscapedPath(), Caller: callerWith(token)})
	}
	for _, test := range []struct {
		name, method, key string
		forward           func(http.ResponseWriter, *http.Request) error
		repeated          bool
	}{
		{"a page", http.MethodGet, "", other, true},
		{"a page with a key", http.MethodGet, "Idempotency-Key", other, true},
		{"a page's head", http.MethodHead, "", other, true},
		{"what a page allows", http.MethodOptions, "", other, true},
		{"a call", http.MethodPost, "", other, false},
		{"a call with a key", http.MethodPost, "Idempotency-Key", other, false},
		{"a call with the other key", http.MethodPost, "X-Idempotency-Key", other, false},
		{"a change with a key", http.MethodPatch, "Idempotency-Key", other, false},
		{"a deletion with a key", http.MethodDelete, "X-Idempotency-Key", other, false},
		{"an empty upload with a key", http.MethodPut, "Idempotency-Key", packages, false},
		{"the deletion of a package's file with a key", http.MethodDelete, "Idempotency-Key", packages, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			connections.CloseIdleConnections()
			if err := send(http.MethodGet, "", other); err != nil { // makes the connection that is kept
				t.Fatal(err)
			}
			front.heads()
			err := send(test.method, test.key, test.forward)
			heads := front.heads()
			if test.repeated && (err != nil || len(heads) != 2) {
				t.Errorf("GitLab heard it %d times, %v", len(heads), err)
			}
			if !test.repeated && (!isUnreachable(err) || len(heads) != 1) {
				t.Errorf("GitLab heard it %d times, %v", len(heads), err)
			}
			for _, head := range heads {
				head = strings.ToLower(head)
				if test.key != "" && strings.Count(head, "\r\n"+strings.ToLower(test.key)+": k-1\r\n") != 1 {
					t.Errorf("the key isn't there once: %q", head)
				}
				if strings.Contains(head, "transfer-encoding") {
					t.Errorf("it has got a body: %q", head)
				}
			}
		})
	}
}
