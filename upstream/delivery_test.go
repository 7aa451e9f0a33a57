package upstream_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// put forwards an upload, from how's address if there is one, and returns what became of it.
func put(client *upstream.Client, ctx context.Context, body io.Reader, how upstream.Forwarding) (*upstream.Delivery, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPut, "https://edge.example.com/x", body)
	address := how.Caller.ClientIP
	how.Caller, how.Path, how.Delivery = callerWith(token), ref.EscapedPath(), new(upstream.Delivery)
	how.Caller.ClientIP = cmp.Or(address, how.Caller.ClientIP)
	err := client.Forward(httptest.NewRecorder(), r, how)
	return how.Delivery, err
}

// brokenBody fails after some bytes.
type brokenBody struct{ left int }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errors.New("malformed chunked encoding")
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

func TestADeliveryTellsWhatCanHaveReachedGitLab(t *testing.T) {
	taken := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusBadGateway)
	}
	for name, test := range map[string]struct {
		body          io.Reader
		dead          bool
		whole, broken bool
	}{
		"a whole body":                      {strings.NewReader("bytes"), false, true, false},
		"a whole body in chunks":            {struct{ io.Reader }{strings.NewReader("bytes")}, false, true, false},
		"no body at all":                    {http.NoBody, false, true, false},
		"a body that breaks off":            {&brokenBody{5}, false, false, true},
		"nobody is there":                   {strings.NewReader("bytes"), true, false, false},
		"nobody is there, for an empty one": {http.NoBody, true, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(taken))
			url := server.URL
			if test.dead {
				url = "http://127.0.0.1:1"
			}
			client := newClient(t, url, nil, server)
			delivery, err := put(client, context.Background(), test.body, upstream.Forwarding{})
			if delivery.IsWhole() != test.whole || (delivery.Broken() != nil) != test.broken {
				t.Errorf("whole %v, broken %v, %v", delivery.IsWhole(), delivery.Broken(), err)
			}
			var unreachable *upstream.UnreachableError
			if test.broken && (!errors.As(err, &unreachable) || unreachable.Trouble.IsOutage()) {
				t.Errorf("the caller's own trouble: %v", err)
			}
		})
	}
}

// TestTheAnswerToAWholeBodyIsAwaitedAfterItsCallerHasLeft lets callers leave before and after their body's end.
func TestTheAnswerToAWholeBodyIsAwaitedAfterItsCallerHasLeft(t *testing.T) {
	for name, waits := range map[string]bool{"with a place to wait": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			got, answer := make(chan struct{}), make(chan struct{})
			var gone atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				close(got)
				select {
				case <-answer:
				case <-r.Context().Done():
					gone.Store(true)
				}
				w.WriteHeader(http.StatusCreated)
			}))
			client := newClient(t, server.URL, nil, server)
			ctx, leave := context.WithCancel(context.Background())
			var released, status atomic.Int64
			done := make(chan error, 1)
			asked := make(chan struct{})
			go func() { // ends with the answer
				defer func() { _ = recover() }() // the relaying to a caller who has left
				_, err := put(client, ctx, strings.NewReader("bytes"), upstream.Forwarding{
					AwaitAnswer: func() (func(), bool) { defer close(asked); return func() { released.Add(1) }, waits },
					OnAnswer:    func(response *http.Response) { status.Store(int64(response.StatusCode)) },
				})
				done <- err
			}()
			<-got
			leave()
			<-asked
			if waits {
				close(answer)
			}
			err := <-done
			if waits && (err != nil || status.Load() != http.StatusCreated || released.Load() != 1) {
				t.Errorf("%v, status %d, released %d times", err, status.Load(), released.Load())
			}
			if !waits && (err == nil || status.Load() != 0) {
				t.Errorf("%v, status %d", err, status.Load())
			}
		})
	}
}

// TestStrangersHoldHalfOfTheConnectionsAtMost has strangers hold uploads open.
func TestStrangersHoldHalfOfTheConnectionsAtMost(t *testing.T) {
	var open atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			open.Add(1)
			<-release
			return
		}
		w.Header().Set("Content-Disposition", "attachment")
	}))
	client := newClient(t, server.URL, func(c *upstream.Config) {
		c.MaxConnections, c.HeaderTimeout = 4, 200*time.Millisecond
		c.Transport.(*http.Transport).MaxConnsPerHost = 4
	}, server)
	results := make(chan error, 6)
	for i := range 6 {
		go func() { // ends with its time-out or the release
			stranger := upstream.Caller{ClientIP: fmt.Sprintf("192.0.2.%d", i)}
			_, err := put(client, context.Background(), strings.NewReader("bytes"), upstream.Forwarding{Caller: stranger})
			results <- err
		}()
	}
	for range 4 {
		var unreachable *upstream.UnreachableError
		if err := <-results; !errors.As(err, &unreachable) || unreachable.Trouble != upstream.TroubleEdge || unreachable.Status != http.StatusServiceUnavailable {
			t.Errorf("%v", err)
		}
	}
	if open.Load() != 2 {
		t.Errorf("%d uploads of strangers are under way", open.Load())
	}
	if answer := ask(client); answer.Verdict != upstream.Allowed {
		t.Errorf("a question beside them: %+v", answer)
	}
	go func() { // ends with the release
		_, err := put(client, context.Background(), strings.NewReader("bytes"), upstream.Forwarding{Standing: upstream.Trusted})
		results <- err
	}()
	for open.Load() != 3 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	for range 3 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// TestTheRestOfAnAnswerEndsWithItsCaller has a GitLab that answers an upload and never ends the answer's body.
func TestTheRestOfAnAnswerEndsWithItsCaller(t *testing.T) {
	left := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
	}))
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	var waits atomic.Int64
	how := upstream.Forwarding{
		OnAnswer:    func(*http.Response) { leave() },
		AwaitAnswer: func() (func(), bool) { waits.Add(1); return func() { waits.Add(-1) }, true },
	}
	func() {
		defer func() { _ = recover() }() // the answer breaks off
		_, _ = put(newClient(t, server.URL, nil, server), ctx, strings.NewReader("bytes"), how)
	}()
	select {
	case <-left:
	case <-time.After(20 * time.Second):
		t.Error("the answer's body is waited for, for nobody")
	}
	if n := waits.Load(); n != 0 {
		t.Errorf("%d waits go on", n)
	}
}
