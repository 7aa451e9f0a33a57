package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stepHost is a host of which each request is answered step by step, in a bubble of synctest.
type stepHost struct {
	t       *testing.T
	line    *line
	arrived chan *stepCall
}

// stepCall is a request that has been sent. It ends with an answer, or with its context unless it is deaf.
type stepCall struct {
	request *http.Request
	trace   *httptrace.ClientTrace
	result  chan stepResult
	deaf    atomic.Bool
}

type stepResult struct {
	response *http.Response
	err      error
}

// stepBody is an answer's body that knows whether it was closed.
type stepBody struct {
	io.Reader
	closed atomic.Bool
}

func (b *stepBody) Close() error {
	b.closed.Store(true)
	return nil
}

func (h *stepHost) RoundTrip(request *http.Request) (*http.Response, error) {
	call := &stepCall{request: request, trace: httptrace.ContextClientTrace(request.Context()), result: make(chan stepResult, 1)}
	h.arrived <- call
	select {
	case <-request.Context().Done():
		if !call.deaf.Load() {
			return nil, request.Context().Err()
		}
		got := <-call.result
		return got.response, got.err
	case got := <-call.result:
		return got.response, got.err
	}
}

func newStepHost(t *testing.T) *stepHost {
	t.Helper()
	h := &stepHost{t: t, arrived: make(chan *stepCall, 10)}
	connections, err := NewConnections(ConnectionsConfig{
		Transport: &http.Transport{}, Around: func(http.RoundTripper) http.RoundTripper { return h }, Silence: time.Second, Pause: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.line = connections.line("http://host")
	return h
}

// get sends a request that may be sent twice.
func (h *stepHost) get(ctx context.Context) <-chan stepResult {
	h.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://host/f", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	result := make(chan stepResult, 1)
	go func() { // ends with the answer
		response, err := h.line.sendTwice(request) //nolint:bodyclose // whoever takes the result
		result <- stepResult{response, err}
	}()
	return result
}

// next returns the next request that is sent; nil if none is.
func (h *stepHost) next() *stepCall {
	synctest.Wait()
	select {
	case call := <-h.arrived:
		return call
	default:
		return nil
	}
}

// silent has a request be silent on a connection that was used before, and returns the second try.
func (h *stepHost) silent(first *stepCall) (second *stepCall) {
	h.t.Helper()
	first.on(true)
	time.Sleep(time.Second)
	second = h.next()
	if second == nil {
		h.t.Fatal("no second try is made")
	}
	return second
}

func (c *stepCall) on(reused bool) { c.trace.GotConn(httptrace.GotConnInfo{Reused: reused}) }

func (c *stepCall) firstByte() { c.trace.GotFirstResponseByte() }

func (c *stepCall) answers(status int) *stepBody {
	body := &stepBody{Reader: strings.NewReader("x")}
	c.result <- stepResult{response: &http.Response{StatusCode: status, Body: body, ProtoMajor: 1}}
	return body
}

func (c *stepCall) fails() { c.result <- stepResult{err: errors.New("connection reset")} }

func (c *stepCall) isGivenUp() bool { return c.request.Context().Err() != nil }

// expect says which answer a request gets, and closes it.
func (h *stepHost) expect(result <-chan stepResult, body *stepBody) {
	h.t.Helper()
	synctest.Wait()
	select {
	case got := <-result:
		switch {
		case body == nil && got.err == nil:
			h.t.Error("answered and no error")
		case body != nil && (got.err != nil || body.closed.Load()):
			h.t.Errorf("%v; the body is closed: %v", got.err, body.closed.Load())
		case body != nil:
			_ = got.response.Body.Close()
			if !body.closed.Load() {
				h.t.Error("it was another one's answer")
			}
		}
	default:
		h.t.Error("neither answer nor error")
	}
}

// expectRest says what is left when all requests are over: how many second tries have won, and whether none is made for a pause.
func (h *stepHost) expectRest(wins int, pauses bool) {
	h.t.Helper()
	synctest.Wait()
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	tries := h.line.tries[theEdge]
	if h.line.wins != wins || tries.running || tries.notBefore.After(time.Now()) != pauses || len(h.line.silent) != 0 || h.line.apart != 0 || h.line.pools != 1 || h.line.present.inUse != 0 {
		h.t.Errorf("%d wins, running %v, not before %v, %d silent, %d apart, %d pools, %d in use", h.line.wins, tries.running, tries.notBefore, len(h.line.silent), h.line.apart, h.line.pools, h.line.present.inUse)
	}
}

func TestASecondTryThatIsAnsweredFirstTakesTheFirstsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newStepHost(t)
		result := h.get(t.Context())
		first := h.next()
		second := h.silent(first)
		second.on(false)
		body := second.answers(200)
		synctest.Wait()
		if !first.isGivenUp() || second.isGivenUp() {
			t.Errorf("given up: the first %v, the second %v", first.isGivenUp(), second.isGivenUp())
		}
		first.firstByte() // a late one
		if second.isGivenUp() {
			t.Error("a late byte of the first's ends the second's answer")
		}
		h.expect(result, body)
		if !second.isGivenUp() {
			t.Error("the request goes on when its body is closed")
		}
		h.expectRest(1, false)
	})
}

