package bucket

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// failuresToRest is after how many failures in a row the bucket isn't asked for restPause. Then one request tries.
	failuresToRest = 3
	restPause      = 10 * time.Second
	// objectsCount is how long objects that broke off, or didn't come, count while none is asked for.
	objectsCount = 2 * restPause
	// leastSlowPause is how long a bucket that says "slow down" is left alone; it doubles up to maxSlowPause while it goes on.
	leastSlowPause = time.Second
	maxSlowPause   = time.Minute
)

// ErrResting says that the bucket isn't asked for now, since it failed lately or is to be left alone.
var ErrResting = errors.New("the bucket isn't asked for a while")

// Condition is how a bucket is, in one word.
type Condition string

const (
	// Untried: nobody has asked it yet.
	Untried Condition = "untried"
	// Up: it answered last time.
	Up Condition = "up"
	// Slowed: it has said that there are too many requests, and is left alone for some seconds.
	Slowed Condition = "slowed"
	// Down: it failed several times, and is tried every ten seconds.
	Down Condition = "down"
)

// State is how a bucket is, since when, and why.
type State struct {
	Condition Condition
	Since     time.Time
	// Reason is in words, and empty while it is well.
	Reason string
}

// health decides whether the bucket is asked: for reading and for writing by itself, since keys that may not write, and a bucket that
// is full, keep nobody from reading.
type health struct {
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]

	// mu guards all below; the breaker's own lock is taken before it.
	mu sync.Mutex
	// open says that the breaker isn't closed, and down that people were told so, and not yet that it is well again; slowUntil when a bucket that wants rest may be asked again, after a pause of slow.
	open      bool
	down      bool
	slowUntil time.Time
	slow      time.Duration
	// brokenBodies is how many bodies in a row broke off, or stood still, after a head that was well; brokenHeads how many objects in a row
	// had no head, whatever was answered between them of locations. brokenAt is when the last of either was.
	brokenBodies, brokenHeads int
	brokenAt                  time.Time
	// answered says that it was ever asked. since is when its condition last changed, reason why it last failed.
	answered bool
	since    time.Time
	reason   string
	// onChange is told when it goes down or comes up, with mu held.
	onChange func(up bool, reason string)
}

func (h *health) begin(onChange func(up bool, reason string)) {
	h.onChange = onChange
	h.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout: restPause,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			return counts.ConsecutiveFailures >= failuresToRest || h.breaksObjects()
		},
		OnStateChange: func(_ string, _, to gobreaker.State) { h.changed(to) },
		IsExcluded:    func(err error) bool { return errors.Is(err, errNotTheBuckets) },
	})
}

// OnChange has a function told when the bucket can't be used, for reading or for writing, and when it can be used again for both. It must
// wait for nothing.
func (m *Memory) OnChange(told func(up bool, reason string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onChange = told
}

// changed takes in that reading or writing came to rest, or goes on: an outage is one, though both notice it.
func (m *Memory) changed(up bool, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.down
	if up {
		m.down--
	} else {
		m.down++
	}
	if m.onChange != nil && min(before, m.down) == 0 {
		m.onChange(up, reason)
	}
}

// State is how the bucket is now: as bad as it is for reading or for writing.
func (m *Memory) State() State {
	reading, writing := m.reading.state(), m.writing.state()
	if slices.Index(byTrouble, writing.Condition) > slices.Index(byTrouble, reading.Condition) {
		return writing
	}
	return reading
}

// byTrouble are the conditions, the worst last.
var byTrouble = []Condition{Untried, Up, Slowed, Down}

func (h *health) state() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.down:
		return State{Down, h.since, h.reason}
	case time.Now().Before(h.slowUntil):
		return State{Slowed, h.since, h.reason}
	case !h.answered:
		return State{Untried, h.since, ""}
	}
	return State{Up, h.since, ""}
}

// errNotTheBuckets says that a request ended for reasons that aren't the bucket's.
var errNotTheBuckets = errors.New("the request ended for other reasons than the bucket's")

// ask begins a request. Who gets no error calls done, once, with how the bucket was.
func (h *health) ask() (done func(error), err error) {
	h.mu.Lock()
	slowed := time.Now().Before(h.slowUntil)
	h.mu.Unlock()
	if slowed {
		return nil, ErrResting
	}
	ended, err := h.breaker.Allow()
	if err != nil {
		return nil, ErrResting
	}
	return func(err error) {
		h.note(err)
		ended(err)
	}, nil
}

