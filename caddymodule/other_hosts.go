package caddymodule

import (
	"slices"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// serverOf returns the server whose route a handler is in; nil where Caddy doesn't say, as in tests without one.
func serverOf(ctx caddy.Context) *caddyhttp.Server {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server
}

// warnOfOtherHosts tells of each server with an edge in it that leaves requests for some hosts to nobody. Caddy answers those 200
// with nothing in it: an upload by a name that no site has, such as one that a balancer puts into Host, would look as if it had
// landed.
func (a *App) warnOfOtherHosts() {
	var told []*caddyhttp.Server
	for _, h := range a.handlers {
		if h.server == nil || slices.Contains(told, h.server) || answersAllHosts(h.server) {
			continue
		}
		told = append(told, h.server)
		h.logger.Warn("requests for hosts that no site has get Caddy's empty 200, uploads too: add a site for all hosts that answers with an error, or with TLS strict_sni_host",
			zap.String("server", h.server.Name()), zap.Strings("listen", h.server.Listen))
	}
}

// answersAllHosts reports whether no request can come through all routes for its Host alone.
func answersAllHosts(server *caddyhttp.Server) bool {
	if len(server.TLSConnPolicies) > 0 && server.StrictSNIHost != nil && *server.StrictSNIHost {
		return true // with another Host than the one that TLS was set up for it is refused (421)
	}
	return slices.ContainsFunc(server.Routes, func(route caddyhttp.Route) bool {
		return len(route.MatcherSets) == 0 || slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
			return !slices.ContainsFunc(set, isAboutHost)
		})
	})
}

func isAboutHost(matcher any) bool {
	_, is := matcher.(*caddyhttp.MatchHost)
	return is
}
