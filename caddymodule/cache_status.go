package caddymodule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cacheName is how the edge calls itself in Cache-Status.
const cacheName = "gitlab_packages"

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

// setOutcome notes what becomes of the request and tells the caller in Cache-Status (RFC 9211).
func (x *exchange) setOutcome(outcome outcome, cacheStatus string) {
	x.report.outcome = outcome
	x.report.answering()
	x.setHeader("Cache-Status", cacheStatus)
}

// cacheStatus is the Cache-Status of an answer that comes from the store or on the way into it. confirmed is when GitLab
// was last asked and named the content.
func (d *download) cacheStatus(outcome outcome, confirmed time.Time) string {
	status := append(make([]byte, 0, 80), cacheName...)
	fetched := outcome == outcomeMiss || outcome == outcomeJoined
	switch {
	case fetched:
		status = append(append(append(status, "; fwd="...), d.missReason()...), "; fwd-status=200; stored"...)
	case outcome == outcomeRevalidated:
		status = append(status, "; fwd=stale; fwd-status="...)
		status = strconv.AppendInt(status, int64(d.answer.Status), 10)
	default:
		status = append(status, "; hit"...)
	}
	if outcome == outcomeJoined {
		status = append(status, "; collapsed"...)
	}
	left := d.h.maxAge - d.state.now().Sub(confirmed)
	status = strconv.AppendInt(append(status, "; ttl="...), int64(left.Seconds()), 10)
	if outcome == outcomeOffline {
		status = append(status, "; detail=offline"...)
	}
	if outcome == outcomeRevalidated {
		status = append(status, "; detail=confirmed"...)
	}
	return string(status)
}

// missReason says why a download that GitLab allowed wasn't answered from the store.
func (d *download) missReason() string {
	if d.replaced {
		return fwdStale
	}
	return fwdMiss
}

// cacheStatusForward is the Cache-Status of an answer that was forwarded.
func cacheStatusForward(reason string, status int) string {
	return fmt.Sprintf("%s; fwd=%s; fwd-status=%d", cacheName, reason, status)
}

// cacheStatusLocal is the Cache-Status of an answer of the edge's own.
func cacheStatusLocal(outcome outcome) string {
	return cacheName + "; detail=" + strings.ReplaceAll(string(outcome), "_", "-")
}
