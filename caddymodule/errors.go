package caddymodule

import (
	"errors"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// Answers of the edge's own have GitLab's JSON shape and are written here, never returned as errors: Caddy's error
// log would print the request with its tokens.

const (
	// bodySwitchedOff is what GitLab 13.5 says of a project whose feature flag is off (contract, section 2).
	bodySwitchedOff = `{"message":"404 Not Found"}`
	bodyUnreachable = `{"message":"502 Bad Gateway - GitLab can't be reached"}`
	// bodyHTTPSWanted tells callers, and so the admin, that the edge's settings are wrong.
	bodyHTTPSWanted = `{"message":"502 Bad Gateway - GitLab redirects to https, and the edge was given its http URL"}`
	bodyUnavailable = `{"message":"503 Service Unavailable - GitLab is in trouble"}`
	bodyLimited     = `{"message":"503 Service Unavailable - too many requests are on their way to GitLab from callers that it isn't known to allow"}`
	// bodyUnknownSwitches stands for every request while nobody knows which projects are off.
	bodyUnknownSwitches = `{"message":"503 Service Unavailable - which projects are switched off can't be read"}`
	// bodyJoining is for downloaders that go on by themselves: any status by which they begin anew, or stop and say so, will do.
	bodyJoining   = `{"message":"409 Conflict - what was sent of this file before it broke off was never found to be right","edge":"refused by the edge, not by GitLab: remove what you have of it, and download it from its beginning"}`
	bodyUndecided = `{"message":"503 Service Unavailable - GitLab doesn't tell which project this is"}`
)

// retryAfterSeconds is what callers are told to wait when GitLab is in trouble and didn't say itself.
const retryAfterSeconds = 5

// refuseSwitchedOff answers for a project that is off, whatever the method.
func (x *exchange) refuseSwitchedOff() {
	x.setOutcome(outcomeSwitchedOff, cacheStatusLocal(outcomeSwitchedOff))
	x.report.why = whySwitchedOff
	x.writeJSON(http.StatusNotFound, bodySwitchedOff)
}

// refuseInvalid answers a name that the rules don't allow, as GitLab's parameter validation does. GitLab's words stay as they
// are for clients; a further field tells people that it wasn't GitLab, and what would be legal.
func (x *exchange) refuseInvalid(err error) {
	invalid, ok := errors.AsType[*upstream.InvalidError](err)
	if !ok {
		invalid = &upstream.InvalidError{Parameter: "path"}
	}
	x.setOutcome(outcomeInvalid, cacheStatusLocal(outcomeInvalid))
	x.report.why = x.h.whyInvalid(invalid)
	x.writeJSON(http.StatusBadRequest, `{"error":`+strconv.Quote(invalid.Error())+`,"edge":`+strconv.Quote(x.h.refusal(invalid))+`}`)
}

// refusal says for people which rules of the edge's refused a name.
func (h *Handler) refusal(invalid *upstream.InvalidError) string {
	if invalid.Allowed == "" {
		return "refused by the edge, not by GitLab: no rules allow it, and rules " + h.rules.String() + " are in force"
	}
	told := "refused by the edge, not by GitLab: rules " + h.rules.String() + " are in force and allow " + invalid.Allowed
	if h.rules.String() == defaultRules {
		told += "; rules current allow what today's GitLab does"
	}
	return told
}

// refuseJoining answers who would join a part of a file to wrong bytes (uncompared.go).
func (x *exchange) refuseJoining() {
	x.setOutcome(outcomeInvalid, cacheStatusLocal(outcomeInvalid))
	x.writeJSON(http.StatusConflict, bodyJoining)
}

// refuseUnreachable answers when GitLab can't be asked and nothing may be served without it: 503 where GitLab itself
// said so, else 502.
func (x *exchange) refuseUnreachable(err error) {
	if errors.Is(err, upstream.ErrNoConnectionFree) {
		x.refuseLimited(err)
		return
	}
	x.setOutcome(outcomeUnreachable, cacheStatusLocal(outcomeUnreachable))
	x.report.why = whyUnreachable(err)
	status, body, retryAfter := http.StatusBadGateway, bodyUnreachable, strconv.Itoa(retryAfterSeconds)
	if errors.Is(err, upstream.ErrRedirectsToHTTPS) {
		body = bodyHTTPSWanted
	}
	if unreachable, ok := errors.AsType[*upstream.UnreachableError](err); ok {
		if unreachable.Status == http.StatusServiceUnavailable {
			status, body = http.StatusServiceUnavailable, bodyUnavailable
		}
		if unreachable.RetryAfter != "" {
			retryAfter = unreachable.RetryAfter
		}
	}
	const what = "GitLab can't be asked"
	if errors.Is(err, upstream.ErrNotAsked) || errors.Is(err, errResting) {
		// Was told when it began.
		x.h.logger.Debug(what, zap.Stringer("ref", x.ref), zap.Int("status", status), zap.Error(err))
	} else {
		x.h.tellTrouble(trouble{what: what, ref: x.ref, err: err, further: []zap.Field{zap.Int("status", status)}, passing: true})
	}
	x.w.Header().Set("Retry-After", retryAfter)
	x.writeJSON(status, body)
}

// refuseLimited answers a forwarded request for which no connection to GitLab was free. GitLab has nothing to do with that.
func (x *exchange) refuseLimited(err error) {
	x.setOutcome(outcomeLimited, cacheStatusLocal(outcomeLimited))
	x.report.why = whyLimited
	x.h.tellTrouble(trouble{what: "no connection to GitLab was free for a request", ref: x.ref, err: err, passing: true})
	x.w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	x.writeJSON(http.StatusServiceUnavailable, bodyLimited)
}

func (x *exchange) writeJSON(status int, body string) {
	x.write(status, "application/json", body)
}

// write sends a short answer of the edge's own.
func (x *exchange) write(status int, contentType, body string) {
	x.report.status = status
	header := x.w.Header()
	if x.r.ProtoMajor == 1 && x.body.isLeft() {
		// An upload that is refused early: without this Go would read on to keep the connection, since Caddy has
		// wrapped the body, and a client that waits for 100 Continue would hang.
		header.Set("Connection", "close")
	}
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		// A caller who left doesn't read it; there is nothing else to do.
		_, _ = x.w.Write([]byte(body))
	}
}
