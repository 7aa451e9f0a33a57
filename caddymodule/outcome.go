package caddymodule

import (
	"fmt"
	"strconv"
	"strings"

	"go.uber.org/zap/zapcore"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// outcome says what became of a request: one closed set for the access log and the metrics.
type outcome string

const (
	// outcomeHit: served from the store, GitLab wasn't asked.
	outcomeHit outcome = "hit"
	// outcomeRevalidated: served from the store after one HEAD to GitLab.
	outcomeRevalidated outcome = "revalidated"
	// outcomeOffline: served from the store while GitLab could not be asked.
	outcomeOffline outcome = "offline"
	// outcomeMiss: fetched, and stored.
	outcomeMiss outcome = "miss"
	// outcomeJoined: served from a fetch that somebody else leads.
	outcomeJoined outcome = "joined"
	// outcomeStreamed: fetched, and not stored, since it didn't fit or can't be stored.
	outcomeStreamed outcome = "streamed"
	// outcomeDescribed: a HEAD answered from one HEAD to GitLab.
	outcomeDescribed outcome = "described"
	// outcomePublished: a publish that was forwarded, whatever GitLab said to it.
	outcomePublished outcome = "published"
	// outcomeForwarded: any other request that was forwarded.
	outcomeForwarded outcome = "forwarded"
	// outcomeRefused: GitLab's own refusal was relayed.
	outcomeRefused outcome = "refused"
	// outcomeRateLimited: GitLab's 429 was relayed.
	outcomeRateLimited outcome = "rate_limited"
	// outcomeInvalid: refused by the rules.
	outcomeInvalid outcome = "invalid"
	// outcomeSwitchedOff: the project is off.
	outcomeSwitchedOff outcome = "switched_off"
	// outcomeUnreachable: GitLab could not be asked and nothing could be served.
	outcomeUnreachable outcome = "unreachable"
	// outcomeAbandoned: the caller left before there was an answer.
	outcomeAbandoned outcome = "abandoned"
)

// allOutcomes is the closed set.
var allOutcomes = []outcome{
	outcomeHit, outcomeRevalidated, outcomeOffline, outcomeMiss, outcomeJoined, outcomeStreamed, outcomeDescribed, outcomePublished,
	outcomeForwarded, outcomeRefused, outcomeRateLimited, outcomeInvalid, outcomeSwitchedOff, outcomeUnreachable, outcomeAbandoned,
}

// Reasons for which a request was forwarded: values of RFC 9211's fwd parameter.
const (
	fwdBypass  = "bypass"
	fwdMethod  = "method"
	fwdMiss    = "uri-miss"
	fwdStale   = "stale"
	fwdPartial = "partial"
	// fwdRefused goes with every refusal of GitLab's, whatever is stored: a stranger must not learn that.
	fwdRefused = "miss"
)

// record is what the access log and the metrics hear of a request.
type record struct {
	outcome outcome
	project string
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (r *record) MarshalLogObject(encoder zapcore.ObjectEncoder) error {
	encoder.AddString("outcome", string(r.outcome))
	encoder.AddString("project", r.project)
	return nil
}

// cacheName is how the edge calls itself in Cache-Status.
const cacheName = "gitlab_packages"

// setOutcome notes what becomes of the request and tells the caller in Cache-Status (RFC 9211).
func (x *exchange) setOutcome(outcome outcome, cacheStatus string) {
	x.record.outcome = outcome
	x.setHeader("Cache-Status", cacheStatus)
}

// cacheStatus is the Cache-Status of an answer that comes from the store or on the way into it.
func (d *download) cacheStatus(outcome outcome, entry cache.Entry) string {
	switch outcome {
	case outcomeHit, outcomeOffline:
		left := d.h.maxAge - d.state.now().Sub(entry.Confirmed)
		status := append(make([]byte, 0, 64), cacheName+"; hit; ttl="...)
		status = strconv.AppendInt(status, int64(left.Seconds()), 10)
		if outcome == outcomeOffline {
			status = append(status, "; detail=offline"...)
		}
		return string(status)
	case outcomeRevalidated:
		return cacheName + "; fwd=stale; fwd-status=200; detail=confirmed"
	case outcomeMiss:
		return cacheName + "; fwd=uri-miss; fwd-status=200; stored"
	case outcomeJoined:
		return cacheName + "; fwd=uri-miss; fwd-status=200; stored; collapsed"
	default:
		return cacheName
	}
}

// cacheStatusForward is the Cache-Status of an answer that was forwarded.
func cacheStatusForward(reason string, status int) string {
	return fmt.Sprintf("%s; fwd=%s; fwd-status=%d", cacheName, reason, status)
}

// cacheStatusLocal is the Cache-Status of an answer of the edge's own.
func cacheStatusLocal(outcome outcome) string {
	return cacheName + "; detail=" + strings.ReplaceAll(string(outcome), "_", "-")
}
