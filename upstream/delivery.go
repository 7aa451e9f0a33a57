package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// Delivery is what became of a forwarded request's body. It is safe for concurrent use: the transport may go on reading the
// body while GitLab's answer is being relayed.
type Delivery struct {
	// written turns true when all of the request has gone to GitLab, ended when the body's end was read.
	written, ended atomic.Bool
	// broken is why the body can't be read to its end; nil while it can.
	broken  atomic.Pointer[error]
	hasBody bool
	// onWhole, if set, is called when IsWhole turns true. It is set before the request is sent.
	onWhole func()
}

// IsWhole reports whether all of the request was sent: GitLab may have taken it, whatever came of its answer. Of what never
// reached a connection nothing was sent.
func (d *Delivery) IsWhole() bool {
	if d.hasBody {
		return d.ended.Load()
	}
	return d.written.Load()
}

// Broken is why the caller's body could not be read to its end; nil if it could.
func (d *Delivery) Broken() error {
	if err := d.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// observe returns the body, watched. length is -1 if it isn't known.
func (d *Delivery) observe(body io.ReadCloser, length int64, onBody func([]byte)) io.ReadCloser {
	d.hasBody = true
	return &observedBody{ReadCloser: body, delivery: d, left: length, onBody: onBody}
}

// observedBody shows the bytes of a request body as they are read. One goroutine reads it.
type observedBody struct {
	io.ReadCloser
	delivery *Delivery
	// left is how much is still to come; negative if nobody knows.
	left   int64
	onBody func([]byte)
}

func (b *observedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	// With a length announced, the last read needn't meet the end. A body that ends before its length is an error of
	// net/http's.
	if ended := errors.Is(err, io.EOF); ended || b.left == 0 {
		b.delivery.end()
	} else if err != nil {
		b.delivery.broken.Store(&err)
	}
	if b.onBody != nil && n > 0 {
		b.onBody(p[:n])
	}
	return n, err
}

// end notes that the body's end was read.
func (d *Delivery) end() {
	if !d.ended.Swap(true) && d.onWhole != nil {
		d.onWhole()
	}
}

// sent notes that the transport has written the request.
func (d *Delivery) sent() {
	if !d.written.Swap(true) && !d.hasBody && d.onWhole != nil {
		d.onWhole()
	}
}

// deliver sends a request whose answer matters to others than its caller. Until its body is whole it ends with the caller;
// from then on GitLab may have taken it, and the edge itself wants to know, for Config.PublishTimeout.
func (c *Client) deliver(request *http.Request, how Forwarding) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(request.Context()))
	wait := &answerWait{patience: c.cfg.PublishTimeout, giveUp: func() { cancel(errHeaderTimeout) }}
	how.Delivery.onWhole = wait.begin
	// Runs once, when the caller leaves; not any more once the answer's head is there.
	stop := context.AfterFunc(request.Context(), func() {
		if !how.Delivery.IsWhole() || how.AwaitAnswer == nil || !wait.goOn(how.AwaitAnswer) {
			cancel(context.Cause(request.Context()))
		}
	})
	end := sync.OnceFunc(func() {
		stop()
		cancel(nil)
		wait.end()
	})
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			how.Delivery.sent()
		}
	}})
	send := c.cfg.Transport.RoundTrip
	switch {
	case how.expects:
		send = c.sendExpecting
	case how.upgrades:
		send = c.upgrading.RoundTrip
	}
	response, err := send(request.WithContext(traced))
	if err != nil {
		if errors.Is(context.Cause(ctx), errHeaderTimeout) {
			err = errHeaderTimeout
		}
		end()
		return nil, err
	}
	// What GitLab did is known now. The rest of the answer is for the caller alone, and ends with them.
	stop()
	wait.answered()
	stop = context.AfterFunc(request.Context(), func() { cancel(context.Cause(request.Context())) })
	response.Body = onClose(response.Body, end)
	return response, nil
}

// answerWait is the wait for the answer to a whole request, also after its caller has left.
type answerWait struct {
	// patience is how long it lasts; giveUp is called when it is over.
	patience time.Duration
	giveUp   func()

	// mu guards all below; nothing is waited for under it.
	mu    sync.Mutex
	over  bool
	timer *time.Timer
	// release ends the wait for a caller who has left.
	release func()
}

// begin begins to wait.
func (w *answerWait) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.timer = time.AfterFunc(w.patience, w.giveUp) // fires once, or ends with the wait
	}
}

// goOn has the wait go on without the caller; false if that isn't to be had.
func (w *answerWait) goOn(ask func() (release func(), ok bool)) bool {
	leave, ok := ask()
	if !ok {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		leave() // the answer came meanwhile
		return true
	}
	w.release = leave
	return true
}

// answered ends the wait. Who waits without the caller goes on to count until the answer is taken in (end).
func (w *answerWait) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// end ends the wait, and that of who waits without the caller.
func (w *answerWait) end() {
	w.answered()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.release != nil {
		w.release()
		w.release = nil
	}
}

// closingBody calls a function when it is closed.
type closingBody struct {
	io.ReadCloser
	closed func()
}

func (b closingBody) Close() error {
	err := b.ReadCloser.Close()
	b.closed()
	return err
}
