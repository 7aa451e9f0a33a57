package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestConnectionsHaveDefaults(t *testing.T) {
	if _, err := NewConnections(ConnectionsConfig{}); err == nil {
		t.Error("connections are made like nothing")
	}
	for given, want := range map[time.Duration][3]time.Duration{
		0: {DefaultSilence, DefaultPause, DefaultFreshness}, -1: {DefaultSilence, DefaultPause, DefaultFreshness}, 7: {7, 7, 7},
	} {
		c, err := NewConnections(ConnectionsConfig{Transport: &http.Transport{}, Silence: given, Pause: given, Freshness: given})
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]time.Duration{c.cfg.Silence, c.cfg.Pause, c.cfg.Freshness}; got != want {
			t.Errorf("%d: %v", given, got)
		}
	}
}

func TestOnlyWhatChangesNothingAndHasNoBodyIsSentTwice(t *testing.T) {
	for _, test := range []struct {
		method string
		body   bool
		want   bool
	}{
		{http.MethodGet, false, true},
		{http.MethodHead, false, true},
		{http.MethodGet, true, false},
		{http.MethodPost, false, false},
		{http.MethodPut, true, false},
		{http.MethodDelete, false, false},
	} {
		request := &http.Request{Method: test.method, Body: http.NoBody}
		if test.body {
			request.Body = &stepBody{Reader: strings.NewReader("x")}
		}
		if got := isRepeatable(request); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	if hasBody(&http.Request{}) || hasBody(&http.Request{Body: http.NoBody}) {
		t.Error("no body is one")
	}
}

func TestHostsBeyondTheBoundShareTheirConnections(t *testing.T) {
	c, err := NewConnections(ConnectionsConfig{Transport: &http.Transport{}})
	if err != nil {
		t.Fatal(err)
	}
	own := make(map[*line]bool)
	for i := range maxStorageHosts {
		own[c.line(fmt.Sprint("http://", i))] = true
	}
	shared, other := c.line("http://one-more"), c.line("http://another")
	if len(own) != maxStorageHosts || own[shared] || shared != other || !own[c.line("http://0")] {
		t.Errorf("%d hosts have their own; one more shares %v, two more share %v", len(own), own[shared], shared == other)
	}
	closed := 0
	for _, l := range c.lines {
		l.present.closeIdle = func() { closed++ }
	}
	if c.CloseIdleConnections(); closed != maxStorageHosts+1 {
		t.Errorf("%d hosts' connections were closed", closed)
	}
}

// TestACopyOfATransportHasItsOwnHTTP2: what stands in the original would give it the copy's connections.
func TestACopyOfATransportHasItsOwnHTTP2(t *testing.T) {
	var made *http.Transport
	around := func(transport http.RoundTripper) http.RoundTripper {
		made = transport.(*http.Transport)
		return transport
	}
	upgrade := func(string, *tls.Conn) http.RoundTripper { return nil }
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	newPool(ConnectionsConfig{Around: around, Transport: &http.Transport{
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{"h2": upgrade}, Protocols: protocols,
	}})
	if made.TLSNextProto["h2"] != nil || !made.ForceAttemptHTTP2 || !made.Protocols.HTTP2() {
		t.Errorf("of HTTP/2: %v, %v, %v", made.TLSNextProto, made.ForceAttemptHTTP2, made.Protocols)
	}
	newPool(ConnectionsConfig{Around: around, Transport: &http.Transport{
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{"h2": upgrade},
	}})
	if made.TLSNextProto["h2"] != nil || !made.ForceAttemptHTTP2 || made.Protocols != nil {
		t.Errorf("of HTTP/2 without a word of protocols: %v, %v, %v", made.TLSNextProto, made.ForceAttemptHTTP2, made.Protocols)
	}
	newPool(ConnectionsConfig{Around: around, Transport: &http.Transport{
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, Protocols: protocols,
	}})
	if made.TLSNextProto == nil || made.ForceAttemptHTTP2 || made.Protocols.HTTP2() {
		t.Errorf("of HTTP/1 alone: %v, %v, %v", made.TLSNextProto, made.ForceAttemptHTTP2, made.Protocols)
	}
}

// canned answers each request at once.
type canned struct {
	response *http.Response
	err      error
}

func (c canned) RoundTrip(*http.Request) (*http.Response, error) { return c.response, c.err }

func TestARequestCountsUntilItsBodyIsClosed(t *testing.T) {
	answer := func() canned {
		return canned{response: &http.Response{StatusCode: 200, ProtoMajor: 2, Body: &stepBody{Reader: strings.NewReader("")}}}
	}
	l := newStepHost(t).line
	l.cfg.Around = func(http.RoundTripper) http.RoundTripper { return answer() }
	l.present.RoundTripper = answer()
	expect := func(what string, inUse, pools, apart int) {
		t.Helper()
		if l.present.inUse != inUse || l.pools != pools || l.apart != apart {
			t.Errorf("%s: %d in use, %d pools, %d apart", what, l.present.inUse, l.pools, l.apart)
		}
	}
	response, err := l.send(new(http.Request))
	if err != nil || !l.multiplexed.Load() {
		t.Fatal(err)
	}
	expect("one is under way", 1, 1, 0)
	beside, err := l.sendApart(new(http.Request))
	if err != nil {
		t.Fatal(err)
	}
	expect("and one apart", 1, 2, 1)
	_ = response.Body.Close()
	_ = response.Body.Close() // counts once
	expect("the first is over", 0, 2, 1)
	_ = beside.Body.Close()
	expect("both are", 0, 1, 0)

	failing := canned{err: errors.New("reset")}
	l.present.RoundTripper, l.cfg.Around = failing, func(http.RoundTripper) http.RoundTripper { return failing }
	if _, err := l.send(new(http.Request)); err == nil { //nolint:bodyclose // there is none
		t.Error("no error")
	}
	if _, err := l.sendApart(new(http.Request)); err == nil { //nolint:bodyclose // there is none
		t.Error("no error apart")
	}
	expect("both have failed", 0, 1, 0)
}

func TestTheLastRequestOfARetiredPoolClosesIt(t *testing.T) {
	for name, isApart := range map[string]bool{"apart": true, "a former one": false} {
		l := newStepHost(t).line
		closed := 0
		p := &pool{closeIdle: func() { closed++ }, inUse: 2, apart: isApart}
		l.pools, l.apart = 5, 3
		p.inUse++
		l.leave(p) // not retired yet
		p.retired = true
		l.leave(p)
		if closed != 0 || l.pools != 5 || l.apart != 3 {
			t.Errorf("%s: with a request under way closed %d times, %d pools, %d apart", name, closed, l.pools, l.apart)
		}
		l.leave(p)
		if closed != 1 || l.pools != 4 || l.apart != map[bool]int{true: 2, false: 3}[isApart] {
			t.Errorf("%s: closed %d times, %d pools, %d apart", name, closed, l.pools, l.apart)
		}
	}
	l := newStepHost(t).line
	closed := 0
	p := &pool{closeIdle: func() { closed++ }, inUse: 1}
	if l.leave(p); closed != 0 || l.pools != 1 {
		t.Errorf("the present one is closed %d times, %d pools", closed, l.pools)
	}
}

func TestAnUploadTakesNoConnectionThatIsNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newStepHost(t).line
		closed := 0
		l.present.closeIdle = func() { closed++ }
		time.Sleep(DefaultFreshness - 1)
		if l.freshen(); closed != 0 {
			t.Error("a fresh one is closed")
		}
		time.Sleep(1 * time.Nanosecond)
		if l.freshen(); closed != 1 {
			t.Errorf("closed %d times", closed)
		}
		if l.freshen(); closed != 1 {
			t.Error("a new one is closed")
		}
		// One that carries another's request can't be closed, and at the bound none is added.
		l.multiplexed.Store(true)
		l.cfg.Transport.MaxConnsPerHost = 1
		l.present.inUse = 1
		before := l.present
		time.Sleep(time.Minute)
		if l.freshen(); l.present != before {
			t.Error("a connection beyond the bound")
		}
	})
}

