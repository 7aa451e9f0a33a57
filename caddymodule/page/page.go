package page

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// appName is the app that answers the page's calls.
const appName = "gitlab_packages"

// Values of Page.Actions.
const (
	ActionsGuarded         = "guarded"
	ActionsUnauthenticated = "unauthenticated"
)

// Page is a page to look at the edge of the same config: whether it works, what it saves, what it does now, what is stored, and why
// something was refused. It shows what the admin API shows. It answers every request that it gets, so it needs a site or a path of
// its own; its links work below any path whose prefix was stripped (handle_path).
//
// Whoever reaches it can read it. Put an authentication before it, or let its server listen on loopback only.
type Page struct {
	// Who may switch projects, purge, warm, unpin, verify and forget grants by the page. Default: nobody.
	//
	// "guarded": whoever an authentication before the page has let in and named ({http.auth.user.id} isn't empty); and, on a server
	// all of whose listeners are on loopback, everybody who reaches it there by a loopback name, without signs of a proxy in between.
	//
	// "unauthenticated": whoever reaches it. Only for a site that something else guards, such as a network.
	Actions string `json:"actions,omitempty"`

	// Names, besides those of the site, by which the page may be asked, without a port. A request by another name is refused (421),
	// so that no name of somebody else's can lead a browser here (DNS rebinding). Known without this setting are the hosts that the
	// server's sites are matched by, localhost and addresses of loopback, and the address at which a request arrives. A site for
	// all hosts, such as `:2020`, that people reach by a name needs that name here. Default: none further.
	Hosts []string `json:"hosts,omitempty"`

	logger *zap.Logger
	edge   Edge // nil where there is none
	server *caddyhttp.Server
	hosts  hostNames
	// onLoopback says that all listeners of the server are.
	onLoopback bool
	// token must be in each form.
	token string
	// crossOrigin refuses forms of other sites.
	crossOrigin *http.CrossOriginProtection
	watch       *watch
	results     *results
	now         func() time.Time
}

// processToken proves that a form is one of this process's. It outlives a reload, so that a page that was opened before still works.
var processToken = rand.Text()

// processResults outlive a reload as well: a result may be told by the next config.
var processResults = new(results)

// CaddyModule returns the Caddy module information.
func (*Page) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gitlab_packages_page", New: func() caddy.Module { return new(Page) }}
}

// Provision finds the edge and the server. It starts nothing: that is done by the first viewer.
func (p *Page) Provision(ctx caddy.Context) error {
	p.logger = ctx.Logger()
	replacer := caddy.NewReplacer()
	switch p.Actions = replacer.ReplaceAll(p.Actions, ""); p.Actions {
	case "", ActionsGuarded, ActionsUnauthenticated:
	default:
		return fmt.Errorf("actions must be %q, %q or left out, not %q", ActionsGuarded, ActionsUnauthenticated, p.Actions)
	}
	names := make([]string, 0, len(p.Hosts))
	for _, name := range p.Hosts {
		names = append(names, replacer.ReplaceAll(name, ""))
	}
	hosts, err := newHostNames(names)
	if err != nil {
		return err
	}
	p.hosts = hosts
	app, err := ctx.App(appName)
	if err != nil {
		return fmt.Errorf("finding the edge: %w", err)
	}
	p.edge, _ = app.(Edge)
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	p.set(server)
	return nil
}

// set fills in all that doesn't come from the config.
func (p *Page) set(server *caddyhttp.Server) {
	p.server, p.onLoopback = server, server != nil && isOnLoopback(server.Listen)
	p.token, p.results, p.crossOrigin, p.now = processToken, processResults, http.NewCrossOriginProtection(), time.Now
	p.watch = newWatch(p)
	if server != nil {
		// The context of a config ends after its servers have stopped, and these wait for answers that aren't through: streams must end
		// when the stop begins.
		server.RegisterOnShutdown(p.watch.end)
	}
}

// Cleanup ends what viewers are still sent.
func (p *Page) Cleanup() error {
	if p.watch != nil {
		p.watch.end()
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Page)(nil)
	_ caddy.CleanerUpper          = (*Page)(nil)
	_ caddyhttp.MiddlewareHandler = (*Page)(nil)
)
