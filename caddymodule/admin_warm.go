package caddymodule

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// adminWarm answers POST warm.
func (a *App) adminWarm(r *http.Request) (any, error) {
	var request adminapi.WarmRequest
	if err := readJSON(r, &request); err != nil {
		return nil, err
	}
	handlers, err := a.handlersOfOne(request.Upstream)
	if err != nil {
		return nil, err
	}
	h := handlers[0]
	project, err := projectOf(request.Project)
	if err != nil {
		return nil, err
	}
	if project == "" || request.Package == "" {
		return nil, badRequest("which package? Name its project and the package, and a version if it is to be one alone")
	}
	switch on, err := h.isOn(r.Context(), project); {
	case h.app.switches.reading() == switchesUnknown:
		return nil, apiError(http.StatusServiceUnavailable, "which projects are switched off can't be read; enable or disable one to write the run-time switches anew")
	case err != nil:
		return nil, apiError(http.StatusServiceUnavailable, "GitLab doesn't tell whether the project %s is one that is switched off: %w", project, err)
	case !on:
		return nil, apiError(http.StatusConflict, "the project %s is switched off", project)
	}
	state := h.attachment.state
	store, err := storeOf(state)
	if err != nil {
		return nil, err
	}
	var pinUntil time.Time
	if request.Pin != "" {
		pin, err := caddy.ParseDuration(request.Pin)
		if err != nil || pin <= 0 {
			return nil, badRequest("pin is %q; it must be a duration such as 30d or 12h", request.Pin)
		}
		pinUntil = state.now().Add(pin)
	}
	token := request.Token
	if token == "" {
		token = h.APIToken
	}
	w := h.newWarming(project, request.Package, request.Version, pinUntil)
	w.anonymous = token == ""
	switch err := state.beginWarming(store, w, upstream.Caller{Credential: upstream.TokenCredential(token)}); {
	case errors.Is(err, errTooManyWarmings):
		return nil, apiError(http.StatusTooManyRequests, "%w", err)
	case err != nil:
		return nil, apiError(http.StatusServiceUnavailable, "%w", err)
	}
	return w.status(), nil
}

// adminWarming answers GET warm?id=.
func (a *App) adminWarming(r *http.Request) (any, error) {
	w, err := a.findWarming(r)
	if err != nil {
		return nil, err
	}
	return w.status(), nil
}

// adminStopWarming answers DELETE warm?id=: no further file is begun, and those that are on their way still come.
func (a *App) adminStopWarming(r *http.Request) (any, error) {
	w, err := a.findWarming(r)
	if err != nil {
		return nil, err
	}
	w.cancel()
	return w.status(), nil
}

func (a *App) findWarming(r *http.Request) (*warming, error) {
	var id string
	if err := readQuery(r, map[string]*string{"id": &id}); err != nil {
		return nil, err
	}
	handlers, err := a.handlersOf("")
	if err != nil {
		return nil, err
	}
	for _, state := range statesOf(handlers) {
		if w := state.warmings.find(id); w != nil {
			return w, nil
		}
	}
	return nil, apiError(http.StatusNotFound, "there is no warming %q, or it is long over", id)
}

func (w *warming) status() adminapi.WarmingStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	status := adminapi.WarmingStatus{
		ID: w.id, Running: w.ended.IsZero(), Anonymous: w.anonymous, Listed: w.listed, Files: w.files, Bytes: w.bytes, Already: w.already, Fetched: w.fetched,
		Pinned: w.pinned, Failed: w.failed, DoneBytes: w.doneBytes, Errors: w.errors, Begun: w.begun.UTC(), Ended: timeOrNil(w.ended),
	}
	if w.err != nil {
		status.Error = w.err.Error()
	}
	return status
}
