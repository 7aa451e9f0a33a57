package caddymodule

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// ServeHTTP implements caddyhttp.MiddlewareHandler. What comes on a goroutine of its own, as each request by HTTP/2 and 3 does, is answered
// on one that has been used before (workers.go).
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.ProtoMajor == 1 {
		return h.serve(w, r, next)
	}
	return h.process.workers.do(func() error { return h.serve(w, r, next) })
}

// serve answers requests for generic packages. All others go to GitLab, if the handler is asked to forward them, else to the
// next handler, with the escaped path by which they were judged. Its cases stand in the order of steps 1 to 3 (design, "One GET"): what can be refused by the request's
// head alone is refused before its body is waited for.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	route, err := h.route(r)
	if errors.Is(err, upstream.ErrNotGeneric) {
		if h.ForwardOtherRequests {
			h.serveOther(w, r)
			return nil
		}
		if r.URL.RawPath != "" {
			// Else reverse_proxy makes a path with odd bytes anew: its %2F become slashes, and it may be a package's then.
			r.URL.RawPath = upstream.EscapedPath(r.URL)
		}
		return next.ServeHTTP(w, r)
	}
	x := h.newExchange(w, r, route)
	defer resetIfBrokenOff(r)
	defer x.finish()
	h.transports.hold()
	defer h.transports.release()

	switch {
	case !hasPlainTarget(r.URL):
		x.refuseInvalid(err)
	case h.app.wait(r.Context()) != nil:
		// Which projects are off isn't known yet. And another config may have the store open, and would not hear of a
		// publish.
		x.refuseUnreachable(&upstream.UnreachableError{Status: http.StatusServiceUnavailable, Err: errNotStarted})
	case h.app.switches.reading() == switchesUnknown:
		x.refuseUnknownSwitches()
	case x.isSwitchedOff():
		x.refuseSwitchedOff()
	case err != nil:
		x.refuseInvalid(err)
	case r.Method == http.MethodPut:
		h.servePublish(x)
	case r.Method == http.MethodPost || r.Method == http.MethodConnect:
		x.refuseMethod()
	case r.Method != http.MethodOptions && !x.hasLegalNames():
		// Is answered.
	case !x.gatherBody():
		// Is answered.
	case isDownload(r):
		h.serveDownload(x)
	case r.Method != http.MethodOptions:
		h.servePublish(x)
	case x.admitUpload():
		x.forward(outcomeForwarded, fwdMethod)
	}
	x.answered = true
	x.body.linger(r)
	return nil
}

// serveDownload answers one GET or HEAD of a file whose names are legal: the end of step 3 (design, "One GET"), and from there on
// by attempts.
func (h *Handler) serveDownload(x *exchange) {
	if !x.isPlainDownload() {
		x.forward(outcomeForwarded, fwdBypass)
		return
	}
	if !x.openStore() {
		x.forward(outcomeForwarded, fwdBypass)
		return
	}
	d := &download{exchange: x}
	for range maxAttempts {
		if d.attempt() {
			return
		}
	}
	// The file changes faster than we can follow; GitLab's own word is always right.
	x.forward(outcomeForwarded, fwdBypass)
}

// maxAttempts bounds how often one download starts over because the world changed under it: a publish, an eviction,
// a fetch by somebody else that failed.
const maxAttempts = 12

// download is one caller's way to one file. It may take several attempts; what GitLab said in one of them still
// holds in the next as long as the generation is the same.
type download struct {
	*exchange

	generation cache.Generation
	// answer is what GitLab said to this caller's check in the present generation; nil before it was asked.
	answer *upstream.Answer
	// ruledOut is a flight that this caller can't follow.
	ruledOut *flight
	// replaced says that what was stored isn't the current file any more.
	replaced bool
	// broken counts the fetches that came to nothing after they had begun.
	broken int
}