func TestAnAnswerOfTheFirstsThatComesAfterAllIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newStepHost(t)
		result := h.get(t.Context())
		first := h.next()
		first.deaf.Store(true)
		second := h.silent(first)
		second.on(false)
		body := second.answers(200)
		synctest.Wait()
		late := first.answers(200)
		h.expect(result, body)
		if !late.closed.Load() {
			t.Error("the first's body stays open")
		}
		h.expectRest(1, false)
	})
}

func TestAFirstThatIsAnsweredFirstEndsTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newStepHost(t)
		result := h.get(t.Context())
		first := h.next()
		second := h.silent(first)
		second.deaf.Store(true)
		second.on(false)
		first.firstByte()
		if !second.isGivenUp() {
			t.Error("the second goes on")
		}
		late := second.answers(200)
		synctest.Wait()
		if !late.closed.Load() {
			t.Error("the second's body stays open")
		}
		body := first.answers(200)
		h.expect(result, body)
		if !first.isGivenUp() {
			t.Error("the request goes on when its body is closed")
		}
		h.expectRest(0, true)
	})
}

// TestAnAnswerIsNotHeldBackByASecondTryThatGoesOn has a first answer of which no first byte was told.
func TestAnAnswerIsNotHeldBackByASecondTryThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newStepHost(t)
		result := h.get(t.Context())
		first := h.next()
		second := h.silent(first)
		second.deaf.Store(true)
		second.on(false)
		body := first.answers(200)
		synctest.Wait()
		if !second.isGivenUp() {
			t.Error("nobody wants the second any more, and it goes on")
		}
		late := second.answers(200)
		synctest.Wait()
		if !late.closed.Load() {
			t.Error("the second's body stays open")
		}
		h.expect(result, body)
		h.expectRest(0, true) // it was answered, too late
	})
}

func TestWhatASecondTryShowsOfTheServersPace(t *testing.T) {
	for name, test := range map[string]struct {
		end    func(cancel context.CancelCauseFunc, first, second *stepCall)
		pauses bool
	}{
		"its front's 503 nothing": {func(_ context.CancelCauseFunc, _, second *stepCall) { second.on(false); second.answers(503) }, false},
		"a reset nothing":         {func(_ context.CancelCauseFunc, _, second *stepCall) { second.on(false); second.fails() }, false},
		"no connection nothing":   {func(_ context.CancelCauseFunc, first, _ *stepCall) { first.firstByte() }, false},
		"a first byte slowness":   {func(_ context.CancelCauseFunc, first, second *stepCall) { second.on(false); first.firstByte() }, true},
		"no answer slowness": {func(cancel context.CancelCauseFunc, _, second *stepCall) {
			second.on(false)
			cancel(errHeaderTimeout)
		}, true},
		"a caller who leaves nothing": {func(cancel context.CancelCauseFunc, _, second *stepCall) {
			second.on(false)
			cancel(nil)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newStepHost(t)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				result := h.get(ctx)
				first := h.next()
				first.deaf.Store(true)
				test.end(cancel, first, h.silent(first))
				synctest.Wait()
				h.expect(result, first.answers(200))
				h.expectRest(0, test.pauses)
			})
		})
	}
}

func TestABrokenConnectionLeavesTheRequestToItsSecondTry(t *testing.T) {
	for name, answered := range map[string]bool{"that is answered": true, "that fails, too": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newStepHost(t)
				result := h.get(t.Context())
				first := h.next()
				second := h.silent(first)
				second.on(false)
				first.fails()
				synctest.Wait()
				var body *stepBody
				if answered {
					body = second.answers(200)
				} else {
					second.fails()
				}
				h.expect(result, body)
				if !first.isGivenUp() || !second.isGivenUp() {
					t.Error("a context outlives the request")
				}
				h.expectRest(map[bool]int{true: 1}[answered], false)
			})
		})
	}
}

func TestOnlyAConnectionThatWasUsedBeforeIsDoubted(t *testing.T) {
	for name, begin := range map[string]func(*stepCall){
		"new":                           func(c *stepCall) { c.on(false) },
		"new after one that was closed": func(c *stepCall) { c.on(true); time.Sleep(time.Second / 2); c.on(false) },
		"answered":                      func(c *stepCall) { c.on(true); c.firstByte() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newStepHost(t)
				result := h.get(t.Context())
				first := h.next()
				begin(first)
				time.Sleep(time.Minute)
				if h.next() != nil {
					t.Error("the request is tried a second time")
				}
				h.expect(result, first.answers(200))
				h.expectRest(0, false)
			})
		})
	}
}