func TestAQuarterOfTheConnectionsMayGoApart(t *testing.T) {
	for _, test := range []struct {
		bound, apart int
		want         bool
	}{
		{0, 100, true}, {1, 0, true}, {1, 1, false}, {3, 1, false}, {4, 1, false}, {8, 1, true}, {8, 2, false}, {11, 2, false}, {12, 2, true}, {12, 3, false},
	} {
		l := newStepHost(t).line
		l.cfg.Transport.MaxConnsPerHost, l.apart = test.bound, test.apart
		if got := l.mayGoApartLocked(); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

func TestAPoolIsReplacedOnlyWhereItsConnectionsGoOnTakingRequests(t *testing.T) {
	for _, test := range []struct {
		name                string
		http1, must         bool
		bound, pools, inUse int
		renewed             bool
		poolsAfter          int
	}{
		{"HTTP/1", true, true, 0, 1, 1, false, 1},
		{"unused", false, false, 0, 1, 0, true, 1},
		{"in use", false, false, 0, 1, 1, true, 2},
		{"without a bound", false, false, 0, 5, 1, true, 6},
		{"below the bound", false, false, 3, 2, 1, true, 3},
		{"at the bound", false, false, 2, 2, 1, false, 2},
		{"beyond the bound", false, false, 2, 3, 1, false, 3},
		{"at the bound, dead", false, true, 2, 2, 1, true, 3},
		{"at the bound, unused", false, false, 2, 2, 0, true, 2},
	} {
		l := newStepHost(t).line
		l.multiplexed.Store(!test.http1)
		l.cfg.Transport.MaxConnsPerHost, l.pools, l.present.inUse = test.bound, test.pools, test.inUse
		before := l.present
		older := l.renewLocked(test.must)
		if older != before || (l.present != before) != test.renewed || older.retired != test.renewed || l.pools != test.poolsAfter {
			t.Errorf("%s: renewed %v, retired %v, %d pools", test.name, l.present != before, older.retired, l.pools)
		}
	}
}
