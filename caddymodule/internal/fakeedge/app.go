package fakeedge

import (
	"context"
	"net/url"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(App))
}

// Current is the edge of every config.
var Current atomic.Pointer[Edge]

// App is Caddy's app gitlab_packages.
type App struct{}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gitlab_packages", New: func() caddy.Module { return new(App) }}
}

// Start does nothing.
func (*App) Start() error { return nil }

// Stop does nothing.
func (*App) Stop() error { return nil }

// Call has Current answer.
func (*App) Call(ctx context.Context, method, call string, query url.Values, request any) (any, error) {
	return Current.Load().Call(ctx, method, call, query, request)
}

// Interface guards.
var _ caddy.App = (*App)(nil)
