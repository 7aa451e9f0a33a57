package caddymodule

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

const (
	// restAfter is how many fetches of a file fail, one after another, before the file rests, and restFor for how long.
	restAfter = 3
	restFor   = 5 * time.Second
	// maxRests bounds the files that are remembered.
	maxRests = 4096
)

// errResting is why a file isn't fetched.
var errResting = errors.New("the last fetches of this file failed; it is fetched again in some seconds")

// rests remember files whose fetches fail. Each download would else cost GitLab, or its storage, a fetch and the caller a
// time-out, and one bad file would use up what all others need. Only fetches rest: what is stored is asked about as ever, and
// a file that rests is no outage, which would let it be served unasked. Safe for concurrent use.
type rests struct {
	// mu guards failing; nothing is waited for under it.
	mu      sync.Mutex
	failing *simplelru.LRU[restKey, restState]
}

// restKey is a file on one way to GitLab: another way may work.
type restKey struct {
	access access
	key    cache.Key
	// caller is for whom alone the file rests; zero for all. What GitLab, or something in front of it, doesn't answer to a
	// stranger may be due to the stranger's own headers, and must not keep the file from others.
	caller upstream.Fingerprint
}

// forAll is the key of what holds for all callers.
func (k restKey) forAll() restKey {
	k.caller = upstream.Fingerprint{}
	return k
}

type restState struct {
	failures int
	until    time.Time
}

func newRests() *rests { return &rests{failing: newLRU[restKey, restState](maxRests)} }

// fetchEnd is what a fetch has shown of its file. One that ended for a reason of the caller's or the edge's own shows nothing, and
// a refusal is about who asks.
type fetchEnd int

const (
	// fetchFailed: GitLab, its storage or the line failed.
	fetchFailed fetchEnd = iota
	// fetchWentWell: a whole body came.
	fetchWentWell
)

// note takes in how a fetch of a file has ended.
func (r *rests) note(key restKey, end fetchEnd, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch end {
	case fetchWentWell:
		r.failing.Remove(key)
	case fetchFailed:
		state, _ := r.failing.Get(key)
		state.failures++
		if state.failures >= restAfter {
			state.until = now.Add(restFor)
		}
		r.failing.Add(key, state)
	}
}

// of returns why a file isn't to be fetched now for a caller; nil if it may be.
func (r *rests) of(key restKey, now time.Time) *upstream.UnreachableError {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, _ := r.failing.Peek(key.forAll())
	own, _ := r.failing.Peek(key)
	until := all.until
	if own.until.After(until) {
		until = own.until
	}
	if !now.Before(until) {
		return nil
	}
	seconds := int((until.Sub(now) + time.Second - 1) / time.Second)
	return &upstream.UnreachableError{
		Trouble: upstream.TroubleEdge, Status: http.StatusServiceUnavailable, RetryAfter: strconv.Itoa(seconds), Err: errResting,
	}
}

// restKey is what the file's rest is kept under for this caller.
func (d *download) restKey() restKey {
	return restKey{d.h.access, d.key, d.grantKey().Fingerprint}
}

// isOfTheFile reports whether a fetch that began in vain says something about the file, or about GitLab, to others than its
// leader. GitLab, or something in front of it, may answer a stranger by a 5xx that is about the stranger alone, such as a limit
// of the requests of one address. To the object storage GitLab sends only whom it allows.
func isOfTheFile(trouble *upstream.UnreachableError, leader upstream.Standing) bool {
	return trouble.Trouble != upstream.TroubleCaller && (leader == upstream.Trusted || trouble.Server == upstream.ServerStorage)
}

// restKeyFor is what the flight's file rests under for the holder of a grant.
func (f *flight) restKeyFor(key upstream.GrantKey) restKey {
	return restKey{f.h.access, f.key, key.Fingerprint}
}

// noteFetch takes in that a fetch failed before its body, if it did.
func (f *flight) noteFetch(err error) {
	unreachable, failed := errors.AsType[*upstream.UnreachableError](err)
	if !failed || f.state.ctx.Err() != nil {
		return
	}
	switch unreachable.Trouble {
	case upstream.TroubleNetwork, upstream.TroubleFront, upstream.TroubleUnusable:
		rest := f.restKeyFor(f.leader.grantKey)
		if isOfTheFile(unreachable, f.leader.standing) {
			rest = rest.forAll()
		}
		f.state.rests.note(rest, fetchFailed, f.state.now())
	case upstream.TroubleNotAsked, upstream.TroubleCaller, upstream.TroubleEdge:
	}
}

// noteBody takes in how the body of a fetch has ended, to which GitLab has said yes.
func (f *flight) noteBody(err error) {
	own := f.restKeyFor(f.leader.grantKey)
	switch {
	case err == nil:
		f.state.rests.note(own.forAll(), fetchWentWell, f.state.now())
		f.state.rests.note(own, fetchWentWell, f.state.now())
	case errors.Is(err, cache.ErrFillsEnded), errors.Is(err, cache.ErrSuperseded), errors.Is(err, cache.ErrNoRoom), errors.Is(err, cache.ErrDisk),
		errors.Is(err, cache.ErrClosed), f.state.ctx.Err() != nil:
		// For a reason of the edge's own.
	default:
		f.state.rests.note(own.forAll(), fetchFailed, f.state.now())
	}
}
