package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// expecting is the transport to a GitLab whose 100 Continue is waited for.
func expecting(c *upstream.Config) {
	c.Transport.(*http.Transport).ExpectContinueTimeout = never
}

// drawn counts the bytes that were read from it.
type drawn struct {
	io.Reader
	bytes atomic.Int64
}

func (d *drawn) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	d.bytes.Add(int64(n))
	return n, err
}

func TestARefusedUploadDrawsNoBodyFromACallerWhoExpectsNothing(t *testing.T) {
	server := httptest.NewServer(answerWith(http.StatusUnauthorized))
	client := newClient(t, server.URL, expecting, server)
	body := &drawn{Reader: strings.NewReader(strings.Repeat("x", 1<<20))}
	var status int
	delivery, err := put(client, context.Background(), body, upstream.Forwarding{
		OnAnswer: func(response *http.Response) { status = response.StatusCode },
	})
	if err != nil || status != http.StatusUnauthorized || body.bytes.Load() != 0 || delivery.IsWhole() {
		t.Errorf("%v, status %d, %d bytes drawn", err, status, body.bytes.Load())
	}
}

func TestTheEdgeAddsAnExpectationToUploadsWithABodyAlone(t *testing.T) {
	for name, test := range map[string]struct {
		method string
		body   io.Reader
		header string
		want   string
	}{
		"an upload":                           {http.MethodPut, strings.NewReader("bytes"), "", "100-continue"},
		"an upload in chunks":                 {http.MethodPut, struct{ io.Reader }{strings.NewReader("bytes")}, "", "100-continue"},
		"an upload of nothing":                {http.MethodPut, http.NoBody, "", ""},
		"an upload whose caller expects that": {http.MethodPut, strings.NewReader("bytes"), "100-Continue", "100-Continue"},
		"a deletion":                          {http.MethodDelete, http.NoBody, "", ""},
		"a deletion with a body":              {http.MethodDelete, strings.NewReader("bytes"), "", ""},
		"a download":                          {http.MethodGet, http.NoBody, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got atomic.Value
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got.Store(r.Header.Get("Expect"))
				_, _ = io.Copy(io.Discard, r.Body)
			}))
			client := newClient(t, server.URL, expecting, server)
			r := httptest.NewRequestWithContext(context.Background(), test.method, "https://edge.example.com/x", test.body)
			if test.header != "" {
				r.Header.Set("Expect", test.header)
			}
			how := upstream.Forwarding{Caller: callerWith(token), Path: ref.EscapedPath()}
			if err := client.Forward(httptest.NewRecorder(), r, how); err != nil {
				t.Fatal(err)
			}
			if got.Load() != test.want {
				t.Errorf("GitLab got %q", got.Load())
			}
		})
	}
}

// TestOnlyWhoExpectsA100IsToldOfIt uploads through an edge with and without an expectation of the caller's. Early hints pass
// for both.
func TestOnlyWhoExpectsA100IsToldOfIt(t *testing.T) {
	gitlab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.Copy(io.Discard, r.Body) // sends the 100
		w.WriteHeader(http.StatusCreated)
	}))
	client := newClient(t, gitlab.URL, expecting, gitlab)
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := client.Forward(w, r, upstream.Forwarding{Caller: callerWith(token), Path: ref.EscapedPath()}); err != nil {
			t.Error(err)
		}
	}))
	defer edge.Close()
	for _, expects := range []bool{false, true} {
		var told, hinted atomic.Int64
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
				switch status {
				case http.StatusContinue:
					told.Add(1)
				case http.StatusEarlyHints:
					hinted.Add(1)
				}
				return nil
			},
		})
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, edge.URL, strings.NewReader("bytes"))
		if err != nil {
			t.Fatal(err)
		}
		if expects {
			request.Header.Set("Expect", "100-continue")
		}
		transport := &http.Transport{ExpectContinueTimeout: never, DisableKeepAlives: true}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusCreated || (told.Load() > 0) != expects || hinted.Load() != 1 {
			t.Errorf("expects %v: %s, told %d times of a 100, %d hints", expects, response.Status, told.Load(), hinted.Load())
		}
	}
}

// TestA417OfTheEdgesOwnExpectationIsNotRelayed has something in front of GitLab that knows no expectations.
func TestA417OfTheEdgesOwnExpectationIsNotRelayed(t *testing.T) {
	var refused, taken atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			refused.Add(1)
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		if body, err := io.ReadAll(r.Body); err == nil && string(body) == "bytes" {
			taken.Add(1)
		}
		w.WriteHeader(http.StatusCreated)
	}))
	client := newClient(t, server.URL, expecting, server)
	for range 2 {
		var status int
		delivery, err := put(client, context.Background(), strings.NewReader("bytes"), upstream.Forwarding{
			OnAnswer: func(response *http.Response) { status = response.StatusCode },
		})
		if err != nil || status != http.StatusCreated || !delivery.IsWhole() {
			t.Errorf("%v, status %d", err, status)
		}
	}
	if refused.Load() != 1 || taken.Load() != 2 {
		t.Errorf("%d refused, %d taken", refused.Load(), taken.Load())
	}
}

