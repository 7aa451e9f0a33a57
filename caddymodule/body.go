package caddymodule

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// callerBody is the body of a caller's request. Go's transport may go on reading it when GitLab has answered early and
// the answer was relayed; net/http forbids that once the handler has returned, and Caddy then looks at what was read
// without a lock. So all reading ends with the exchange.
type callerBody struct {
	io.ReadCloser
	controller *http.ResponseController

	// retired turns true when nobody may read any more.
	retired atomic.Bool
	// ended turns true when the body was read to its end, or can't be.
	ended atomic.Bool
	// reading is held during each Read, which waits for the caller. Nobody takes it but readers and those who end an
	// exchange.
	reading sync.Mutex
}

// lingering is how long a caller who still sends a refused upload is listened to, so that it can read the refusal
// before the connection goes. A closed connection with unread bytes is reset, and the answer lost with it (RFC 9112,
// section 9.6). net/http waits as long.
const lingering = 500 * time.Millisecond

// guardBody puts a callerBody in the place of the request's body, if there is one.
func guardBody(w http.ResponseWriter, r *http.Request) *callerBody {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	body := &callerBody{ReadCloser: r.Body, controller: http.NewResponseController(w)}
	r.Body = body
	return body
}

func (b *callerBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.retired.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended.Store(true)
	}
	return n, err
}

// isLeft reports whether there is a body that wasn't read to its end.
func (b *callerBody) isLeft() bool { return b != nil && !b.ended.Load() }

// linger sends what was answered and drops what the caller still sends, for a bounded time. HTTP/2 and 3 end a single
// request without it.
func (b *callerBody) linger(r *http.Request) {
	if !b.isLeft() || r.ProtoMajor != 1 || b.controller.Flush() != nil {
		return
	}
	if b.controller.SetReadDeadline(time.Now().Add(lingering)) != nil {
		return
	}
	// The transport may read as well; together they drop all of it.
	_, _ = io.Copy(io.Discard, b)
}

// retire ends all reading, and returns when none is going on. Where the server can't interrupt a Read, it waits for
// the caller, as the server itself would.
func (b *callerBody) retire() {
	if b == nil {
		return
	}
	b.retired.Store(true)
	if !b.reading.TryLock() {
		_ = b.controller.SetReadDeadline(time.Unix(1, 0))
		b.reading.Lock()
	}
	b.reading.Unlock()
}