// note takes in how a request ended, before the breaker does.
func (h *health) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if errors.Is(err, errNotTheBuckets) {
		return
	}
	now := time.Now()
	if !h.answered {
		h.answered, h.since = true, now
	}
	trouble, ok := errors.AsType[*TroubleError](err)
	if !ok {
		h.slow = 0
		if now.Sub(h.brokenAt) > objectsCount {
			h.brokenBodies, h.brokenHeads = 0, 0
			h.tellLocked()
		}
		return
	}
	h.reason = trouble.Error()
	if !trouble.SlowDown {
		return
	}
	if now.After(h.slowUntil) {
		h.slow = min(max(2*h.slow, leastSlowPause), maxSlowPause)
		h.slowUntil, h.since = now.Add(Jittered(h.slow)), now
	}
}

// noteHead takes in how an object's head came, before its request is done. Heads are counted by themselves: a storage may go on to answer
// for locations while no object comes, and then each file would be waited for in vain.
func (h *health) noteHead(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case errors.Is(err, errNotTheBuckets):
	case err != nil:
		h.brokenHeads++
		h.brokenAt = time.Now()
	default:
		h.brokenHeads = 0
		h.tellLocked()
	}
}

// noteBody takes in how a body ended whose head was well, and was counted as such. Bodies are counted by themselves: a storage may go
// on to answer heads at once while what lies behind it gives nothing.
func (h *health) noteBody(err error) {
	if errors.Is(err, errNotTheBuckets) {
		return
	}
	if h.countBody(err != nil) == 0 {
		return
	}
	if done, resting := h.ask(); resting == nil {
		done(err)
	}
}

// countBody returns how many bodies in a row were broken.
func (h *health) countBody(broken bool) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if broken {
		h.brokenBodies++
		h.brokenAt = time.Now()
	} else {
		h.brokenBodies = 0
		h.tellLocked()
	}
	return h.brokenBodies
}

func (h *health) breaksObjects() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.breaksObjectsLocked()
}

func (h *health) breaksObjectsLocked() bool {
	return max(h.brokenBodies, h.brokenHeads) >= failuresToRest
}

// changed takes in what the breaker has become.
func (h *health) changed(to gobreaker.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = to != gobreaker.StateClosed // if it is half open, it only tries again
	h.tellLocked()
}

// tellLocked tells whether it is down, if that has changed. While bodies break off a head that is well is no end of that, nor is a location
// while heads don't come: each try would be told of as one.
func (h *health) tellLocked() {
	down := h.open || (h.down && h.breaksObjectsLocked())
	if down == h.down {
		return
	}
	h.down, h.since = down, time.Now()
	h.onChange(!down, h.reason)
}

// Jittered is a pause that several edges don't take alike: half of it, and up to as much again.
func Jittered(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause/2+1) //nolint:gosec // not a secret
}

// exchange runs one exchange with the bucket, unless that rests: in a context that ends when it stood still for limit. It returns
// then, whatever becomes of run: minio-go waits for credentials without heeding a context. The error is classified (trouble.go).
func exchange[T any](ctx context.Context, b *Bucket, h *health, doing string, limit time.Duration, run func(ctx context.Context, alive func()) (T, error)) (got T, err error) {
	done, err := h.ask()
	if err != nil {
		return got, err
	}
	patient, alive, _, end := patiently(ctx, limit)
	defer end(nil)
	got, err = within(patient, func() (T, error) { return run(patient, func() { alive(limit) }) }, func(T) {})
	err = b.classified(ctx, patient, doing, err)
	done(asHealth(err))
	return got, err
}

// within returns what run does, or the cause of ctx's end, whichever comes first. What comes too late is let go.
func within[T any](ctx context.Context, run func() (T, error), letGo func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	// Ends with run, which has a context that ends with ctx, and heeds it but for credentials (identityTimeout).
	go func() {
		value, err := run()
		results <- result{value, err}
	}()
	select {
	case got := <-results:
		return got.value, got.err
	case <-ctx.Done():
	}
	// Ends as that one.
	go func() {
		if late := <-results; late.err == nil {
			letGo(late.value)
		}
	}()
	var none T
	return none, context.Cause(ctx)
}

// asHealth is what an exchange's end says of the bucket: nil if it answered as buckets do.
func asHealth(err error) error {
	if _, ok := errors.AsType[*TroubleError](err); ok || errors.Is(err, errNotTheBuckets) {
		return err
	}
	return nil
}
