package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// exchange is one request for a generic package and what becomes of it.
type exchange struct {
	h *Handler
	w http.ResponseWriter
	r *http.Request
	// body guards r.Body; nil if there is none.
	body *callerBody
	// target is which file; its key is of the handler's GitLab.
	target
	// path is the escaped path that is forwarded.
	path string
	// organization says that the path names an organization (upstream.Route).
	organization bool

	// switched is whether the project is served, as far as that is known; set by isSwitchedOff.
	switched switchState
	// said is what was said at run time when that was found out.
	said *storedSwitches

	// Set by openStore.
	state *state
	store *cache.Store
	// madeGrantKey is made by grantKey when it is first needed.
	madeGrantKey upstream.GrantKey

	report report
	// answered says that the request came to an end other than a broken-off answer.
	answered bool

	// values is the room of setHeader.
	values [12]string
	used   int
}

// route reads which file of GitLab's a request is about. A target that neither is a path nor stands for one is refused
// before anybody else sees it: Go has no path of it, and would send it on as it came.
func (h *Handler) route(r *http.Request) (upstream.Route, error) {
	if !hasPlainTarget(r.URL) {
		return upstream.Route{}, &upstream.InvalidError{Parameter: "path"}
	}
	return upstream.ParseRouteBelow(h.client.BasePath(), upstream.EscapedPath(r.URL))
}

func (h *Handler) newExchange(w http.ResponseWriter, r *http.Request, route upstream.Route) *exchange {
	x := &exchange{h: h, w: w, r: r, body: guardBody(w, r), target: h.targetOf(route.Ref), path: route.Path, organization: route.Organization}
	x.report.ref, x.report.begun = route.Ref, time.Now()
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		replacer.Map(x.report.placeholder)
	}
	return x
}

// caller is who asks, with their credential, for a request to GitLab. Hits need no credential, only its fingerprint (grantKey,
// grant.go), which is made without one.
func (x *exchange) caller() upstream.Caller {
	return upstream.Caller{
		Credential: upstream.CredentialOf(x.r.Header, x.r.URL.RawQuery, x.h.IdentityHeaders),
		ClientIP:   clientIP(x.r),
		Proto:      forwardedProto(x.r),
		Host:       forwardedHost(x.r),
		Trace:      traceOf(x.r),
	}
}

// reader is the caller as one who may read the file, if GitLab says yes.
func (x *exchange) reader() reader { return reader{x.caller(), x.grantKey()} }

// traceOf returns the trace context that Caddy's tracing directive has put into the request, in a form that it has made
// itself; nil where that directive isn't on, whatever the caller sent.
func traceOf(r *http.Request) http.Header {
	if caddyhttp.GetVar(r.Context(), "trace_id") == nil {
		return nil
	}
	trace := make(http.Header, 2)
	for _, name := range []string{"Traceparent", "Tracestate"} {
		if values := r.Header[name]; len(values) > 0 {
			trace[name] = values
		}
	}
	return trace
}

// clientIP is the caller's address as Caddy trusts it (trusted_proxies).
func clientIP(r *http.Request) string {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return address
}

// fromTrustedProxy reports whether the request came by a proxy that Caddy was told to trust.
func fromTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

