package caddymodule

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// turns bounds how many fetches one caller has under way at a time, so that nobody fills the line to GitLab alone: one
// byte's range of a cold file is enough to have all of it fetched (design, "Decisions"). Over the bound a fetch waits its
// turn, in the order of asking; nobody is refused. A fetch that somebody else follows doesn't count any more: it would be
// made anyhow.
//
// A caller is a credential and an address together. Behind a balancer without trusted_proxies all anonymous callers are one,
// which is why the bound is generous. Warming has a bound of its own.
type turns struct {
	// mu guards queues; nothing is waited for under it.
	mu sync.Mutex
	// queues are those of callers who have a fetch under way or waiting.
	queues map[turnOwner]*turnQueue
}

// turnOwner is who has a number of turns.
type turnOwner struct {
	upstream    string
	fingerprint upstream.Fingerprint
	address     string
}

type turnQueue struct {
	taken   int
	waiting []*turnWaiter
}

type turnWaiter struct {
	// limit is that of the handler by which the waiter came.
	limit int
	// ready is closed, under turns.mu, when the turn is the waiter's.
	ready chan struct{}
}

// turn is leave to fetch one file. A nil turn is one that nobody counts.
type turn struct {
	turns *turns
	owner turnOwner
	once  sync.Once
}

// take takes a turn if fewer than limit are taken and nobody waits, else waits for one until ctx ends, whose cause it
// returns then.
func (t *turns) take(ctx context.Context, owner turnOwner, limit int) (taken *turn, waited bool, err error) {
	waiter := t.enqueue(owner, limit)
	if waiter == nil {
		return &turn{turns: t, owner: owner}, false, nil
	}
	select {
	case <-waiter.ready:
	case <-ctx.Done():
		if t.withdraw(owner, waiter) {
			return nil, true, context.Cause(ctx)
		}
		// It came at the last moment, and is given on.
		(&turn{turns: t, owner: owner}).release()
		return nil, true, context.Cause(ctx)
	}
	return &turn{turns: t, owner: owner}, true, nil
}

// takeAtOnce takes a turn if fewer than limit are taken and nobody waits; nil else.
func (t *turns) takeAtOnce(owner turnOwner, limit int) *turn {
	if waiter := t.enqueue(owner, limit); waiter != nil {
		if !t.withdraw(owner, waiter) {
			(&turn{turns: t, owner: owner}).release() // it came meanwhile, and is given on
		}
		return nil
	}
	return &turn{turns: t, owner: owner}
}

// enqueue takes a turn, or returns the waiter to wait as.
func (t *turns) enqueue(owner turnOwner, limit int) *turnWaiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := t.queues[owner]
	if queue == nil {
		queue = new(turnQueue)
		if t.queues == nil {
			t.queues = make(map[turnOwner]*turnQueue)
		}
		t.queues[owner] = queue
	}
	if queue.taken < limit && len(queue.waiting) == 0 {
		queue.taken++
		return nil
	}
	waiter := &turnWaiter{limit: limit, ready: make(chan struct{})}
	queue.waiting = append(queue.waiting, waiter)
	return waiter
}

// withdraw takes a waiter out of the queue. False means that it has a turn already.
func (t *turns) withdraw(owner turnOwner, waiter *turnWaiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := t.queues[owner]
	if queue == nil {
		return false
	}
	at := slices.Index(queue.waiting, waiter)
	if at < 0 {
		return false
	}
	queue.waiting = slices.Delete(queue.waiting, at, at+1)
	t.advanceLocked(owner, queue) // the next one's limit may be another
	return true
}

// advanceLocked gives free turns to those who wait, and forgets a queue that is over.
func (t *turns) advanceLocked(owner turnOwner, queue *turnQueue) {
	for len(queue.waiting) > 0 && queue.taken < queue.waiting[0].limit {
		queue.taken++
		close(queue.waiting[0].ready)
		queue.waiting = slices.Delete(queue.waiting, 0, 1)
	}
	if queue.taken == 0 && len(queue.waiting) == 0 {
		delete(t.queues, owner)
	}
}

// release gives the turn to who waits for it. Further calls do nothing.
func (t *turn) release() {
	if t == nil {
		return
	}
	t.once.Do(func() {
		t.turns.mu.Lock()
		defer t.turns.mu.Unlock()
		queue := t.turns.queues[t.owner]
		queue.taken--
		t.turns.advanceLocked(t.owner, queue)
	})
}

// count has the flight count as its leader's until it ends (flights.end) or somebody joins it (flight.join).
func (f *flight) count(t *turn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn = t
	if len(f.followers) > 0 {
		t.release() // who joined found no turn
	}
}

// endTurn ends the counting.
func (f *flight) endTurn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn.release()
}

var (
	errTurnLate  = errors.New("the fetch has waited too long for its turn")
	errLookAgain = errors.New("the world has changed while the fetch waited for its turn")
)

// turnOwner is who this caller is where turns are counted: by the address whatever grant_scope says, since a token that many
// runners share is many callers.
func (d *download) turnOwner() turnOwner {
	return turnOwner{d.key.Upstream, d.grantKey().Fingerprint, upstream.Neighbourhood(clientIP(d.r))}
}

// turnAtOnce takes a turn if there is one without waiting. The turn is nil where nobody counts.
func (d *download) turnAtOnce() (taken *turn, ok bool) {
	if d.h.fetchesPerCaller == 0 {
		return nil, true
	}
	taken = d.state.turns.takeAtOnce(d.turnOwner(), d.h.fetchesPerCaller)
	return taken, taken != nil
}

// takeTurn waits for this caller's turn. Its errors are errTurnLate, errLookAgain, and that the caller has left.
func (d *download) takeTurn() (*turn, error) {
	if d.h.fetchesPerCaller == 0 {
		return nil, nil // nobody counts
	}
	ctx, cancel := context.WithTimeoutCause(d.r.Context(), d.h.process.turnPatience, errTurnLate)
	defer cancel()
	begun := time.Now()
	turn, waited, err := d.state.turns.take(ctx, d.turnOwner(), d.h.fetchesPerCaller)
	if waited {
		d.report.waited(begun)
	}
	if err != nil {
		return nil, err
	}
	if waited && d.isOvertaken() {
		turn.release()
		return nil, errLookAgain
	}
	return turn, nil
}

// isOvertaken reports whether the file was published or stored since this download was looked at.
func (d *download) isOvertaken() bool {
	if d.store.Generation(d.key) != d.generation {
		return true
	}
	_, err := d.store.Lookup(d.key)
	return err == nil && !d.replaced
}
