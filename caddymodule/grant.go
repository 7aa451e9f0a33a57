package caddymodule

import (
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// ownRequest is how long GitLab's yes counts at least for the very request that had it asked.
const ownRequest = time.Second

// grantLife is how long a yes that this handler gets counts, and what counts at most of one that any handler got.
func (h *Handler) grantLife() upstream.Life {
	return upstream.Life{Fresh: h.grantTTL, RateLimited: 2 * h.grantTTL, Offline: h.offlineGrace}
}

// grantKey is what GitLab's yes to this caller is kept under. Its fingerprint is made of the request itself, at less cost than a
// credential (upstream/fingerprint.go). A warming has no request: it makes the key of an admin's token itself, without an address
// (warming.fetch, warm.go). So its yes is good for downloads only where grant_scope is credential.
func (x *exchange) grantKey() upstream.GrantKey {
	if x.madeGrantKey.Upstream == "" {
		x.madeGrantKey = upstream.GrantKey{
			Upstream:    x.key.Upstream,
			Fingerprint: x.state.fingerprinter.OfRequest(x.r.Header, x.r.URL.RawQuery, x.h.IdentityHeaders),
			ClientIP:    clientIP(x.r),
			Project:     x.ref.Project,
			File:        upstream.FileOf(x.ref),
		}
		if x.h.GrantScope == grantScopeCredential {
			x.madeGrantKey.ClientIP = ""
		}
	}
	return x.madeGrantKey
}

// isGranted reports whether GitLab's yes to this caller is good for that use now.
func (x *exchange) isGranted(use upstream.Use) bool {
	grant, ok := x.state.grants.Granted(x.grantKey())
	return ok && grant.Covers(use, x.h.grantLife(), x.state.now())
}

// grantIsAbout reports whether the caller's grant can be about content that GitLab named at that time. A project's id is its
// own for ever; a path may have passed to another project since GitLab said yes (contract, section 6), whose files this
// caller may not read or must not take for those of the first.
func (x *exchange) grantIsAbout(named time.Time) bool {
	if x.grantKey().File == "" {
		return true
	}
	grant, ok := x.state.grants.Granted(x.grantKey())
	return ok && !grant.Sent.Before(named)
}

// isStillAllowed reports whether GitLab's yes to this caller's check still counts when bytes are about to be sent: no later
// no is known, no admin has had the grant forgotten, and it hasn't grown old while the head of a flight was waited for. With
// grant_ttl 0 a check counts for its own request, and that may take a second.
func (x *exchange) isStillAllowed() bool {
	grant, ok := x.state.grants.Granted(x.grantKey())
	return ok && (grant.Covers(upstream.UseFresh, x.h.grantLife(), x.state.now()) || x.state.now().Sub(grant.Sent) < ownRequest)
}
