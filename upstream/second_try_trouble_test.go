package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// soonAllowed asks until a question is answered: each that is asked is silent on a dead connection, and may be tried again.
func (c *crowd) soonAllowed() {
	c.t.Helper()
	answers := make(chan upstream.Answer, 100)
	for range 100 {
		go func() { answers <- ask(c.client) }() // ends with the answer, or with the client's connections
		select {
		case answer := <-answers:
			if answer.Verdict != upstream.Allowed {
				c.t.Errorf("%+v", answer)
			}
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
	c.t.Error("nobody is tried a second time")
}

// TestASecondTryThatCameToNothingLeavesTheFirstToAnothersWin has GitLab's address refuse connections for a moment.
func TestASecondTryThatCameToNothingLeavesTheFirstToAnothersWin(t *testing.T) {
	var refuses atomic.Bool
	refused := make(chan struct{}, 10)
	c := newCrowd(t, protocols[0], func(cfg *upstream.ConnectionsConfig) {
		cfg.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if refuses.Load() {
				refused <- struct{}{}
				return nil, errors.New("connection refused")
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	})
	c.warm(2)
	c.relay.Kill()
	refuses.Store(true)
	first := c.ask(1)
	<-refused
	refuses.Store(false)
	c.soonAllowed()
	c.allowed(first, 1)
}

// TestWhatShowsNoSlownessEndsNoSecondTries has the first second try end in a way that says nothing of GitLab's pace.
func TestWhatShowsNoSlownessEndsNoSecondTries(t *testing.T) {
	for name, spoil := range map[string]func(c *crowd){
		"its front answers 503": func(c *crowd) {
			c.starting.Store(true)
			before := c.asked.Load()
			_ = c.ask(1) // stays on its dead connection until another's try shows that
			await(c.t, func() bool { return c.asked.Load() > before })
			c.starting.Store(false)
		},
		"the caller leaves": func(c *crowd) {
			open := c.shut(0)
			before := c.asked.Load()
			ctx, leave := context.WithCancel(context.Background())
			left := make(chan struct{})
			go func() { // ends when the caller leaves
				defer close(left)
				c.client.Check(ctx, upstream.Question{Caller: callerWith("nobody"), Ref: ref})
			}()
			await(c.t, func() bool { return c.asked.Load() > before })
			leave()
			<-left
			open()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, protocols[0], nil)
			c.warm(3)
			c.relay.Kill()
			spoil(c)
			c.soonAllowed()
		})
	}
}

// TestAStrangersSlowQuestionLeavesTheTriesOfOthers has a stranger's second try run for as long as the test.
func TestAStrangersSlowQuestionLeavesTheTriesOfOthers(t *testing.T) {
	c := newCrowd(t, protocols[0], nil)
	c.warm(3)
	before := c.asked.Load()
	c.shut(0)
	ctx, leave := context.WithCancel(context.Background())
	left := make(chan struct{})
	go func() { // ends when the stranger leaves
		defer close(left)
		c.client.Check(ctx, upstream.Question{Caller: callerWith("nobody"), Ref: ref})
	}()
	await(t, func() bool { return c.asked.Load() == before+2 })
	c.gate.Store(nil)
	c.relay.Kill()
	answer := c.client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Granted: true})
	if answer.Verdict != upstream.Allowed {
		t.Errorf("%+v", answer)
	}
	leave()
	<-left
}

// countedConnection tells when it is closed.
type countedConnection struct {
	net.Conn
	closed func()
}

func (c *countedConnection) Close() error {
	c.closed()
	return c.Conn.Close()
}

// TestSecondTriesThatWinStayWithinTheirShareOfTheConnections has each of them keep its connection for a body that doesn't end.
func TestSecondTriesThatWinStayWithinTheirShareOfTheConnections(t *testing.T) {
	const bound = 8
	var live, peak, files atomic.Int64
	ended := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/quick":
		case files.Add(1)%2 == 1:
			<-r.Context().Done()
		default:
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			<-ended
		}
	}))
	server.Start()
	defer server.Close()
	defer close(ended)
	connections, err := upstream.NewConnections(upstream.ConnectionsConfig{
		Transport: &http.Transport{MaxConnsPerHost: bound, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connection, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			peak.Store(max(peak.Load(), live.Add(1)))
			return &countedConnection{Conn: connection, closed: sync.OnceFunc(func() { live.Add(-1) })}, nil
		}}, Silence: 10 * time.Millisecond, Pause: never,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer connections.CloseIdleConnections()
	get := func(ctx context.Context, path string) io.Closer {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := connections.RoundTrip(request)
		if err != nil {
			return nil
		}
		if path == "/quick" {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		return response.Body
	}
	for range 3 * bound {
		get(t.Context(), "/quick")
		ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer leave()
		if body := get(ctx, "/file"); body != nil {
			defer body.Close()
		}
	}
	if most := int64(bound + bound/4); peak.Load() > most {
		t.Errorf("%d connections at once, more than %d", peak.Load(), most)
	}
}
