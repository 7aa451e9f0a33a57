package caddymodule

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
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
	handlers, err := a.handlersToWarm(request)
	if err != nil {
		return nil, err
	}
	project, err := projectOf(request.Project)
	if err != nil {
		return nil, err
	}
	if project == "" || request.Package == "" {
		return nil, badRequest("which package? Name its project and the package, and a version if it is to be one alone")
	}
	var pin time.Duration
	if request.Pin != "" {
		if pin, err = caddy.ParseDuration(request.Pin); err != nil || pin <= 0 {
			return nil, badRequest("pin is %q; it must be a duration such as 30d or 12h", request.Pin)
		}
	}
	id := rand.Text()[:8]
	var wanted []*warming
	for _, h := range handlers {
		if err := h.refuseToWarm(r.Context(), project); err != nil {
			return nil, err
		}
		w := h.newWarming(id, project, request.Package, request.Version)
		if pin > 0 {
			w.pin, w.pinUntil = request.Pin, h.attachment.state.now().Add(pin)
		}
		w.anonymous = cmp.Or(request.Token, h.APIToken) == ""
		wanted = append(wanted, w)
	}
	running, joined, err := a.process.beginOrJoin(wanted, request.Token)
	if err != nil {
		return nil, err
	}
	status := warmingStatusOf(running)
	status.Joined = joined
	return status, nil
}

// handlersToWarm returns a handler for each directory that a call is about.
func (a *App) handlersToWarm(request adminapi.WarmRequest) (chosen []*Handler, err error) {
	handlers, err := a.handlersOfOne(request.Upstream)
	if err != nil {
		return nil, err
	}
	directory, err := realDirectory(request.Directory)
	if err != nil {
		return nil, badRequest("directory: %w", err)
	}
	var known []string
	for _, state := range statesOf(handlers) {
		known = append(known, state.directory)
		if request.Directory != "" && directory != state.directory {
			continue
		}
		at := slices.IndexFunc(handlers, func(h *Handler) bool { return h.attachment.state == state })
		chosen = append(chosen, handlers[at])
	}
	if len(chosen) == 0 {
		return nil, badRequest("no handler in front of %s uses the directory %q; there are %s", handlers[0].client.Upstream(), request.Directory, strings.Join(known, ", "))
	}
	return chosen, nil
}

// refuseToWarm is the error of a project that isn't served.
func (h *Handler) refuseToWarm(ctx context.Context, project string) error {
	switch on, err := h.isOn(ctx, project); {
	case h.app.switches.reading() == switchesUnknown:
		return apiError(http.StatusServiceUnavailable, "which projects are switched off can't be read; enable or disable one to write the run-time switches anew")
	case err != nil:
		return apiError(http.StatusServiceUnavailable, "GitLab doesn't tell whether the project %s is one that is switched off: %w", project, err)
	case !on:
		return apiError(http.StatusConflict, "the project %s is switched off", project)
	}
	return nil
}

// begin begins the warming with a token; empty for the handler's own, if it has one.
func (w *warming) begin(token string) error {
	state := w.handler.attachment.state
	store, err := storeOf(state)
	if err != nil {
		return err
	}
	caller := upstream.Caller{Credential: upstream.TokenCredential(cmp.Or(token, w.handler.APIToken))}
	switch err := state.beginWarming(store, w, caller); {
	case errors.Is(err, errTooManyWarmings):
		return apiError(http.StatusTooManyRequests, "%w", err)
	case err != nil:
		return apiError(http.StatusServiceUnavailable, "%w", err)
	}
	return nil
}

// adminWarming answers GET warm?id=, and GET warm with all that are known.
func (a *App) adminWarming(r *http.Request) (any, error) {
	if r.URL.RawQuery == "" {
		return a.listWarmings()
	}
	found, err := a.findWarmings(r)
	if err != nil {
		return nil, err
	}
	return warmingStatusOf(found), nil
}

// adminStopWarming answers DELETE warm?id=: no further file is begun, and those that are on their way still come.
func (a *App) adminStopWarming(r *http.Request) (any, error) {
	found, err := a.findWarmings(r)
	if err != nil {
		return nil, err
	}
	for _, w := range found {
		w.cancel(errWarmingStopped)
	}
	return warmingStatusOf(found), nil
}

// listWarmings tells of all warmings, the newest first.
func (a *App) listWarmings() (any, error) {
	handlers, err := a.handlersOf("")
	if err != nil {
		return nil, err
	}
	return adminapi.WarmingList{Warmings: a.warmingStatuses(handlers)}, nil
}

// warmingStatuses are those that run, and the last that are over, the newest first.
func (a *App) warmingStatuses(handlers []*Handler) []adminapi.WarmingStatus {
	byID := make(map[string][]*warming)
	for _, state := range statesOf(handlers) {
		for _, w := range state.warmings.all() {
			byID[w.id] = append(byID[w.id], w)
		}
	}
	list := make([]adminapi.WarmingStatus, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		list = append(list, warmingStatusOf(byID[id]))
	}
	slices.SortStableFunc(list, func(a, b adminapi.WarmingStatus) int { return b.Begun.Compare(a.Begun) })
	return list
}

// findWarmings returns those of an id, one for each directory.
func (a *App) findWarmings(r *http.Request) (found []*warming, err error) {
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
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		return nil, apiError(http.StatusNotFound, "there is no warming %q, or it is long over", id)
	}
	return found, nil
}

// warmingStatusOf is what warmings of one id have done together.
func warmingStatusOf(warmings []*warming) adminapi.WarmingStatus {
	first := warmings[0]
	status := adminapi.WarmingStatus{
		ID: first.id, Upstream: first.handler.client.Upstream(), Project: first.project, Package: first.name, Version: first.version,
		Anonymous: first.anonymous, Listed: true, Begun: first.begun.UTC(),
	}
	var ended time.Time
	for _, w := range warmings {
		w.addTo(&status, &ended)
	}
	if !status.Running {
		status.Ended = timeOrNil(ended)
	}
	return status
}

// addTo adds what a warming has done to what others of its id have.
func (w *warming) addTo(status *adminapi.WarmingStatus, ended *time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	status.Directories = append(status.Directories, w.handler.attachment.state.directory)
	status.Running = status.Running || w.ended.IsZero()
	status.Listed, status.NoRoom = status.Listed && w.listed, status.NoRoom || w.full
	status.Files, status.Already, status.Fetched = status.Files+w.files, status.Already+w.already, status.Fetched+w.fetched
	status.Pinned, status.Failed, status.Left = status.Pinned+w.pinned, status.Failed+w.failed, status.Left+w.left
	status.Bytes, status.DoneBytes = status.Bytes+w.bytes, status.DoneBytes+w.doneBytes
	status.Errors = append(status.Errors, w.errors...)
	if w.err != nil && status.Error == "" {
		status.Error = w.err.Error()
	}
	if w.ended.IsZero() && w.waitsUntil.After(w.handler.attachment.state.now()) {
		status.WaitsUntil = timeOrNil(w.waitsUntil)
	}
	if w.ended.After(*ended) {
		*ended = w.ended
	}
}
