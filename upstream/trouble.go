package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Trouble says whose trouble it is that GitLab gave no usable answer. What may be done about it depends on that alone: only
// an outage of GitLab's, seen by the edge itself, lets stored files be served without asking (IsOutage).
type Trouble int

const (
	// TroubleUnusable: an answer came that can't be used, such as a redirect that isn't followed, or a page where a file
	// should be. The zero value, so that nothing is taken for an outage by omission.
	TroubleUnusable Trouble = iota
	// TroubleNetwork: no connection, a broken one, no answer in time, or bytes that are no HTTP.
	TroubleNetwork
	// TroubleFront: GitLab, or what stands before it, answered with a server error (5xx).
	TroubleFront
	// TroubleNotAsked: the breaker is open, so nobody was asked.
	TroubleNotAsked
	// TroubleCaller: the caller's own request is the reason: its body failed or stood still, it left, or its headers are
	// more than the line to GitLab takes.
	TroubleCaller
	// TroubleEdge: a limit of the edge's own, or its end.
	TroubleEdge
)

// IsOutage reports whether the trouble is GitLab's or the line's.
func (t Trouble) IsOutage() bool {
	return t == TroubleNetwork || t == TroubleFront || t == TroubleNotAsked
}

// UnreachableError says that GitLab, or its object storage, gave no answer about the file that could be used.
type UnreachableError struct {
	// Trouble says whose fault it is.
	Trouble Trouble
	// Server is ServerStorage if the trouble is the object storage's, to which GitLab had sent the caller; else empty.
	Server string
	// Status is the server's own, 0 when there was no answer.
	Status int
	// RetryAfter is the server's Retry-After, as sent.
	RetryAfter string
	// Err is the cause, free of URLs and credentials.
	Err error
}

func (e *UnreachableError) Error() string { return "GitLab is unreachable: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// unreachable makes an UnreachableError of what a transport returned, if it isn't one already. A *url.Error is opened, since it would print
// the URL with its query; transports return none, but proxies of theirs might.
func unreachable(doing string, err error) *UnreachableError {
	if known, ok := errors.AsType[*UnreachableError](err); ok {
		return known
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	trouble, status := TroubleNetwork, 0
	switch {
	case isTooMuchForTheLine(err):
		trouble = TroubleCaller
	case isOwnLimit(err):
		trouble, status = TroubleEdge, http.StatusServiceUnavailable
	}
	return &UnreachableError{Trouble: trouble, Status: status, Err: fmt.Errorf("%s: %w", doing, err)}
}

// isTooMuchForTheLine reports whether a request failed on our side since its headers, which are the caller's, are more than
// the server takes. net/http's HTTP/2 has no error value for it.
func isTooMuchForTheLine(err error) bool {
	return err != nil && strings.Contains(err.Error(), "header list larger than")
}

// statusUnreachable is the error of an answer with a status that is no word about the file.
func statusUnreachable(response *http.Response) *UnreachableError {
	trouble := TroubleUnusable
	if response.StatusCode >= http.StatusInternalServerError {
		trouble = TroubleFront
	}
	return &UnreachableError{
		Trouble:    trouble,
		Status:     response.StatusCode,
		RetryAfter: response.Header.Get("Retry-After"),
		Err:        errors.New("it answered " + response.Status),
	}
}

// errHeaderTimeout is the cause of a request given up before its answer's head came.
var errHeaderTimeout = errors.New("no answer in time")
