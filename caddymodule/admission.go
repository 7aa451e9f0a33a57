package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// errSwitchedOff says that the project is off by a name that GitLab has told just now.
var errSwitchedOff = errors.New("the project is switched off")

// notAdmittedError says why a request is refused that what was known before didn't refuse: errSwitchedOff, or why GitLab
// could not be asked to which project the name belongs.
type notAdmittedError struct{ err error }

func (e *notAdmittedError) Error() string { return "not admitted: " + e.err.Error() }

// Unwrap returns the cause.
func (e *notAdmittedError) Unwrap() error { return e.err }

// isSwitchedOff finds out, without asking anybody, whether the project is off whatever GitLab may say yet. What is left to
// ask is asked by admit or admitUpload.
func (x *exchange) isSwitchedOff() bool {
	x.said = x.h.app.switches.present.Load()
	x.switched = x.h.switchOf(x.ref.Project)
	return x.switched.isOff()
}

// admit is the gate before every file, and stands wherever GitLab's yes to this caller leads to bytes or headers of one.
// Only now GitLab is asked to which project the name belongs, if that was never answered: whom GitLab refuses costs no
// question. False means that the answer is written: the project is off, or GitLab doesn't say.
func (x *exchange) admit() bool { return x.orRefuse(x.admission(upstream.OfAllowedCaller())) }

// admitUpload is the gate before a request that changes something, and stands before it is sent. Nobody has judged its
// caller yet, so the question takes of a budget. False means that the answer is written.
func (x *exchange) admitUpload() bool {
	return x.orRefuse(x.admission(upstream.OfUnknownCaller(clientIP(x.r))))
}

// admitAnswer is admit for a request that was forwarded: before GitLab's answer is relayed, if it is a yes to a download. The
// caller of it writes the answer.
func (x *exchange) admitAnswer(response *http.Response) error {
	if !isDownload(x.r) || response.StatusCode >= http.StatusBadRequest {
		return nil
	}
	occasion := upstream.OfAllowedCaller()
	if response.StatusCode >= http.StatusMultipleChoices && response.StatusCode != http.StatusNotModified {
		// Something in front of GitLab may send everybody to its login page.
		occasion = upstream.OfUnknownCaller(clientIP(x.r))
	}
	return x.admission(occasion)
}

func (x *exchange) orRefuse(err error) (admitted bool) {
	if err != nil {
		x.refuseUnadmitted(err)
	}
	return err == nil
}

// admission asks GitLab to which project the name belongs, where that has to be known, and returns a *notAdmittedError if
// the request is to be refused. It asks once for each request.
func (x *exchange) admission(occasion upstream.Occasion) error {
	if x.said != x.h.app.switches.present.Load() && x.isSwitchedOff() {
		// Switched while GitLab was waited for: whoever has no byte yet gets none.
		return &notAdmittedError{errSwitchedOff}
	}
	certainty, project := x.switched.certainty, x.ref.Project
	x.switched.certainty = nothingToAsk
	switch {
	case certainty == nothingToAsk:
		return nil
	case certainty == askAnew && x.h.aliases.Last(project).ID != "":
		// The last answer decides. Nobody waits for the next one.
		x.h.renewNames(project, occasion)
		return nil
	}
	// Also where GitLab said that it knows no such project: it has allowed somebody a file of it since, or may soon.
	_, err := x.h.aliases.Ask(x.r.Context(), project, occasion)
	if err != nil && !errors.Is(err, upstream.ErrTooManyNames) && x.r.Context().Err() == nil {
		x.h.tellAliasTrouble(project, err)
	}
	state := x.h.switchOf(project)
	switch {
	case state.certainty == undecided && err == nil:
		return &notAdmittedError{errors.New("what GitLab said was pushed out at once")}
	case state.certainty == undecided:
		return &notAdmittedError{err}
	case !state.on:
		return &notAdmittedError{errSwitchedOff}
	}
	return nil
}

// refuseUnadmitted writes the answer to a request that isn't admitted.
func (x *exchange) refuseUnadmitted(err error) {
	if errors.Is(err, errSwitchedOff) {
		x.refuseSwitchedOff()
		return
	}
	if x.r.Context().Err() != nil {
		x.abandon()
	}
	x.setOutcome(outcomeUnreachable, cacheStatusLocal(outcomeUnreachable))
	x.report.why = whyUndecided
	x.w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	x.writeJSON(http.StatusServiceUnavailable, bodyUndecided)
}

// renewNames asks anew which names belong together, while the request goes on.
func (h *Handler) renewNames(project string, occasion upstream.Occasion) {
	state := h.attachment.state
	renew := h.aliases.Renewal(project, occasion)
	if renew == nil || !state.enter() {
		return
	}
	h.transports.hold()
	// Ends with GitLab's answer, after some seconds, or with the state.
	go func() {
		defer state.leave()
		defer h.transports.release()
		if err := renew(state.ctx); err != nil {
			h.tellAliasTrouble(project, err)
		}
	}()
}

// isOn reports whether a project is served, for an admin: GitLab is asked where what is known doesn't decide. The error says
// that it is undecided.
func (h *Handler) isOn(ctx context.Context, project string) (bool, error) {
	if h.switchOf(project).certainty != nothingToAsk {
		if _, err := h.aliases.Ask(ctx, project, upstream.OfAdmin()); err != nil {
			h.tellAliasTrouble(project, err)
			if h.switchOf(project).certainty == undecided {
				return false, err
			}
		}
	}
	state := h.switchOf(project)
	return state.on && state.certainty != undecided, nil
}
