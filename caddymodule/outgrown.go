package caddymodule

import (
	"net/http"
	"sync"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

const (
	// outgrownFor is how long a file streams through that turned out not to fit. Limits and room change.
	outgrownFor = 10 * time.Minute
	// maxOutgrown bounds the files that are remembered.
	maxOutgrown = 1024
)

// outgrown remembers files that are larger than what is kept, and files of unknown length for which there was no room in the
// end. Another fill of one of those would come to the same, and each of its downloads would have to begin anew in the middle. A
// part of any of them goes to GitLab at once: the whole would be fetched in vain before it.
type outgrown struct {
	mu    sync.Mutex
	until map[cache.Key]time.Time
}

// isTooLarge reports whether no file of that length is ever kept by the limits in force.
func (s *state) isTooLarge(length int64) bool {
	limits := s.inForce.Load().limits
	return length > limits.MaxSize-limits.UploadRoom || (limits.MaxObject > 0 && length > limits.MaxObject)
}

// asksForPartOfOutgrown reports whether a download is for a part of a file that isn't kept, as far as is remembered.
func (d *download) asksForPartOfOutgrown() bool {
	return d.r.Method == http.MethodGet && d.r.Header.Get("Range") != "" && d.state.flights.outgrown.has(d.key, d.state.now())
}

// note remembers a file for a while.
func (o *outgrown) note(key cache.Key, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.until == nil {
		o.until = make(map[cache.Key]time.Time)
	}
	if len(o.until) >= maxOutgrown {
		for other := range o.until { // any; a fill of it will tell again
			delete(o.until, other)
			break
		}
	}
	o.until[key] = now.Add(outgrownFor)
}

// has reports whether a file is remembered.
func (o *outgrown) has(key cache.Key, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, ok := o.until[key]
	if ok && !now.Before(until) {
		delete(o.until, key)
		return false
	}
	return ok
}
