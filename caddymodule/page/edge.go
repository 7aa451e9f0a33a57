package page

import (
	"context"
	"net/url"
)

// Edge is what the page knows of the edge: the calls of its admin API, made within the process, so that the page can show and do
// nothing that the admin API doesn't. The app gitlab_packages of the same config is one.
type Edge interface {
	// Call makes a call of the admin API (package adminapi): its method, its name such as adminapi.CallStatus, its query parameters,
	// and for one that takes a body its request, such as adminapi.PurgeRequest; nil for none. The answer is the type of adminapi that the
	// call is documented with. An error is a caddy.APIError, whose text is a sentence for people, with its HTTP status.
	Call(ctx context.Context, method, call string, query url.Values, request any) (any, error)
}