// attempt tries once to answer the download and reports whether it did. False means: look at everything again.
//
// It is step 4, and leads on to step 5 (design, "One GET"). The order is the heart of the edge: nothing that depends on the file being here is shown to a
// caller before GitLab has said yes to that caller's own credential.
func (d *download) attempt() (done bool) {
	if generation := d.store.Generation(d.key); d.answer == nil || generation != d.generation {
		d.generation, d.answer = generation, nil
	}
	entry, err := d.store.Lookup(d.key)
	if err != nil && !errors.Is(err, cache.ErrMiss) {
		d.storeTrouble("a stored file can't be looked up", err)
		d.forward(outcomeForwarded, fwdBypass)
		return true
	}
	stored := err == nil
	granted := d.isGranted(upstream.UseFresh)

	if stored && granted && d.isFresh(entry) && d.grantIsAbout(entry.Stored) {
		return d.serveEntry(entry, outcomeHit)
	}
	running := d.state.flights.running(d.key, d.generation, d.ruledOut)
	// Looked at once more: the head may have been waited for, and the grant ended meanwhile.
	if running != nil && granted && d.answeredWithin(running, d.h.maxAge) && d.isGranted(upstream.UseFresh) && d.grantIsAbout(running.sent) {
		return d.follow(running, outcomeJoined)
	}
	if !stored && running == nil && d.asksForPartOfOutgrown() {
		d.forward(outcomeForwarded, fwdPartial)
		return true
	}
	if !stored && running == nil && d.asksByFetching() {
		// Cold. Asking and fetching are one request: GitLab's answer to it is the caller's authorisation.
		if d.r.Method == http.MethodHead {
			d.describe()
			return true
		}
		if d.isAllowed() {
			return d.lead()
		}
		if turn, ok := d.turnAtOnce(); ok {
			return d.leadNow(turn)
		}
		// Whoever may turn out a stranger doesn't wait for a turn before GitLab is asked: about a stored file nobody does.
	}

	if d.answer == nil {
		d.check(entry, stored, running)
	}
	if d.r.Context().Err() != nil {
		d.abandon() // panics
	}
	switch d.answer.Verdict {
	case upstream.Allowed:
	case upstream.Unreachable:
		if d.checkWasCut() {
			d.forward(outcomeForwarded, fwdBypass)
			return true
		}
		return d.serveOffline(entry, stored)
	case upstream.RateLimited:
		return d.serveRateLimited(entry, stored)
	case upstream.Refused:
		d.relayRefused(d.answer.No)
		return true
	}
	return d.serveAllowed(entry, stored, running)
}

// isAllowed reports whether GitLab has said yes to this caller, in this attempt or an earlier one, or lately. An answer that is there
// still is a yes: any other has ended the attempts, by an answer to the caller.
func (d *download) isAllowed() bool {
	return d.answer != nil || d.isGranted(upstream.UseFresh)
}

// asksByFetching reports whether GitLab is asked about this caller by the request that brings a file which isn't here. Whoever
// may turn out a stranger mustn't learn from that whether the file is here: where a question of theirs is under way they wait
// for its answer, and they are asked about by themselves while the file rests, and while GitLab is asked by HEAD.
func (d *download) asksByFetching() bool {
	if d.isAllowed() {
		return true
	}
	return !d.state.asks.isRunning(d.askKey()) && !d.h.client.IgnoresRange() &&
		d.state.rests.of(d.restKey(), d.state.now()) == nil
}

// serveAllowed goes on from a check that allowed this caller: what is stored, if it is still the current file, else what
// is on its way, else a fetch.
func (d *download) serveAllowed(entry cache.Entry, stored bool, running *flight) (done bool) {
	if stored && d.agrees(identityOf(entry)) {
		d.takeAsProven()
		if !d.isStillAllowed() {
			d.answer = nil
			return false
		}
		switch confirmed, worth := d.store.Confirm(entry, d.generation, d.answer.Sent, namedBy(d.answer)); worth {
		case cache.Confirmed:
			return d.serveEntry(confirmed, outcomeRevalidated)
		case cache.Lagging:
			confirmed.Confirmed = d.answer.Sent.Add(-d.h.maxAge) // for this caller alone
			return d.serveEntry(confirmed, outcomeRevalidated)
		case cache.Superseded:
		}
		d.answer = nil // replaced or published meanwhile, or a later answer says otherwise: ask again
		return false
	}
	if stored {
		d.replaced = true
		if !d.answer.Unproven && !d.state.formers.has(d.key, d.answer.Identity, d.answer.Sent) {
			// It isn't the current file any more, for nobody: also if the new one can't be had or kept. A location that nothing
			// has vouched for is no yes yet: what the fetch finds there decides (fetch.go).
			d.store.Doubt(d.key, d.answer.Sent, cache.OtherContentNamed)
		}
	}
	if running != nil {
		if d.mayFollow(running) {
			if d.agrees(running.identity) {
				d.takeAsProven()
			}
			if !d.isStillAllowed() {
				d.answer = nil
				return false
			}
			return d.follow(running, outcomeJoined)
		}
		if d.r.Context().Err() != nil {
			d.abandon() // panics
		}
		d.ruledOut = running
		var unreachable *upstream.UnreachableError
		switch {
		case errors.As(running.err, &unreachable) && running.h.access == d.h.access && isOfTheFile(unreachable, running.leader.standing):
			// Fail together: were each to try in turn, the last would wait for all the others' time-outs.
			d.refuseUnreachable(unreachable)
			return true
		case errors.Is(running.err, errNotStored):
			d.forward(outcomeForwarded, fwdBypass)
			return true
		case running.err != nil:
			return false // its leader was refused; the next attempt leads, or follows who does
		}
	}
	if d.r.Method == http.MethodHead {
		d.describe()
		return true
	}
	return d.lead()
}

// namedBy is what GitLab's answer to a check says of the file.
func namedBy(answer *upstream.Answer) cache.Named {
	return cache.Named{Identity: cache.Identity(answer.Identity), Disposition: answer.Disposition}
}

// identityOf is how GitLab names an entry's content. The SHA-256 counts as named even where it was only computed: of
// bytes that a publish brought, or that an older GitLab gave.
func identityOf(entry cache.Entry) upstream.Identity {
	identity := upstream.Identity(entry.Identity)
	identity.SHA256 = entry.Digest.String()
	return identity
}

