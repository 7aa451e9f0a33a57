package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
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

// ErrNoConnectionFree is why a forwarded request wasn't sent: as many connections to GitLab as its caller may have part in are in
// use (Config.MaxConnections). It says nothing of GitLab.
var ErrNoConnectionFree = errors.New("no connection to GitLab was free in time")

// Which bound it was that had no connection free.
var (
	errStrangersShare      = fmt.Errorf("%w: half of max_conns_per_host are in use by callers whom GitLab isn't known to allow", ErrNoConnectionFree)
	errNeighbourhoodsShare = fmt.Errorf("%w: as many of max_conns_per_host as one address may hold are in use by callers there whom GitLab isn't known to allow", ErrNoConnectionFree)
)

// strangersShare is the part of the connections to GitLab that strangers may hold: they can hold them as long as they like, and
// checks and fetches need the rest. One neighbourhood may hold three quarters of the part. It is nil where the connections aren't
// bounded.
type strangersShare struct {
	// places has room for as many as may be held at once.
	places places

	// mu guards neighbourhoods, which has those of which somebody holds a place or waits for one; nothing is waited for under
	// it.
	mu             sync.Mutex
	neighbourhoods map[string]*neighbourhoodShare
}

// neighbourhoodShare is what one neighbourhood may hold.
type neighbourhoodShare struct {
	places places
	// users counts those who hold a place or wait for one; strangersShare.mu guards it.
	users int
}

// places holds a value for each place that is taken.
type places chan struct{}

func newStrangersShare(maxConnections int) *strangersShare {
	if maxConnections <= 0 {
		return nil
	}
	return &strangersShare{places: make(places, max(1, maxConnections/2)), neighbourhoods: make(map[string]*neighbourhoodShare)}
}

// enter waits for a connection for a forwarded request from an address, at most for patience, and returns the function that
// gives it back. Only the first call of that does.
func (s *strangersShare) enter(ctx context.Context, by Caller, standing Standing, patience time.Duration) (leave func(), err error) {
	if s == nil || standing == Trusted {
		return func() {}, nil
	}
	neighbourhood := Neighbourhood(by.ClientIP)
	own := s.join(neighbourhood)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	// The neighbourhood's own place comes first: who waits for that must stand in nobody else's way.
	if err := own.places.take(ctx, timer.C, errNeighbourhoodsShare); err != nil {
		s.quit(neighbourhood, own)
		return nil, err
	}
	if err := s.places.take(ctx, timer.C, errStrangersShare); err != nil {
		<-own.places
		s.quit(neighbourhood, own)
		return nil, err
	}
	return sync.OnceFunc(func() {
		<-s.places
		<-own.places
		s.quit(neighbourhood, own)
	}), nil
}

// take waits for a place until the time is over, and tells then that full is why there was none.
func (p places) take(ctx context.Context, over <-chan time.Time, full error) error {
	select {
	case p <- struct{}{}:
		return nil // also where the machine is so busy that the time is over
	default:
	}
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &UnreachableError{Trouble: TroubleCaller, Err: context.Cause(ctx)}
	case <-over:
		return &UnreachableError{Trouble: TroubleEdge, Status: http.StatusServiceUnavailable, Err: full}
	}
}

// join returns a neighbourhood's share for one more who wants a place of it.
func (s *strangersShare) join(neighbourhood string) *neighbourhoodShare {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.neighbourhoods[neighbourhood]
	if own == nil {
		own = &neighbourhoodShare{places: make(places, max(1, cap(s.places)-max(1, cap(s.places)/4)))} // others find some free
		s.neighbourhoods[neighbourhood] = own
	}
	own.users++
	return own
}

// quit ends join.
func (s *strangersShare) quit(neighbourhood string, own *neighbourhoodShare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(s.neighbourhoods, neighbourhood)
	}
}
