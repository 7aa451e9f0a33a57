package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Standing is what GitLab is known to think of a caller whose request is forwarded.
type Standing int

const (
	// Stranger: nobody knows. The zero value.
	Stranger Standing = iota
	// Trusted: GitLab has said yes to this caller lately.
	Trusted
)

// errStrangersShare is the cause of a forwarded request that found no connection in time.
var errStrangersShare = errors.New("half of the connections to GitLab are in use by callers whom it isn't known to allow")

// strangersShare is the part of the connections to GitLab that strangers may hold: they can hold them as long as they like, and
// checks and fetches need the rest. It is nil where the connections aren't bounded.
type strangersShare chan struct{}

func newStrangersShare(maxConnections int) strangersShare {
	if maxConnections <= 0 {
		return nil
	}
	return make(strangersShare, max(1, maxConnections/2))
}

// enter waits for a connection for a forwarded request, at most for patience, and returns the function that gives it back.
func (s strangersShare) enter(ctx context.Context, standing Standing, patience time.Duration) (leave func(), err error) {
	if s == nil || standing == Trusted {
		return func() {}, nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, &UnreachableError{Trouble: TroubleCaller, Err: context.Cause(ctx)}
	case <-timer.C:
		return nil, &UnreachableError{Trouble: TroubleEdge, Status: http.StatusServiceUnavailable, Err: errStrangersShare}
	}
}
