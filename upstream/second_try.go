package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// isRepeatable reports whether a request may be sent twice (RFC 9110, section 9.2.2), and is small enough to.
func isRepeatable(request *http.Request) bool {
	return requesterOf(request.Context()) != aVisitor && (request.Method == http.MethodGet || request.Method == http.MethodHead) && !hasBody(request)
}

// tries says when a request to a host may be tried a second time: one at a time, and for Config.Pause none after one that
// has shown that the host is only slow.
//
// Callers choose how long the answer to a forwarded request takes. So those requests have tries of their own, which can't
// use up those of checks and fetches, and have the pause after each. Strangers' checks and fetches have tries of their own, too.
type tries struct {
	running   bool
	notBefore time.Time
}

// secondTry is a request that is tried a second time, on a new connection, if one that was used before doesn't answer. Who
// answers first counts, and the other is given up. If that is the new connection, all older ones are given up: whoever is
// silent on one then, or turns out so later, is sent once more.
type secondTry struct {
	line    *line
	request *http.Request
	by      requester
	// wins is line.wins before the first try: with more, its connection is an older one.
	wins int
	// cancelFirst ends the first try, cancelSecond the second.
	cancelFirst, cancelSecond context.CancelFunc
	second                    context.Context

	// mu guards all below. The line's lock is never taken under it.
	mu sync.Mutex
	// silence fires when the first try's connection has been silent for too long; nil or stopped while that is a new one.
	silence *time.Timer
	// heard says that the first try's answer has begun, over that it has ended and no other is wanted.
	heard, over bool
	// again says that the first try was given up, and is sent once more.
	again bool
	// ended is closed when the second try has ended; nil if none has begun.
	ended chan struct{}
	// won is the second try's answer, if it came first.
	won *http.Response
}

// sendTwice sends a request that may be tried a second time.
func (l *line) sendTwice(request *http.Request) (*http.Response, error) {
	l.mu.Lock()
	wins := l.wins
	l.mu.Unlock()
	first, cancelFirst := context.WithCancel(request.Context())
	second, cancelSecond := context.WithCancel(request.Context())
	t := &secondTry{
		line: l, request: request, by: requesterOf(request.Context()), wins: wins,
		cancelFirst: cancelFirst, cancelSecond: cancelSecond, second: second,
	}
	traced := httptrace.WithClientTrace(first, &httptrace.ClientTrace{
		GotConn:              func(info httptrace.GotConnInfo) { t.began(info.Reused) },
		GotFirstResponseByte: t.isHeard,
	})
	response, err := l.send(request.WithContext(traced))
	return t.end(response, err)
}

// began notes that the first try is being sent. net/http may do so a second time, after a connection that was closed.
func (t *secondTry) began(reused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.silence != nil {
		t.silence.Stop()
	}
	if reused && !t.over {
		t.silence = time.AfterFunc(t.line.cfg.Silence, t.isSilent) // fires once, and ends with the second try
	}
}

func (t *secondTry) isHeard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.silence != nil {
		t.silence.Stop()
	}
	t.heard = true
	if t.won == nil && !t.again {
		t.cancelSecond() // the connection is alive
	}
}

// isSilent tries the request a second time, if that may be.
func (t *secondTry) isSilent() {
	older, mayTry := t.line.noteSilent(t)
	t.mu.Lock()
	wanted := !t.over && !t.heard
	over := t.over
	if wanted && mayTry {
		t.ended = make(chan struct{})
	}
	t.mu.Unlock()
	switch {
	case mayTry && wanted:
		t.try()
	case mayTry:
		t.line.endTry(t, false, false)
	case older:
		t.sendAgain()
	}
	if over {
		t.line.forget(t)
	}
}

// try makes the second try. Its answer counts if something of the server's own comes before a byte of the first's: what
// stands in front of a server that doesn't work says nothing of the connection.
func (t *secondTry) try() {
	t.mu.Lock()
	ended := t.ended
	t.mu.Unlock()
	defer close(ended)
	var asked atomic.Bool
	traced := httptrace.WithClientTrace(t.second, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { asked.Store(true) }})
	response, err := t.line.sendApart(t.request.WithContext(traced))
	answered := err == nil && evidenceOfStatus(response.StatusCode) == showsLife
	t.mu.Lock()
	won := answered && !t.heard && !t.over
	if won {
		t.won = response
	} else {
		t.ended = nil // another's win may still have the first sent once more
	}
	// Slow is a server that answers the first, or the second too late, or nobody for the whole time-out. Its front's 503, a broken connection, or a
	// caller who left show nothing.
	slow := t.heard || answered || errors.Is(context.Cause(t.request.Context()), errHeaderTimeout)
	t.mu.Unlock()
	if err == nil && !won {
		_ = response.Body.Close()
	}
	t.line.endTry(t, asked.Load() && slow, won)
	if won {
		t.cancelFirst() // last: who asks after this answer must find no older connection
	}
}

// sendAgain gives the first try up, for its connection is an older one than that which has answered in its place.
func (t *secondTry) sendAgain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.heard || t.ended != nil {
		return
	}
	t.again = true
	t.cancelFirst()
}

// end returns the answer, once the first try has one or has ended.
func (t *secondTry) end(response *http.Response, err error) (*http.Response, error) {
	t.mu.Lock()
	if ended := t.ended; err != nil && ended != nil && t.won == nil {
		// The connection broke. The second try ends with its answer, or with the request's context.
		t.mu.Unlock()
		<-ended
		t.mu.Lock()
	}
	t.over = true
	if t.silence != nil {
		t.silence.Stop()
	}
	won, again := t.won, t.again
	t.mu.Unlock()
	t.line.forget(t)

	if (won != nil || again) && err == nil {
		_ = response.Body.Close()
	}
	switch {
	case won != nil:
		won.Body = closingBody{won.Body, t.cancelBoth}
		return won, nil
	case again:
		response, err = t.line.send(t.request.WithContext(t.second))
	default:
		t.cancelSecond()
	}
	if err != nil {
		t.cancelBoth()
		return nil, err
	}
	response.Body = closingBody{response.Body, t.cancelBoth}
	return response, nil
}

func (t *secondTry) cancelBoth() {
	t.cancelFirst()
	t.cancelSecond()
}

// noteSilent notes that a connection doesn't answer. older says that it is older than one that has answered a second try.
// With mayTry the request must be tried a second time, and endTry called.
func (l *line) noteSilent(t *secondTry) (older, mayTry bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent[t] = struct{}{}
	if l.wins != t.wins {
		return true, false
	}
	tries := &l.tries[t.by]
	if tries.running || time.Now().Before(tries.notBefore) || !l.mayGoApartLocked() {
		return false, false
	}
	tries.running = true
	return false, true
}

// forget ends noteSilent.
func (l *line) forget(t *secondTry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.silent, t)
}

// endTry notes what a second try has shown: nothing, where the server wasn't reached, else that older connections are dead
// (won), or that the server is slow.
func (l *line) endTry(t *secondTry, asked, won bool) {
	l.mu.Lock()
	tries := &l.tries[t.by]
	tries.running = false
	if asked && (!won || t.by == aCaller) {
		tries.notBefore = time.Now().Add(l.cfg.Pause)
	}
	if !won {
		l.mu.Unlock()
		return
	}
	l.wins++
	older := l.renewLocked(true)
	others := make([]*secondTry, 0, len(l.silent))
	for other := range l.silent {
		others = append(others, other)
	}
	l.mu.Unlock()
	older.closeIdle()
	for _, other := range others {
		other.sendAgain()
	}
}
