package caddymodule

import (
	"context"
	"errors"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// leader is in whose name a flight begins.
type leader struct {
	reader
	// askKey is what others are alike in: they hear the answer to this fetch instead of asking for themselves.
	askKey askKey
	// standing is what GitLab was known to think of the leader when the fetch was sent: what a stranger's request meets may be
	// about the stranger alone.
	standing upstream.Standing
	// named is GitLab's yes to the leader by a check in this attempt, which names the content: its bytes can come from elsewhere than
	// GitLab. nil where GitLab wasn't asked, or named none.
	named *upstream.Answer
	// insists says that the file is fetched although its last fetches failed.
	insists bool
	// keeps is set for a warming, which nobody waits for: what was used since that moment isn't evicted for the file, and its
	// bytes count as warmed.
	keeps *cache.Moment
	// ctx is the leader's own. Only a body that is for the leader alone depends on it.
	ctx context.Context
}

// errOvertaken says that somebody else leads already, or that the file was published since the leader looked.
var errOvertaken = errors.New("another fetch of the file is under way")

// begin has a flight run, with a turn of its leader's that ends with the flight; nil for none. Its errors are errOvertaken,
// errClosing, and the *upstream.UnreachableError of a file that rests: then the flight doesn't run, and who waits for its head
// already is let go.
func (f *flight) begin(ruledOut *flight, turn *turn) error {
	f.begun = f.state.now()
	if !f.state.flights.add(f, ruledOut) {
		turn.release()
		return errOvertaken
	}
	f.count(turn)
	if !f.leader.insists {
		// Looked at now, when the last fetch has been noted and no other can begin.
		if resting := f.state.rests.of(f.restKeyFor(f.leader.grantKey), f.state.now()); resting != nil {
			f.turnAway(resting)
			return resting
		}
	}
	if !f.state.enter() {
		f.turnAway(errNotStored)
		return errClosing
	}
	f.h.transports.hold()
	// Ends when the body has ended, or with the state's context.
	go f.run()
	return nil
}

// turnAway ends a flight that doesn't begin.
func (f *flight) turnAway(why error) {
	f.err = why
	close(f.head)
	f.state.flights.end(f)
}

// lead fetches the file in this caller's name, for everybody, when it is this caller's turn.
func (d *download) lead() (done bool) {
	turn, err := d.takeTurn()
	switch {
	case err == nil:
		return d.leadNow(turn)
	case errors.Is(err, errLookAgain):
		return false
	case errors.Is(err, errTurnLate):
		d.forward(outcomeForwarded, fwdBypass)
		return true
	}
	d.abandon() // panics
	return true
}

// leadNow is lead with a turn that is taken already; nil for none.
func (d *download) leadNow(turn *turn) (done bool) {
	fl := d.h.newFlight(d.state, d.store, d.target, d.generation, leader{
		reader: d.reader(), askKey: d.askKey(), standing: d.standingOfLeader(), ctx: d.r.Context(), named: d.namedToLeader(),
	})
	switch err := fl.begin(d.ruledOut, turn); {
	case errors.Is(err, errOvertaken):
		return false // the next attempt looks at the other flight
	case errors.Is(err, errClosing):
		d.forward(outcomeForwarded, fwdBypass)
		return true
	case err != nil:
		d.refuseUnreachable(err)
		return true
	}
	if !d.awaitHead(fl) {
		d.abandon() // panics
	}
	switch fl.answer.Verdict {
	case upstream.Allowed:
	case upstream.Refused, upstream.RateLimited:
		d.relayRefused(fl.answer.No)
		return true
	case upstream.Unreachable:
		if errors.Is(fl.err, errNotStored) {
			d.forward(outcomeForwarded, fwdBypass) // the edge closes
		} else {
			d.refuseUnreachable(fl.answer.Err)
		}
		return true
	}
	if fl.err == nil {
		return d.follow(fl, outcomeMiss)
	}
	d.takeBody(fl)
	return true
}

// standingOfLeader is what GitLab is known to think of the caller, who is about to lead a fetch.
func (d *download) standingOfLeader() upstream.Standing {
	if d.isGranted(upstream.UseFresh) || (d.answer != nil && d.answer.Verdict == upstream.Allowed && !d.answer.Unproven) {
		return upstream.Trusted
	}
	return upstream.Stranger
}

// namedToLeader is GitLab's yes to this caller's check, if it is proven, and still as good as it was: the caller may have waited since.
// Else GitLab is asked by the fetch itself.
func (d *download) namedToLeader() *upstream.Answer {
	answer := d.answer
	switch {
	case answer == nil, answer.Verdict != upstream.Allowed, answer.Unproven,
		d.state.now().Sub(answer.Sent) >= max(min(d.h.maxAge, d.h.grantTTL), ownRequest), !d.isStillAllowed(),
		// The doubt that this very answer has made isn't one of it.
		d.store.IsDoubted(d.key, answer.Sent.Add(1)), d.store.IsQuestioned(d.key, answer.Sent), d.state.formers.has(d.key, answer.Identity, answer.Sent):
		return nil
	}
	return answer
}

// takeBody answers the leader with a body that is for nobody else.
func (d *download) takeBody(fl *flight) {
	select {
	case body := <-fl.handover:
		defer close(fl.taken)
		defer body.Close()
		if asksForWhole(d.r.Header) {
			d.stream(body)
			return
		}
		// A part, or a condition: GitLab's to judge of a body that isn't kept.
		_ = body.Close()
		d.forward(outcomeForwarded, fwdBypass)
	case <-d.r.Context().Done():
		d.abandon() // panics
	case <-d.state.ctx.Done():
		// The edge closes, and nobody gives anything any more. Caddy's server still answers who is here.
		d.forward(outcomeForwarded, fwdBypass)
	}
}
