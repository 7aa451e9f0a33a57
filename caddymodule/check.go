package caddymodule

import (
	"errors"
	"net/http"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// check asks GitLab whether this caller may have the file and how it is named now, and remembers what that means for
// the grant. Callers with the same fingerprint and address who ask for the same file at once share one question.
func (d *download) check(entry cache.Entry, stored bool, running *flight) {
	known := make([]upstream.Identity, 0, 2)
	if stored {
		known = append(known, identityOf(entry))
	}
	if running != nil && running.isHeaded() && running.err == nil {
		known = append(known, running.identity)
	}
	waits := untilAnswered
	if d.mayServeUnasked(entry, stored, upstream.UseOffline) {
		waits = untilGitLabIsDown
	}
	answer := d.askOnce(upstream.Question{Known: known}, waits)
	d.answer = &answer
}

// patience is how long a caller waits for the answer to a question.
type patience int

const (
	// untilAnswered: until the answer is there, or the question is given up.
	untilAnswered patience = iota
	// untilGitLabIsDown: no longer than until the probe has shown that GitLab doesn't answer, since there is something to serve
	// meanwhile. The question goes on for others.
	untilGitLabIsDown
)

// describe answers a HEAD for a file that isn't here: GitLab's answer to the check has all that is asked for. If the
// check that was made already led to object storage, another one follows it there.
func (d *download) describe() {
	if d.answer == nil || d.answer.Unproven || d.answer.Identity.Length < 0 {
		answer := d.askOnce(upstream.Question{Follow: true}, untilAnswered)
		d.answer = &answer
	}
	answer := *d.answer
	switch answer.Verdict {
	case upstream.Allowed:
		if answer.Identity.Length < 0 {
			d.forward(outcomeForwarded, d.missReason())
			return
		}
		if d.admit() {
			d.setOutcome(outcomeDescribed, cacheStatusForward(d.missReason(), http.StatusOK))
			d.sendDescription(answer)
		}
	case upstream.Unreachable:
		if d.checkWasCut() {
			d.forward(outcomeForwarded, fwdBypass)
		} else {
			d.refuseUnreachable(answer.Err)
		}
	case upstream.RateLimited, upstream.Refused:
		d.relayRefused(answer.No)
	}
}

// checkWasCut reports whether the check came to nothing since the edge closes, and not for want of GitLab. Then that is no
// reason to serve whom GitLab hasn't allowed lately, nor to serve nobody. In an outage a closing edge serves nobody whom it
// must ask about.
func (d *download) checkWasCut() bool {
	return d.state.ctx.Err() != nil || errors.Is(d.answer.Err, errClosing)
}

// askKey is what GitLab's answer to this caller's question about the file depends on.
func (d *download) askKey() askKey {
	return askKey{d.h.access, d.grantKey(), d.key, d.generation, d.answer != nil}
}

// askOnce sends one question, or waits for one like it that is already on its way.
func (d *download) askOnce(question upstream.Question, waits patience) upstream.Answer {
	defer d.report.waited(time.Now())
	key := d.askKey()
	one, mine := d.state.asks.begin(key)
	if mine {
		question.Caller, question.Ref = d.caller(), d.ref
		question.Granted = d.isGranted(upstream.UseFresh) || d.isGranted(upstream.UseOffline)
		d.beginAsking(key, one, question)
	}
	var down <-chan struct{}
	if waits == untilGitLabIsDown {
		down = d.h.client.Down()
	}
	select {
	case <-one.over:
		return one.answer
	case <-down:
		return unanswered(upstream.TroubleNotAsked, upstream.ErrNotAsked)
	case <-d.r.Context().Done():
		return unanswered(upstream.TroubleCaller, d.r.Context().Err())
	}
}

// beginAsking sends a question on the state's own context: its first caller may leave while others wait. It ends by itself in
// time.
func (d *download) beginAsking(key askKey, one *ask, question upstream.Question) {
	h, state, store := d.h, d.state, d.store
	if !state.enter() {
		state.asks.end(key, one, unanswered(upstream.TroubleEdge, errClosing))
		return
	}
	h.transports.hold()
	// Ends with the answer, or in time.
	go func() {
		defer state.leave()
		defer h.transports.release()
		begun := time.Now()
		answer := h.client.Check(state.ctx, question)
		h.metrics.checked(answer, time.Since(begun))
		h.hear(state, store, key.key, reader{question.Caller, key.grantKey}, answer)
		state.asks.end(key, one, answer)
	}()
}

// unanswered is the answer to a question that GitLab didn't hear.
func unanswered(trouble upstream.Trouble, err error) upstream.Answer {
	return upstream.Answer{Verdict: upstream.Unreachable, Err: &upstream.UnreachableError{Trouble: trouble, Err: err}}
}
