package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// Call makes a call of the admin API from within the process: its method, its name such as adminapi.CallStatus, its query
// parameters, and its request, such as an adminapi.PurgeRequest; nil for none. It is checked as a call by HTTP is, and answered by
// the same code, with the type of adminapi that the call is documented with, which the caller may change. A field of the request
// that is empty is one that isn't there.
//
// The app is that of the config whose modules ask, also while another one is in force; the directories are the same. Until it has
// started, calls get 503. All errors are caddy.APIErrors, whose texts are sentences for people. Safe for concurrent use.
func (a *App) Call(ctx context.Context, method, call string, query url.Values, request any) (any, error) {
	r, err := newInsideCall(ctx, method, call, query, request)
	if err != nil {
		return nil, err
	}
	found, _, err := findCall(r)
	if err != nil {
		return nil, err
	}
	if !a.hasStarted() {
		return nil, apiError(http.StatusServiceUnavailable, "the edge hasn't started; ask again in a moment")
	}
	return a.answer(found, r)
}

// newInsideCall is the request that a call by HTTP would come as.
func newInsideCall(ctx context.Context, method, call string, query url.Values, request any) (*http.Request, error) {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: fmt.Errorf("encoding the call: %w", err)}
		}
	}
	r := &http.Request{
		Method: method, URL: &url.URL{Path: adminapi.Path + call, RawQuery: query.Encode()}, Header: make(http.Header),
		Body: http.MaxBytesReader(nil, io.NopCloser(bytes.NewReader(body)), adminapi.MaxRequest), ContentLength: int64(len(body)),
	}
	return r.WithContext(ctx), nil
}
