package caddymodule

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// closedBody notes that it was closed.
type closedBody struct {
	io.Reader
	closed atomic.Bool
}

func (b *closedBody) Close() error {
	b.closed.Store(true)
	return nil
}

// answering is a transport that always answers with one body.
type answering struct{ body io.ReadCloser }

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	header := http.Header{"Content-Disposition": {"attachment"}}
	return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, Header: header, Body: a.body, Request: r, ContentLength: 1}, nil
}

// downloadOf is a download with that body.
func downloadOf(t *testing.T, body io.ReadCloser) *upstream.Download {
	t.Helper()
	base := &url.URL{Scheme: "https", Host: "gitlab.example.com"}
	client, err := upstream.NewClient(upstream.Config{Base: base, Transport: answering{body}, StorageTransport: answering{body}})
	if err != nil {
		t.Fatal(err)
	}
	// No probe runs on: there is nothing to learn of this one.
	client.UseBreakers(upstream.NewBreakers(upstream.BreakerConfig{Background: func(func(context.Context)) bool { return false }}))
	download, err := client.Fetch(context.Background(), upstream.Caller{}, upstream.Ref{Project: "24", Package: "p", Version: "1", File: "f"})
	if err != nil {
		t.Fatal(err)
	}
	return download
}

// TestWhatTheLeaderReadsIsTheirsToClose ends the edge while a leader reads what was handed over: closing it beside them
// would be a race.
func TestWhatTheLeaderReadsIsTheirsToClose(t *testing.T) {
	body := new(closedBody)
	given := downloadOf(t, body)
	closing, closeEdge := context.WithCancel(context.Background())
	defer closeEdge()
	fl := newFlight("app.bin", cache.Generation{})
	fl.state, fl.leader.ctx = &state{ctx: closing}, context.Background()
	ended := make(chan struct{})
	go func() { // ends with the edge
		defer close(ended)
		fl.giveLeader(given)
	}()
	<-fl.handover
	closeEdge()
	<-ended
	if body.closed.Load() {
		t.Error("it was closed while the leader had it")
	}
	// A leader who has left takes nothing.
	left, leave := context.WithCancel(context.Background())
	leave()
	fl = newFlight("other.bin", cache.Generation{})
	fl.state, fl.leader.ctx = &state{ctx: context.Background()}, left
	fl.giveLeader(given)
	if !body.closed.Load() {
		t.Error("what nobody took wasn't closed")
	}
}

// TestAFlightOfANewerGenerationIsNotReplacedByAnOlderOne begins a flight in the generation that was read before a publish,
// when another has begun after it.
func TestAFlightOfANewerGenerationIsNotReplacedByAnOlderOne(t *testing.T) {
	var all flights
	older := cache.Generation{}
	newer := older.Next()
	if !all.add(newFlight("app.bin", older), nil) {
		t.Fatal("the first did not begin")
	}
	fl := newFlight("app.bin", newer)
	if !all.add(fl, nil) {
		t.Fatal("after a publish none began")
	}
	if all.add(newFlight("app.bin", older), nil) || all.running(fl.key, newer, nil) != fl {
		t.Error("the newer flight was replaced")
	}
}

// newFlight is a flight that hasn't begun, of no edge.
func newFlight(file string, generation cache.Generation) *flight {
	return (*Handler)(nil).newFlight(nil, nil, target{key: cache.Key{File: file}}, generation, leader{})
}