// TestTheAnswerToAnUploadHasATimeoutFromItsLastByteOn sends one body slowly to a GitLab that never answers.
func TestTheAnswerToAnUploadHasATimeoutFromItsLastByteOn(t *testing.T) {
	const patience = 100 * time.Millisecond
	gone := make(chan struct{}, 2)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	client := newClient(t, server.URL, func(c *upstream.Config) { c.PublishTimeout = patience }, server)
	for name, body := range map[string]io.Reader{"a body": &pausing{pause: 3 * patience}, "none": http.NoBody} {
		t.Run(name, func(t *testing.T) {
			delivery, err := put(client, context.Background(), body, upstream.Forwarding{})
			var unreachable *upstream.UnreachableError
			if !errors.As(err, &unreachable) || unreachable.Trouble != upstream.TroubleNetwork || !delivery.IsWhole() {
				t.Errorf("whole: %v, %v", delivery.IsWhole(), err)
			}
			if err == nil || !strings.Contains(err.Error(), "no answer in time") {
				t.Errorf("%v", err)
			}
			<-gone
		})
	}
}

// pausing is a body of two bytes with a pause between them.
type pausing struct {
	pause time.Duration
	sent  int
}

func (p *pausing) Read(b []byte) (int, error) {
	switch p.sent {
	case 0:
	case 1:
		<-time.After(p.pause)
	default:
		return 0, io.EOF
	}
	p.sent++
	b[0] = 'x'
	return 1, nil
}

// keepingFront answers the head of each request at once, on a connection that it keeps, and asks for no body. net/http sends
// the body then, so that the connection can serve again.
func keepingFront(t *testing.T, answer func(head string) string) (url string) {
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
				head, err := readHead(reader)
				if err != nil {
					return
				}
				_, _ = io.WriteString(connection, answer(head))
				_, _ = io.Copy(io.Discard, reader)
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

func TestA417OnAConnectionThatIsKeptIsNotRelayedEither(t *testing.T) {
	url := keepingFront(t, func(head string) string {
		if strings.Contains(head, "Expect:") {
			return "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
		}
		return "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
	})
	for range 20 {
		client := newClient(t, url, expecting)
		client.AwaitAnswersFor(time.Minute)
		var status int
		_, err := put(client, context.Background(), strings.NewReader("bytes"), upstream.Forwarding{
			OnAnswer: func(response *http.Response) { status = response.StatusCode },
		})
		if err != nil || status != http.StatusCreated {
			t.Errorf("an upload: %d, %v", status, err)
		}
	}
}

func TestARefusalOnAConnectionThatIsKeptDrawsNoBody(t *testing.T) {
	url := keepingFront(t, func(string) string { return "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n" })
	for range 20 {
		client := newClient(t, url, expecting)
		client.AwaitAnswersFor(time.Minute)
		body := &drawn{Reader: strings.NewReader(strings.Repeat("x", 1<<20))}
		delivery, err := put(client, context.Background(), body, upstream.Forwarding{})
		if err != nil || body.bytes.Load() != 0 || delivery.IsWhole() {
			t.Errorf("%d bytes were drawn, whole: %v, %v", body.bytes.Load(), delivery.IsWhole(), err)
		}
	}
}

// TestHeadersOfTheSiteOutliveInformationalAnswers sets one before the upload is forwarded, as Caddy's header directive does.
func TestHeadersOfTheSiteOutliveInformationalAnswers(t *testing.T) {
	gitlab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Gitlab", "yes")
		w.WriteHeader(http.StatusCreated)
	}))
	client := newClient(t, gitlab.URL, expecting, gitlab)
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		if err := client.Forward(w, r, upstream.Forwarding{Caller: callerWith(token), Path: ref.EscapedPath()}); err != nil {
			t.Error(err)
		}
	}))
	defer edge.Close()
	for _, expectation := range []string{"", "100-continue"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, edge.URL, strings.NewReader("bytes"))
		if err != nil {
			t.Fatal(err)
		}
		if expectation != "" {
			request.Header.Set("Expect", expectation)
		}
		response, err := edge.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusCreated || len(response.Header.Values("Strict-Transport-Security")) != 1 ||
			response.Header.Get("X-Gitlab") != "yes" || response.Header.Get("Link") != "" {
			t.Errorf("%q: %s with %v", expectation, response.Status, response.Header)
		}
	}
}

// readHead reads a request to the end of its head.
func readHead(reader *bufio.Reader) (string, error) {
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := reader.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
	}
	return head.String(), nil
}
