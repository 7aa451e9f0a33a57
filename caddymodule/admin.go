package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

// adminAPI is the edge's part of Caddy's admin API: JSON below /gitlab_packages/, of which package adminapi is the manual. It
// holds nothing, since it is made before a config's apps and never cleaned up; each call looks up the app that is in force.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gitlab_packages", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes implements caddy.AdminRouter.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminapi.Path, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// adminCall answers one kind of call: with what becomes JSON, or an error, which is a caddy.APIError where the caller is
// to blame.
type adminCall func(a *App, r *http.Request) (any, error)

// adminCalls are all calls, by path below adminapi.Path and method.
var adminCalls = map[string]map[string]adminCall{
	adminapi.CallSignpost: {http.MethodGet: (*App).adminSignpost},
	adminapi.CallStatus:   {http.MethodGet: (*App).adminStatus},
	adminapi.CallActivity: {http.MethodGet: (*App).adminActivity},
	adminapi.CallProjects: {http.MethodGet: (*App).adminProjects},
	adminapi.CallEnable:   {http.MethodPost: (*App).adminEnable},
	adminapi.CallDisable:  {http.MethodPost: (*App).adminDisable},
	adminapi.CallReset:    {http.MethodPost: (*App).adminReset},
	adminapi.CallUsage:    {http.MethodGet: (*App).adminUsage},
	adminapi.CallRefusals: {http.MethodGet: (*App).adminRefusals},
	adminapi.CallEntries:  {http.MethodGet: (*App).adminEntries},
	adminapi.CallHistory:  {http.MethodGet: (*App).adminHistory},
	adminapi.CallPurge:    {http.MethodPost: (*App).adminPurge},
	adminapi.CallUnpin:    {http.MethodPost: (*App).adminUnpin},
	adminapi.CallVerify:   {http.MethodGet: (*App).adminVerification, http.MethodPost: (*App).adminVerify, http.MethodDelete: (*App).adminStopVerifying},
	adminapi.CallWarm:     {http.MethodGet: (*App).adminWarming, http.MethodPost: (*App).adminWarm, http.MethodDelete: (*App).adminStopWarming},
}

// serve answers one call.
func (*adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	call, allowed, err := findCall(r)
	if err != nil {
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
		}
		return err
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, adminapi.MaxRequest)
	answer, err := app.answer(call, r)
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: fmt.Errorf("encoding the answer: %w", err)}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(encoded, '\n')) // a caller who left doesn't read it
	return nil
}

// findCall returns the call that a request makes. Its errors are 404, and 405 with the methods that are allowed.
func findCall(r *http.Request) (call adminCall, allowed []string, err error) {
	methods, ok := adminCalls[strings.TrimPrefix(r.URL.Path, adminapi.Path)]
	if !ok {
		return nil, nil, apiError(http.StatusNotFound, "there is no %s", r.URL.Path)
	}
	call, ok = methods[r.Method]
	if !ok {
		allowed = slices.Sorted(maps.Keys(methods))
		return nil, allowed, apiError(http.StatusMethodNotAllowed, "%s takes %s, not %s", r.URL.Path, strings.Join(allowed, " and "), r.Method)
	}
	return call, nil, nil
}

// runningApp is the app of the config in force.
func runningApp() (*App, error) {
	ctx := caddy.ActiveContext()
	app, err := ctx.AppIfConfigured(appName)
	if err != nil {
		return nil, errNoHandler
	}
	return app.(*App), nil
}

// errNoHandler says that there is no edge in the config.
var errNoHandler = apiError(http.StatusNotFound, "the running config has no gitlab_packages handler")

// answer makes a call that was found, of a config in force. Its errors are all caddy.APIErrors.
func (a *App) answer(call adminCall, r *http.Request) (any, error) {
	if handlers, err := a.handlersOf(""); err != nil || len(handlers) == 0 {
		return nil, errNoHandler
	}
	answer, err := call(a, r)
	if err == nil {
		return answer, nil
	}
	if told, known := errors.AsType[caddy.APIError](err); known {
		return nil, told
	}
	return nil, caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
}

// apiError is an error of the caller's.
func apiError(status int, format string, values ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, values...)}
}

func badRequest(format string, values ...any) error {
	return apiError(http.StatusBadRequest, format, values...)
}