// TestWhoIsSilentOnAnOlderConnectionIsSentAgain has three requests be silent on old connections. One of them is tried a second
// time, and its answer shows that the others' connections are dead, too.
func TestWhoIsSilentOnAnOlderConnectionIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newStepHost(t)
		results, firsts := make([]<-chan stepResult, 0, 3), make([]*stepCall, 0, 3)
		for range 3 {
			results = append(results, h.get(t.Context()))
			firsts = append(firsts, h.next())
		}
		firsts[1].deaf.Store(true)
		second := h.silent(firsts[0])
		firsts[1].on(true)
		time.Sleep(time.Second) // silent, and not tried: another is
		second.on(false)
		body := second.answers(200)
		synctest.Wait()
		if !firsts[1].isGivenUp() || firsts[2].isGivenUp() {
			t.Errorf("given up: who is silent %v, who isn't yet %v", firsts[1].isGivenUp(), firsts[2].isGivenUp())
		}
		firsts[1].firstByte()
		late := firsts[1].answers(200)
		again := h.next()
		if again == nil || again.isGivenUp() || !late.closed.Load() {
			t.Fatalf("sent again: %+v; the late answer is closed: %v", again, late.closed.Load())
		}
		h.expect(results[1], again.answers(200))
		if !again.isGivenUp() {
			t.Error("the request goes on when its body is closed")
		}
		// Whoever turns out to be silent later is sent again at once.
		firsts[2].on(true)
		time.Sleep(time.Second)
		again = h.next()
		if again == nil || !firsts[2].isGivenUp() {
			t.Fatal("who is silent later isn't sent again")
		}
		again.fails()
		h.expect(results[2], nil)
		if !again.isGivenUp() {
			t.Error("a context outlives the request")
		}
		h.expect(results[0], body)
		h.expectRest(1, false)
	})
}

func TestASilenceThatIsOverWhenItIsNoticedChangesNothing(t *testing.T) {
	for name, state := range map[string]struct{ heard, over bool }{"answered": {true, false}, "ended": {false, true}} {
		for older, wins := range map[bool]int{false: 0, true: 1} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newStepHost(t)
					h.line.wins = wins
					first, cancelFirst := context.WithCancel(t.Context())
					second, cancelSecond := context.WithCancel(t.Context())
					defer cancelSecond()
					defer cancelFirst()
					tried := &secondTry{
						line: h.line, request: (&http.Request{Method: http.MethodGet}).WithContext(t.Context()), second: second,
						cancelFirst: cancelFirst, cancelSecond: cancelSecond, heard: state.heard, over: state.over,
					}
					tried.isSilent()
					if h.next() != nil || first.Err() != nil || tried.again {
						t.Errorf("older: %v: the request is sent again", older)
					}
					if tried.ended != nil {
						t.Error("a second try is waited for that nobody makes")
					}
					h.line.forget(tried)
					if state.over && len(h.line.silent) > 0 {
						t.Error("a request that is over counts as silent")
					}
					h.expectRest(wins, false)
				})
			})
		}
	}
}

func TestARequestThatIsOverIsNotRememberedAsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newStepHost(t)
		tried := &secondTry{line: h.line, over: true}
		tried.isSilent()
		h.expectRest(0, false)
	})
}

func TestWhoHasASecondTryOfTheirOwnIsNotSentAgainByAnothers(t *testing.T) {
	for name, state := range map[string]*secondTry{
		"over": {over: true}, "answered": {heard: true}, "on a second try": {ended: make(chan struct{})},
	} {
		state.cancelFirst = func() { t.Errorf("%s: the first is given up", name) }
		if state.sendAgain(); state.again {
			t.Errorf("%s: it is sent again", name)
		}
	}
}

func TestNoSecondTryIsMadeUntilThePauseIsOverOrBeyondItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newStepHost(t)
		l := h.line
		mayTry := func() bool {
			_, may := l.noteSilent(&secondTry{line: l})
			l.tries[theEdge].running = false
			return may
		}
		l.tries[theEdge].notBefore = time.Now().Add(time.Nanosecond)
		if mayTry() {
			t.Error("tried before the pause is over")
		}
		time.Sleep(time.Nanosecond)
		if !mayTry() {
			t.Error("not tried when the pause is over")
		}
		l.cfg.Transport.MaxConnsPerHost, l.apart = 1, 1
		if mayTry() {
			t.Error("tried beyond the share of connections")
		}
	})
}

func TestACallersOwnSecondTryHasThePauseAlsoAfterItHasWon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for by, pauses := range map[requester]bool{theEdge: false, aStranger: false, aCaller: true} {
			l := newStepHost(t).line
			l.endTry(&secondTry{line: l, by: by}, true, true)
			if got := l.tries[by].notBefore; !got.Equal(map[bool]time.Time{true: time.Now().Add(time.Minute)}[pauses]) {
				t.Errorf("%d: not before %v", by, got)
			}
		}
	})
}

func TestAConnectionThatIsDeadIsReplacedAlsoBeyondTheBound(t *testing.T) {
	l := newStepHost(t).line
	l.cfg.Transport.MaxConnsPerHost = 1
	l.multiplexed.Store(true)
	older := l.present
	older.inUse = 1
	l.endTry(&secondTry{line: l}, true, true)
	if l.present == older || !older.retired {
		t.Error("requests still go to a dead connection")
	}
}