// isFresh reports whether GitLab confirmed the entry recently enough to serve it without asking.
func (d *download) isFresh(entry cache.Entry) bool {
	return !entry.Confirmed.IsZero() && !entry.Questioned && d.state.now().Sub(entry.Confirmed) < d.h.maxAge
}

// agrees reports whether GitLab's answer to the check names this very content.
func (d *download) agrees(identity upstream.Identity) bool {
	return upstream.Compare(identity, d.answer.Identity) == upstream.Same
}

// takeAsProven makes a grant of an answer that names what is here already, or on its way: one that rests on a storage location is
// a yes then, since content from that location is what storage has already given.
func (d *download) takeAsProven() {
	d.answer.Unproven = false
	d.h.hear(d.state, d.store, d.key, d.reader(), *d.answer)
}

// mayFollow reports, after a check that allowed this caller, whether the flight brings what the caller may have: the
// same content, or content that the check doesn't contradict and that GitLab named recently. It waits for the flight's head.
func (d *download) mayFollow(running *flight) bool {
	if !d.awaitHead(running) || running.err != nil {
		return false
	}
	if d.agrees(running.identity) {
		return true
	}
	if d.answer.Unproven || upstream.Compare(running.identity, d.answer.Identity) != upstream.Unknown {
		return false
	}
	// Of a path, the yes could be about another project than the flight (grantIsAbout).
	return !running.lags && (!running.sent.Before(d.answer.Sent) || (d.grantKey().File == "" && d.answeredWithin(running, d.h.maxAge)))
}

// awaitHead waits until GitLab's answer to a flight's fetch is known, which is told as waiting. False means that the caller left.
func (d *download) awaitHead(fl *flight) bool {
	defer d.report.waited(time.Now())
	return fl.waitHead(d.r.Context())
}

// answeredWithin reports whether GitLab's answer to the flight's fetch was asked for at most that long ago, and nothing has
// happened since that makes it worth asking again. It waits for that answer.
func (d *download) answeredWithin(running *flight, age time.Duration) bool {
	return d.awaitHead(running) && running.err == nil && !running.lags && d.state.now().Sub(running.sent) < age &&
		!d.store.IsDoubted(d.key, running.sent) && !d.store.IsQuestioned(d.key, running.sent)
}

// serveOffline answers while GitLab can't be asked: those whom it allowed within offline_grace get what is stored,
// unless it is known to be old (published over, replaced). Only an outage that the edge itself has seen counts, and no trouble
// of the caller's own request, nor a limit of the edge's.
func (d *download) serveOffline(entry cache.Entry, stored bool) bool {
	if d.answer.Err.Trouble.IsOutage() && d.mayServeUnasked(entry, stored, upstream.UseOffline) {
		return d.serveEntry(entry, outcomeOffline)
	}
	d.refuseUnreachable(d.answer.Err)
	return true
}

// serveRateLimited answers when GitLab said 429 to the check: it didn't look at the credential, so only a young grant
// stands in for its yes.
func (d *download) serveRateLimited(entry cache.Entry, stored bool) bool {
	if d.mayServeUnasked(entry, stored, upstream.UseRateLimited) {
		return d.serveEntry(entry, outcomeOffline)
	}
	d.relayRefused(d.answer.No)
	return true
}

// mayServeUnasked reports whether a caller may have what is stored although GitLab can't be asked: their grant is still good
// for that, and nobody has heard since that the file is another one.
func (d *download) mayServeUnasked(entry cache.Entry, stored bool, use upstream.Use) bool {
	return stored && !entry.Confirmed.IsZero() && d.isGranted(use) && d.grantIsAbout(entry.Stored)
}

// serveEntry sends a stored file to a caller who may have it.
func (d *download) serveEntry(entry cache.Entry, outcome outcome) bool {
	if !d.admit() {
		return true
	}
	if d.wouldJoinUncompared() {
		d.refuseJoining()
		return true
	}
	open := d.store.OpenHit
	if outcome == outcomeMiss || outcome == outcomeJoined {
		open = d.store.OpenBlob // it was fetched for this very download
	}
	blob, err := open(entry)
	if err != nil {
		if !errors.Is(err, cache.ErrMiss) {
			d.storeTrouble("a stored file can't be opened", err)
			d.forward(outcomeForwarded, fwdBypass)
			return true
		}
		return false // evicted or found damaged; the next attempt fetches it
	}
	defer blob.Close()
	d.setOutcome(outcome, d.cacheStatus(outcome, entry.Confirmed))
	d.sendBlob(blob, entry)
	return true
}

// storeTrouble tells the admin that the store failed where it should not. Downloads go on without it.
func (x *exchange) storeTrouble(what string, err error) {
	if errors.Is(err, cache.ErrClosed) {
		return // the edge stops
	}
	x.h.tellTrouble(trouble{what: what, consequence: "downloads of it stream uncached", ref: x.ref, err: err})
}
