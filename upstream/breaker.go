package upstream

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Breakers keep a GitLab that is down from costing each caller a time-out: after maxFailures requests in a row that
// failed nothing is asked for a pause, then one request at a time, until one is answered. GitLab and its object storage
// have one each. They are safe for concurrent use and outlive the clients that use them.
type Breakers struct{ gitlab, storage *breaker }

// breaker watches one server.
type breaker struct {
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]
	pause   time.Duration
}

// DefaultBreakerPause is how long a server isn't asked that has failed several times in a row.
const DefaultBreakerPause = 5 * time.Second

// maxFailures in a row are the end of asking.
const maxFailures = 3

// Names of the servers that breakers watch.
const (
	ServerGitLab  = "gitlab"
	ServerStorage = "object storage"
)

// NewBreakers returns breakers that let everything through until something fails. onChange, if set, is told when a
// server (ServerGitLab, ServerStorage) isn't asked any more, and when it answers again. It must not wait for anything:
// requests do.
func NewBreakers(pause time.Duration, onChange func(server string, up bool)) *Breakers {
	circuit := func(server string) *breaker {
		return &breaker{pause: pause, circuit: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Name:        server,
			MaxRequests: 1,
			Timeout:     pause,
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= maxFailures },
			IsExcluded:  func(err error) bool { return errors.Is(err, errSaysNothing) },
			OnStateChange: func(server string, from, to gobreaker.State) {
				// From half-open back to open is no news.
				if onChange != nil && (from == gobreaker.StateClosed || to == gobreaker.StateClosed) {
					onChange(server, to == gobreaker.StateClosed)
				}
			},
		})}
	}
	return &Breakers{gitlab: circuit(ServerGitLab), storage: circuit(ServerStorage)}
}

// Down returns the servers that aren't asked, or only to see whether they are back.
func (b *Breakers) Down() (servers []string) {
	for _, watched := range []*breaker{b.gitlab, b.storage} {
		if watched.circuit.State() != gobreaker.StateClosed {
			servers = append(servers, watched.circuit.Name())
		}
	}
	return servers
}

var (
	// ErrNotAsked is the cause of an UnreachableError for which nobody was asked, since several requests in a row have
	// failed just before.
	ErrNotAsked = errors.New("it has failed several times in a row and isn't asked for some seconds")
	// errSaysNothing stands for what tells nothing about a server: the caller left, or one request is more than it can do.
	errSaysNothing = errors.New("this says nothing about the server")
	// errNoService stands for an answer of something in front of a server that doesn't work.
	errNoService = errors.New("the server is out of service")
)

// allow asks whether a request may be sent. Who gets a yes must call done with what came of it. probing says that it
// shows whether the server is back: nobody else is let through until its answer is there, so it must not be waited for
// longer than for a check.
func (b *breaker) allow() (done func(error), probing bool, err error) {
	done, err = b.circuit.Allow()
	if err != nil {
		return nil, false, b.notAsked()
	}
	return done, b.circuit.State() == gobreaker.StateHalfOpen, nil
}

// isOpen reports whether nothing is to be asked now.
func (b *breaker) isOpen() bool { return b.circuit.State() == gobreaker.StateOpen }

func (b *breaker) notAsked() *UnreachableError {
	seconds := int((b.pause + time.Second - 1) / time.Second)
	return &UnreachableError{Status: http.StatusServiceUnavailable, RetryAfter: strconv.Itoa(max(seconds, 1)), Err: ErrNotAsked}
}

// lesson is what the end of a request says about the server it was sent to.
func lesson(ctx context.Context, response *http.Response, err error) error {
	switch {
	case err == nil:
		return lessonOfStatus(response.StatusCode)
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errHeaderTimeout):
		return errSaysNothing // the caller left
	}
	return err
}

// lessonOfStatus takes 502, 503 and 504 for a server that is down, whatever stands in front of it, and 520 and more
// (content delivery networks). A 500 can be about one file alone; it must not end the others' downloads.
func lessonOfStatus(status int) error {
	switch {
	case status < http.StatusInternalServerError:
		return nil
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout, status >= 520:
		return errNoService
	}
	return errSaysNothing
}
