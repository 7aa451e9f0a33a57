package caddymodule

import (
	"errors"
	"net/http"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// hear takes in what GitLab has said to one caller who wanted to read a file, by a check or by a fetch: the grants' door for
// the caller's own rights, and the question's for all others (docs/who-may-change-what.md). A no ends nothing for others: a
// 404 to somebody who lately held a yes is only worth asking again, since whoever may not read a project hears 404 for every
// file in it.
func (h *Handler) hear(s *state, store *cache.Store, key cache.Key, who reader, answer upstream.Answer) {
	switch answer.Verdict {
	case upstream.Allowed:
		s.grants.Allow(who.grantKey, answer.Yes(who.caller, h.grantLife()))
		if !answer.Unproven {
			s.process.knownProjects.note(key.Upstream, key.Project)
		}
	case upstream.Refused:
		// Looked at before the no ends the grant.
		held, ok := s.grants.Granted(who.grantKey)
		lately := ok && (held.Covers(upstream.UseFresh, h.grantLife(), answer.Sent) || held.Covers(upstream.UseOffline, h.grantLife(), answer.Sent))
		if lately && answer.Status == http.StatusNotFound {
			store.Question(key, answer.Sent, cache.GoneForOne)
		}
		s.grants.Refuse(who.grantKey, answer.Refusal(who.caller))
	case upstream.RateLimited, upstream.Unreachable:
	}
}

// answerOfFetch is what GitLab has said to the caller in whose name a file was fetched.
func answerOfFetch(body *upstream.Download, err error) upstream.Answer {
	if err == nil {
		return upstream.Answer{
			Verdict: upstream.Allowed, Identity: body.Identity, Disposition: body.Disposition, Sent: body.Sent, Status: http.StatusOK,
		}
	}
	if refused, ok := errors.AsType[*upstream.RefusedError](err); ok {
		verdict := upstream.Refused
		if refused.RateLimited() {
			verdict = upstream.RateLimited
		}
		return upstream.Answer{Verdict: verdict, Sent: refused.Sent, Status: refused.Status, No: &refused.RefusedAnswer}
	}
	unreachable, ok := errors.AsType[*upstream.UnreachableError](err)
	if !ok {
		unreachable = &upstream.UnreachableError{Err: err}
	}
	return upstream.Answer{Verdict: upstream.Unreachable, Err: unreachable}
}