func forwardedProto(r *http.Request) string {
	if proto := strings.ToLower(r.Header.Get("X-Forwarded-Proto")); fromTrustedProxy(r) && (proto == "http" || proto == "https") {
		return proto
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func forwardedHost(r *http.Request) string {
	if host := r.Header.Get("X-Forwarded-Host"); fromTrustedProxy(r) && host != "" {
		return host
	}
	return r.Host
}

// isPlainDownload reports whether a GET or HEAD can be answered from the cache at all. What carries anything that
// could change GitLab's answer and isn't part of the credential is forwarded: an organization in the path, a query such as
// ?path=, a body (Rack reads parameters from it), an Origin (GitLab's CORS layer answers differently; contract, section
// 5). An offer to upgrade changes nothing, since nobody takes it. gatherBody must have been called.
func (x *exchange) isPlainDownload() bool {
	return !x.organization && upstream.QueryHoldsOnly(x.r.URL.RawQuery) && x.r.Header.Get("Origin") == "" && x.r.ContentLength == 0
}

// isDownload reports whether a request is for a file, and changes nothing.
func isDownload(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// openStore finds the store that the config uses. False means that the edge goes without: the directory can't be used.
func (x *exchange) openStore() bool {
	x.state = x.h.attachment.state
	x.store = x.state.store.Load()
	return x.store != nil
}

// forward sends the caller's own request on to GitLab, uncached, and relays the answer.
func (x *exchange) forward(outcome outcome, reason string) {
	x.forwardWith(outcome, reason, upstream.Forwarding{})
}

// forwardWith is forward with more to say about how. The answer's own Cache-Status, if GitLab is another edge, stays
// in front of ours (RFC 9211, section 2).
func (x *exchange) forwardWith(outcome outcome, reason string, how upstream.Forwarding) {
	how.Caller, how.Path, how.DropHeaders, how.Standing = x.caller(), x.path, x.h.DropHeaders, x.standing()
	if how.Delivery == nil {
		how.Delivery = new(upstream.Delivery)
	}
	seen, begun := how.OnAnswer, time.Now()
	how.Admit = x.admitAnswer
	how.OnAnswer = func(response *http.Response) {
		x.relays(response, outcome, begun)
		response.Body = struct {
			io.Reader
			io.Closer
		}{&countedReader{Reader: response.Body, read: x.relayed}, response.Body}
		if isDownload(x.r) && response.StatusCode < http.StatusMultipleChoices {
			forbidTransform(response.Header)
		}
		response.Header.Add("Cache-Status", cacheStatusForward(reason, response.StatusCode))
		if seen != nil {
			seen(response)
		}
	}
	request := x.r
	if isDownload(request) {
		request = judgeableByGitLab(request)
	}
	x.refuseUnforwarded(x.h.client.Forward(x.w, request, how), how.Delivery)
}

// relays notes that GitLab's answer is relayed now, to a request that was sent on when it begun.
func (x *exchange) relays(response *http.Response, outcome outcome, begun time.Time) {
	x.report.outcome, x.report.status = outcome, response.StatusCode
	x.report.waited(begun)
	x.report.answering()
	if x.r.ProtoMajor == 1 && x.body.isLeft() {
		// GitLab answers before the body has ended: it refuses. See write.
		response.Header.Set("Connection", "close")
	}
}

// refuseUnforwarded answers a request that was sent on and got no answer to be relayed, if there is an error.
func (x *exchange) refuseUnforwarded(err error, delivery *upstream.Delivery) {
	if err == nil {
		return
	}
	if _, ok := errors.AsType[*notAdmittedError](err); ok {
		x.refuseUnadmitted(err)
		return
	}
	if x.r.Context().Err() != nil {
		x.abandon()
	}
	if broken := delivery.Broken(); broken != nil {
		x.refuseBody(broken)
		return
	}
	x.refuseUnreachable(err)
}

// standing is what GitLab is known to think of the caller.
func (x *exchange) standing() upstream.Standing {
	if x.state == nil && !x.openStore() {
		return upstream.Stranger
	}
	key := x.grantKey()
	if x.isGranted(upstream.UseFresh) || x.isGranted(upstream.UseOffline) || x.state.publishers.isProven(publisher{key.Upstream, key.Fingerprint, key.Project}, x.state.now()) {
		return upstream.Trusted
	}
	return upstream.Stranger
}

// abandon ends a request whose caller has left before a byte of the answer was written. The caller may only have ended
// its sending and still read: net/http can't tell, and would make an empty 200 of a handler that returns. An upload would
// look taken, a file empty. So the connection ends without an answer. It never returns: it panics with http.ErrAbortHandler.
func (x *exchange) abandon() {
	x.report.outcome = outcomeAbandoned
	panic(http.ErrAbortHandler)
}

// finish ends the reading of the body, and tells the access log and the metrics what became of the request. It runs
// also while an aborted response panics on its way out.
func (x *exchange) finish() {
	x.body.retire()
	if !x.answered && x.r.Context().Err() != nil {
		x.report.outcome = outcomeAbandoned // in mid-body, too: what was begun as a hit is none
	}
	if extra, ok := x.r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok && hasAccessLog(x.r) {
		extra.Set(zap.Object("gitlab_packages", &x.report))
	}
	x.noteRefusal()
	x.h.metrics.finished(x.r.Method, &x.report)
}

// hasAccessLog reports whether the server may write requests into an access log.
func hasAccessLog(r *http.Request) bool {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return !ok || server.Logs != nil
}

// setHeader sets a header of the answer. The values of an exchange share one array, each with a piece of it that has no
// room to grow: this is on the way of every hit.
func (x *exchange) setHeader(name, value string) {
	header := x.w.Header()
	if x.used == len(x.values) {
		header[name] = []string{value}
		return
	}
	x.values[x.used] = value
	x.used++
	header[name] = x.values[x.used-1 : x.used : x.used]
}
