package upstream

import (
	"context"
	"errors"
	"io"
	"time"
)

// errStalled is the cause of a body given up because nothing came for Config.StallTimeout.
var errStalled = errors.New("the body stands still")

// cancelingBody ends its request when it is closed, and gives up a body that stands still. Without that a dead
// connection would hold its readers for as long as the kernel keeps it.
type cancelingBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc

	// stall is zero for bodies whose pace is their reader's own matter.
	stall time.Duration
	timer *time.Timer
}

func (b *cancelingBody) Read(p []byte) (int, error) {
	if b.stall <= 0 {
		return b.ReadCloser.Read(p)
	}
	if b.timer == nil {
		b.timer = time.AfterFunc(b.stall, func() { b.cancel(errStalled) })
	} else {
		b.timer.Reset(b.stall)
	}
	n, err := b.ReadCloser.Read(p)
	if !b.timer.Stop() && err != nil {
		// The timer has fired: the transport's error is only "context canceled".
		err = errStalled
	}
	return n, err
}

func (b *cancelingBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
