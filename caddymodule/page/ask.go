package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// errNoEdge says that nobody answers calls.
var errNoEdge = caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("this program's edge can't be asked by a page")}

// ask makes a call that answers with a T.
func ask[T any](ctx context.Context, edge Edge, method, call string, query url.Values, request any) (answer T, err error) {
	if edge == nil {
		return answer, errNoEdge
	}
	given, err := edge.Call(ctx, method, call, query, request)
	if err != nil {
		return answer, err
	}
	switch given := given.(type) {
	case T:
		return given, nil
	case *T:
		return *given, nil
	}
	return answer, fmt.Errorf("%s %s was answered with a %T", method, call, given)
}

// askStatus and the like are the calls that only tell.
func (p *Page) askStatus(ctx context.Context) (adminapi.Status, error) {
	return ask[adminapi.Status](ctx, p.edge, http.MethodGet, adminapi.CallStatus, nil, nil)
}

func (p *Page) askActivity(ctx context.Context) (adminapi.Activity, error) {
	return ask[adminapi.Activity](ctx, p.edge, http.MethodGet, adminapi.CallActivity, nil, nil)
}

func (p *Page) askHistory(ctx context.Context, span string) (adminapi.History, error) {
	return ask[adminapi.History](ctx, p.edge, http.MethodGet, adminapi.CallHistory, url.Values{"span": {span}}, nil)
}

func (p *Page) askUsage(ctx context.Context) (adminapi.Usage, error) {
	return ask[adminapi.Usage](ctx, p.edge, http.MethodGet, adminapi.CallUsage, nil, nil)
}

func (p *Page) askRefusals(ctx context.Context) (adminapi.RefusalList, error) {
	return ask[adminapi.RefusalList](ctx, p.edge, http.MethodGet, adminapi.CallRefusals, nil, nil)
}

// told is an error as a page tells it: a status and a sentence.
func told(err error) (status int, sentence string) {
	status = http.StatusInternalServerError
	if known, is := errors.AsType[caddy.APIError](err); is {
		status = known.HTTPStatus
		if known.Err != nil {
			return status, sentenceOf(known.Err.Error())
		}
	}
	return status, sentenceOf(err.Error())
}