// readJSON reads the body of a call that takes no query parameters. What is unknown is refused, and so is what stands
// elsewhere, or is empty: a field that is misspelled, in the wrong place, or made of a variable that wasn't set, would else
// do more than it was to. No body is an empty object.
func readJSON(r *http.Request, into any) error {
	if err := readQuery(r, nil); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return badRequest("the body can't be read, or has more than %d bytes", adminapi.MaxRequest)
	}
	if err := refuseEmptyFields(body); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	switch err := decoder.Decode(into); {
	case errors.Is(err, io.EOF):
	case err != nil:
		// The error of a value that is wrong could repeat it, and it may be a token.
		if field, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return badRequest("the field %q must not be a %s", field.Field, field.Value)
		}
		if strings.HasPrefix(err.Error(), "json: unknown field") {
			return badRequest("the body has an %s", strings.TrimPrefix(err.Error(), "json: "))
		}
		return badRequest("the body must be one JSON object")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badRequest("the body must be one JSON object, and no more")
	}
	return nil
}

// refuseEmptyFields refuses a body with a field that is null or an empty text. What is no object is for others to judge.
func refuseEmptyFields(body []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	// One by one, and not into a map: of a name that is there twice each is looked at.
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil
		}
		var text *string
		if json.Unmarshal(value, &text) == nil && (text == nil || *text == "") {
			return badRequest("the field %q is empty; leave it out if nothing is to be said by it", name)
		}
	}
	return nil
}

// readQuery reads a call's query parameters, each at most once. Unknown ones are refused.
func readQuery(r *http.Request, into map[string]*string) error {
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("the query can't be read: names and values are percent-encoded, and separated by ampersands")
	}
	for name, values := range given {
		target, ok := into[name]
		if !ok {
			known := make([]string, 0, len(into))
			for name := range into {
				known = append(known, name)
			}
			slices.Sort(known)
			if len(known) == 0 {
				return badRequest("%s %s takes no query parameters", r.Method, r.URL.Path)
			}
			return badRequest("there is no parameter %q; there are %s", name, strings.Join(known, ", "))
		}
		if len(values) != 1 {
			return badRequest("the parameter %q is given %d times", name, len(values))
		}
		*target = values[0]
	}
	return nil
}

// handlersOf returns the handlers of one GitLab, or all if none is named.
func (a *App) handlersOf(upstream string) ([]*Handler, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if upstream == "" {
		return slices.Clone(a.handlers), nil
	}
	var found []*Handler
	for _, h := range a.handlers {
		if isSameUpstream(h.client.Upstream(), upstream) {
			found = append(found, h)
		}
	}
	if len(found) == 0 {
		return nil, badRequest("no handler stands in front of %q; there are %s", upstream, strings.Join(upstreamsOf(a.handlers), ", "))
	}
	return found, nil
}

// isSameUpstream reports whether an admin means a GitLab, whatever the case of the scheme and the host, a port that is the
// scheme's own, and slashes at the end.
func isSameUpstream(known, spelling string) bool {
	return plainUpstream(known) == plainUpstream(spelling)
}

func plainUpstream(spelling string) string {
	base, err := url.Parse(strings.TrimRight(strings.TrimSpace(spelling), "/"))
	if err != nil {
		return spelling
	}
	base.Scheme, base.Host = strings.ToLower(base.Scheme), strings.ToLower(base.Host)
	if upstream.HasUsualPort(base) {
		base.Host = strings.TrimSuffix(base.Host, ":"+base.Port())
	}
	return base.String()
}

// handlersOfOne returns the handlers of the one GitLab that is meant. It must be named where there are several.
func (a *App) handlersOfOne(upstream string) ([]*Handler, error) {
	handlers, err := a.handlersOf(upstream)
	if err != nil {
		return nil, err
	}
	if known := upstreamsOf(handlers); len(known) > 1 {
		return nil, badRequest("which GitLab? Name one as upstream: %s", strings.Join(known, ", "))
	}
	return handlers, nil
}

// upstreamsOf returns the GitLabs of handlers, each once.
func upstreamsOf(handlers []*Handler) (known []string) {
	for _, h := range handlers {
		if !slices.Contains(known, h.client.Upstream()) {
			known = append(known, h.client.Upstream())
		}
	}
	slices.Sort(known)
	return known
}

// statesOf returns the states of the directories that handlers use, each once.
func statesOf(handlers []*Handler) (found []*state) {
	for _, h := range handlers {
		if state := h.attachment.state; !slices.Contains(found, state) {
			found = append(found, state)
		}
	}
	slices.SortFunc(found, func(a, b *state) int { return strings.Compare(a.directory, b.directory) })
	return found
}

// storeOf returns a state's store, or an error that says that there is none for now.
func storeOf(state *state) (*cache.Store, error) {
	store := state.store.Load()
	if store == nil {
		return nil, apiError(http.StatusServiceUnavailable, "the cache directory %s can't be used; see the log", state.directory)
	}
	return store, nil
}

// Interface guards.
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Module      = (*adminAPI)(nil)
)
