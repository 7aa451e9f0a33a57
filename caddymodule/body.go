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
//
// Who reads from whom:
//
//	the connection < net/http < Caddy (request_body, access log) < callerBody < httputil.ReverseProxy < observedBody < the
//	transport's goroutine that writes to GitLab
//
// A request that is no upload: gatherBody reads it all before GitLab is asked, for bodyPatience at most. What goes on is
// bytes in memory, and nothing below applies. An upload:
//
//   - The body ends before GitLab answers. Nobody reads any more; linger and retire find nothing to do. How long GitLab may
//     take for its answer is upstream's matter (forwardTransport.pass).
//   - GitLab answers before the body ends: it refuses. RoundTrip returns, its goroutine goes on reading, and the proxy
//     relays the answer, over HTTP/1 with Connection: close. Then linger reads beside the goroutine for lingering, retire
//     ends both by a deadline that is over, the transport gives up its connection to GitLab, and net/http closes the
//     caller's.
//   - The connection to GitLab breaks. RoundTrip returns when its goroutine has, and that waits in a Read for the caller. So
//     a caller who sends nothing then holds their own exchange, and nothing at GitLab, until they send, leave, or the
//     server's read_body time-out ends. There is none unless the admin sets it: how long an upload takes is its caller's
//     matter.
//   - The caller leaves. Read fails, net/http ends the request's context, RoundTrip returns, and abandon ends the exchange
//     by a panic. finish is deferred and calls retire, so that holds for every panic.
//
// Closing the body is net/http's business alone: its Close reads on, and waits for the caller. ReverseProxy therefore closes
// nothing, and what the transport closes is the proxy's wrapper.
//
// Deadlines: over HTTP/1 there is one for each connection, which read_body sets when the head has come. gatherBody replaces
// it and takes it away when the body is whole, linger and retire replace it at the end; net/http sets it anew for the next
// request, by its idle time-out. Over HTTP/2 and 3 it is the stream's own.
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
