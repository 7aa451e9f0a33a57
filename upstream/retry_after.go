package upstream

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// RetryAfter is how long a server asks to be left alone, by the Retry-After of its answer (RFC 9110, section 10.2.3), in seconds or as a
// date. It may be negative, and as long as the server likes. False means that it doesn't say.
func RetryAfter(err error, now time.Time) (wait time.Duration, ok bool) {
	var text string
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		text = refused.Header.Get("Retry-After")
	} else if refused, ok := errors.AsType[*ListRefusedError](err); ok {
		text = refused.RetryAfter
	} else if trouble, ok := errors.AsType[*UnreachableError](err); ok {
		text = trouble.RetryAfter
	}
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(text)
	return date.Sub(now), err == nil
}
