package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// expectRefusedFor is how long no expectation is added after one that was answered 417.
const expectRefusedFor = time.Hour

// answerGrace is how long a body that no 100 has asked for waits for an answer that may be on its way.
const answerGrace = 100 * time.Millisecond

// addsExpectation reports whether the edge adds `Expect: 100-continue` to a caller's request: to an upload with a body whose
// caller sends no expectation. GitLab looks at the credential before it asks for the body (contract, section 1), so a
// refused upload costs its caller no body, and none is drawn into a dead connection at once. How long the body waits for
// the 100 is the transport's ExpectContinueTimeout.
func (c *Client) addsExpectation(r *http.Request) bool {
	return r.Method == http.MethodPut && hasBody(r) && r.ContentLength != 0 && len(r.Header.Values("Expect")) == 0 &&
		c.cfg.Now().UnixNano() >= c.refusesExpect.Load()
}

// informing relays informational answers. ReverseProxy clears all headers after each of them; those that were there before, such
// as the site's own, come back.
type informing struct {
	http.ResponseWriter
	// dropsContinue says that the caller hasn't asked for a 100 Continue (RFC 9110, section 15.2).
	dropsContinue bool
	before        http.Header
	cleared       bool
}

// WriteHeader implements http.ResponseWriter.
func (w *informing) WriteHeader(status int) {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols {
		w.cleared = true
		if status != http.StatusContinue || !w.dropsContinue {
			w.ResponseWriter.WriteHeader(status)
		}
		return
	}
	w.restore()
	w.ResponseWriter.WriteHeader(status)
}

// restore puts the headers back that were there before the last informational answer.
func (w *informing) restore() {
	if !w.cleared {
		return
	}
	w.cleared = false
	header := w.Header()
	for name, values := range w.before {
		header[name] = append(slices.Clone(values), header[name]...)
	}
}

// Unwrap serves http.ResponseController.
func (w *informing) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// sendExpecting sends a request with the edge's expectation. Where that is refused by 417 before a byte of the body was drawn,
// the request is sent once more without it (RFC 9110, section 10.1.1).
func (c *Client) sendExpecting(request *http.Request) (*http.Response, error) {
	body := &untouchedBody{ReadCloser: request.Body, grace: c.answerGrace, answered: make(chan struct{}), closed: make(chan struct{})}
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		Got100Continue: func() { body.continued.Store(true) },
	}))
	request.Body = body
	response, err := c.cfg.Transport.RoundTrip(request)
	close(body.answered)
	if err != nil {
		close(body.closed)
		return nil, err
	}
	response.Body = closingBody{response.Body, sync.OnceFunc(func() { close(body.closed) })}
	if response.StatusCode != http.StatusExpectationFailed {
		return response, nil
	}
	c.refusesExpect.Store(c.cfg.Now().Add(expectRefusedFor).UnixNano())
	if !body.takeBack() {
		return response, nil
	}
	_ = response.Body.Close()
	again := request.Clone(request.Context())
	again.Header.Del("Expect")
	again.Body = body.ReadCloser
	return c.cfg.Transport.RoundTrip(again)
}

// untouchedBody is a body that can be taken back until it is read. Its end is its owner's to close.
type untouchedBody struct {
	io.ReadCloser

	// grace is how long a body that no 100 has asked for waits for an answer that may be on its way.
	grace time.Duration
	// continued says that a 100 has come. answered is closed when an answer has, closed when its body is closed.
	continued        atomic.Bool
	answered, closed chan struct{}

	// mu guards all below; nobody reads under it.
	mu           sync.Mutex
	begun, taken bool
}

var errTakenBack = errors.New("the body is sent by another request")

func (b *untouchedBody) Read(p []byte) (int, error) {
	if !b.continued.Load() && !b.hasBegun() {
		// Either ExpectContinueTimeout is over, or this is an HTTP/1 answer on a connection that the server keeps: then
		// net/http sends the body after all (transport.go, readResponse), and its answer is here at once.
		select {
		case <-b.answered:
			<-b.closed // an error would cut the answer
			return 0, errTakenBack
		case <-time.After(b.grace):
		}
	}
	b.mu.Lock()
	b.begun = true
	taken := b.taken
	b.mu.Unlock()
	if taken {
		return 0, errTakenBack
	}
	return b.ReadCloser.Read(p)
}

func (b *untouchedBody) hasBegun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.begun
}

// Close implements io.Closer.
func (b *untouchedBody) Close() error { return nil }

// takeBack reports whether nothing of the body was read, and nothing will be.
func (b *untouchedBody) takeBack() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = !b.begun
	return b.taken
}
