package caddymodule

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// check asks GitLab whether this caller may have the file and how it is named now, and remembers what that means for
// the grant. Callers with the same fingerprint and address who ask for the same file at once share one HEAD.
func (d *download) check(entry cache.Entry, stored bool, running *flight) {
	known := make([]upstream.Identity, 0, 2)
	if stored {
		known = append(known, identityOf(entry))
	}
	if running != nil && running.isHeaded() && running.err == nil {
		known = append(known, running.identity)
	}
	answer := d.askOnce("check", false, known)
	d.answer = &answer
}

// describe answers a HEAD for a file that isn't here: GitLab's answer to the check has all that is asked for. If the
// check that was made already led to object storage, another one follows it there.
func (d *download) describe() bool {
	if d.answer == nil || d.answer.Unproven || d.answer.Identity.Length < 0 {
		answer := d.askOnce("describe", true, nil)
		d.answer = &answer
	}
	answer := *d.answer
	switch answer.Verdict {
	case upstream.Allowed:
		if answer.Identity.Length < 0 {
			return d.forward(outcomeForwarded, d.missReason())
		}
		if !d.admit() {
			return true
		}
		d.setOutcome(outcomeDescribed, cacheStatusForward(d.missReason(), http.StatusOK))
		d.sendDescription(answer)
		return true
	case upstream.Unreachable:
		if d.checkWasCut() {
			return d.forward(outcomeForwarded, fwdBypass)
		}
		return d.refuseUnreachable(answer.Err)
	case upstream.RateLimited:
		return d.relayRateLimit(answer.Header)
	case upstream.Refused:
	}
	return d.forward(outcomeRefused, fwdRefused)
}

// checkWasCut reports whether the check came to nothing since the edge closes, and not for want of GitLab. Then that is no
// reason to serve whom GitLab hasn't allowed lately, nor to serve nobody. In an outage a closing edge serves nobody whom it
// must ask about.
func (d *download) checkWasCut() bool {
	return d.state.ctx.Err() != nil || errors.Is(d.answer.Err, errClosing)
}

// askOnce sends one check, or waits for one like it that is already on its way. The generation is part of what makes
// them alike: an answer to a question from before a publish says nothing about what came after it.
func (d *download) askOnce(purpose string, follow bool, known []upstream.Identity) upstream.Answer {
	grant, generation := d.grantKey(), d.generation
	alike := strings.Join([]string{
		purpose, string(grant.Fingerprint[:]), grant.ClientIP, d.key.Upstream, d.ref.EscapedPath(), generation.String(),
	}, "\x00")
	caller, ref, client, state, transports := d.caller(), d.ref, d.h.client, d.state, d.h.transports
	defer d.record.waited(time.Now())

	result := state.checks.DoChan(alike, func() (any, error) {
		if !state.enter() {
			return upstream.Answer{Verdict: upstream.Unreachable, Err: &upstream.UnreachableError{Err: errClosing}}, nil
		}
		defer state.leave()
		transports.hold()
		defer transports.release()
		// On the state's own context: the first caller may leave while others wait. It ends by itself in time.
		begun := time.Now()
		answer := client.Check(state.ctx, caller, ref, follow, known...)
		d.h.metrics.checked(answer, time.Since(begun))
		switch {
		case answer.Verdict == upstream.Allowed && !answer.Unproven:
			state.grants.Allow(grant, answer.Sent)
		case answer.Verdict == upstream.Refused:
			state.grants.Refuse(grant, answer.Sent)
		}
		return answer, nil
	})
	select {
	case got := <-result:
		return got.Val.(upstream.Answer)
	case <-d.r.Context().Done():
		return upstream.Answer{Verdict: upstream.Unreachable, Err: &upstream.UnreachableError{Err: d.r.Context().Err()}}
	}
}
