package page

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const directiveName = "gitlab_packages_page"

func init() {
	caddy.RegisterModule(new(Page))
	httpcaddyfile.RegisterHandlerDirective(directiveName, parseDirective)
	// It answers all that it gets, as respond does, so it stands there: behind every authentication, rewrite and encode of its
	// site, whatever the order in which they are written.
	httpcaddyfile.RegisterDirectiveOrder(directiveName, httpcaddyfile.Before, "respond")
}

func parseDirective(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	page := new(Page)
	return page, page.UnmarshalCaddyfile(helper.Dispenser)
}

// UnmarshalCaddyfile reads the directive:
//
//	gitlab_packages_page [<matcher>] {
//		actions [unauthenticated]
//		hosts   <name>...
//	}
//
// Each may be given once.
func (p *Page) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("%s takes no value; %q is one too many", directiveName, d.Val())
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if seen[word] {
			return d.Errf("%s is set twice", word)
		}
		seen[word] = true
		values := d.RemainingArgs()
		switch word {
		case "actions":
			switch {
			case len(values) == 0:
				p.Actions = ActionsGuarded
			case len(values) == 1 && values[0] == ActionsUnauthenticated:
				p.Actions = ActionsUnauthenticated
			default:
				return d.Errf("actions stands alone, or is followed by %s, not by %q", ActionsUnauthenticated, strings.Join(values, " "))
			}
		case "hosts":
			if len(values) == 0 {
				return d.Err("hosts needs at least one name")
			}
			p.Hosts = values
			if _, err := newHostNames(values); err != nil && !strings.Contains(strings.Join(values, ""), "{") {
				return d.Err(err.Error())
			}
		default:
			return d.Errf("%s has no option %q", directiveName, word)
		}
	}
	return nil
}

// Interface guards.
var _ caddyfile.Unmarshaler = (*Page)(nil)
