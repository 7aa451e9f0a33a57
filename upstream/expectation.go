package upstream

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// expectRefusedFor is how long no expectation is added after one that was answered 417.
const expectRefusedFor = time.Hour

// addsExpectation reports whether the edge adds `Expect: 100-continue` to a caller's request: to an upload with a body whose
// caller sends no expectation. GitLab looks at the credential before it asks for the body, so a refused upload costs its
// caller no body, and none is drawn into a dead connection at once. How long the body waits for the 100 is the transport's
// ExpectContinueTimeout.
func (c *Client) addsExpectation(r *http.Request) bool {
	return r.Method == http.MethodPut && hasBody(r) && r.ContentLength != 0 && len(r.Header.Values("Expect")) == 0 &&
		c.cfg.Now().UnixNano() >= c.refusesExpect.Load()
}

// withoutContinue drops 100 Continue, for callers who haven't asked for it (RFC 9110, section 15.2).
type withoutContinue struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w withoutContinue) WriteHeader(status int) {
	if status != http.StatusContinue {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap serves http.ResponseController.
func (w withoutContinue) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// sendExpecting sends a request with the edge's expectation. Where that is refused by 417 before a byte of the body was drawn,
// the request is sent once more without it (RFC 9110, section 10.1.1).
func (c *Client) sendExpecting(request *http.Request) (*http.Response, error) {
	body := &untouchedBody{ReadCloser: request.Body}
	request.Body = body
	response, err := c.cfg.Transport.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusExpectationFailed {
		return response, err
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

	// mu guards all below; nobody reads under it.
	mu           sync.Mutex
	begun, taken bool
}

var errTakenBack = errors.New("the body is sent by another request")

func (b *untouchedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.begun = true
	taken := b.taken
	b.mu.Unlock()
	if taken {
		return 0, errTakenBack
	}
	return b.ReadCloser.Read(p)
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
