package caddymodule

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// flight is one fetch of one file for everybody who wants it: from the request to GitLab until the bytes are stored (fetch.go).
// It begins in the name of the caller who leads it (lead.go), and goes on when that caller leaves.
type flight struct {
	h     *Handler
	state *state
	store *cache.Store
	target
	generation cache.Generation
	leader     leader

	// head is closed when GitLab's answer to the fetch is known. The fields up to err are set before and fixed after.
	head chan struct{}
	// sent is when the fetch was sent; grants and confirmations date from then.
	sent        time.Time
	identity    upstream.Identity
	disposition string
	// fill is the file on its way in; nil if its content was here already, and entry is what the key has now.
	fill *cache.Fill
	// kept is how much of it was here already, from a fetch that broke off.
	kept  int64
	entry cache.Entry
	// err says why there is nothing to follow: errLeaderRefused, errNotStored, or an *upstream.UnreachableError.
	err error
	// unstorable says why the store took nothing of a body that it could have kept; nil where it wasn't asked, or took it.
	unstorable error
	// answer is what GitLab said to the leader, for the leader alone and for who is alike.
	answer upstream.Answer
	// lags says that the content is what was current before a publish a few seconds ago: it is for those to whom GitLab itself
	// names it, and for nobody else.
	lags bool

	// handover gives the leader a body that can't be stored, which is for nobody else. Who has received it closes it, and then
	// taken.
	handover chan *upstream.Download
	taken    chan struct{}
	// over is closed when the flight is none any more.
	over chan struct{}

	// asks is in whose name the body is asked for now; of the goroutine that fetches.
	asks reader

	// proven is the SHA-256 that the body must have, since its location has given it before, and expected the one that it should
	// have (published_sums.go). Both are of the goroutine that fetches; zero for none.
	proven, expected cache.Digest

	// shared is what comes from the shared store; nil for nothing. Fixed when head is closed.
	shared *fromShared
	// sharedTried says that the shared store failed, and isn't waited for once more; of the goroutine that fetches.
	sharedTried bool

	// For admins (admin_activity.go): begun is when the flight was made, served how many callers are sent the file as it comes,
	// readsShared that its bytes come from the shared store now, connections by how many connections they come where these are counted
	// (assembly.go).
	begun       time.Time
	served      atomic.Int32
	readsShared atomic.Bool
	connections atomic.Int32

	// mu guards all below.
	mu sync.Mutex
	// farBytes is how much was asked of GitLab for ranges far ahead of the fill.
	farBytes int64
	// followers are callers who were allowed this content and still wait for it; the fetch can go on in their name.
	followers map[*exchange]reader
	// sentTo are callers who were sent bytes of the shared store before these were compared, and brokeUncompared says that they never
	// will be, or were wrong (uncompared.go).
	sentTo          map[upstream.GrantKey]struct{}
	brokeUncompared bool
	// turn is what the fetch takes of its leader's turns; nil if nobody counts.
	turn *turn
}

// reader is a caller who may read a file, with the key of the grant by which they do. caller holds the credential as it was sent,
// for the requests that are made in its name: no longer than the flight or the check lasts.
type reader struct {
	caller   upstream.Caller
	grantKey upstream.GrantKey
}

var (
	errLeaderRefused = errors.New("GitLab refused the caller who led the fetch")
	errNotStored     = errors.New("the file can't be stored")
	errClosing       = errors.New("the edge is closing")
)

// newFlight makes a flight that hasn't begun.
func (h *Handler) newFlight(s *state, store *cache.Store, file target, generation cache.Generation, leader leader) *flight {
	return &flight{
		h: h, state: s, store: store, target: file, generation: generation, leader: leader,
		head: make(chan struct{}), handover: make(chan *upstream.Download), taken: make(chan struct{}), over: make(chan struct{}),
	}
}

// waitHead waits for GitLab's answer to the fetch. False means that ctx ended first.
func (f *flight) waitHead(ctx context.Context) bool {
	select {
	case <-f.head:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *flight) isHeaded() bool {
	select {
	case <-f.head:
		return true
	default:
		return false
	}
}

// hasBroken reports whether the file came to nothing after all: whoever comes now must not follow it to its early end.
func (f *flight) hasBroken() bool { return f.isHeaded() && f.fill != nil && f.fill.Err() != nil }

// join notes a caller who follows, and returns the function to take that back.
func (f *flight) join(x *exchange) (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == nil {
		f.followers = make(map[*exchange]reader)
	}
	f.followers[x] = x.reader()
	f.turn.release()
	x.h.metrics.followers.Inc()
	return func() {
		x.h.metrics.followers.Dec()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.followers, x)
	}
}

// otherCaller takes a caller in whose name the fetch can go on. Each is tried once.
func (f *flight) otherCaller() (reader, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for x, other := range f.followers {
		delete(f.followers, x)
		return other, true
	}
	return reader{}, false
}

// affords reports whether GitLab is to be asked for a range far ahead of the fill by itself: the first one always, be it
// the rest of a download that was broken off, and further ones while all together are no more than extra bytes. A
// downloader that asks for many segments at once would else cost GitLab a second body.
func (f *flight) affords(length, extra int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.farBytes > 0 && (f.farBytes > extra || length > extra-f.farBytes) {
		return false
	}
	f.farBytes += max(length, 1)
	return true
}

// flights are the running flights, the newest of each key.
type flights struct {
	// mu guards byKey; nothing is waited for under it.
	mu    sync.Mutex
	byKey map[cache.Key]*flight

	outgrown outgrown
}

// running returns the key's flight if it belongs to the generation, hasn't broken, and isn't the one that is ruled out.
func (f *flights) running(key cache.Key, generation cache.Generation, ruledOut *flight) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runningLocked(key, generation, ruledOut)
}

func (f *flights) runningLocked(key cache.Key, generation cache.Generation, ruledOut *flight) *flight {
	if fl := f.byKey[key]; fl != nil && fl != ruledOut && fl.generation == generation && !fl.hasBroken() {
		return fl
	}
	return nil
}

// add makes a flight the one of its key, unless one is running that the caller hasn't ruled out, or one of a newer generation: a
// publish has come in since the caller looked, and who looks again must find what it began.
func (f *flights) add(fl, ruledOut *flight) (ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.runningLocked(fl.key, fl.generation, ruledOut) != nil {
		return false
	}
	if newest := f.byKey[fl.key]; newest != nil && fl.generation.Precedes(newest.generation) {
		return false
	}
	if f.byKey == nil {
		f.byKey = make(map[cache.Key]*flight)
	}
	f.byKey[fl.key] = fl
	return true
}

// keys are those of the running flights.
func (f *flights) keys() []cache.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.byKey))
}

// all are the running flights, the newest of each key.
func (f *flights) all() []*flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.byKey))
}

// end lets a flight go. Who waits for its end finds no flight any more.
func (f *flights) end(fl *flight) {
	fl.endTurn()
	f.mu.Lock()
	if f.byKey[fl.key] == fl {
		delete(f.byKey, fl.key)
	}
	f.mu.Unlock()
	close(fl.over)
}
