package page

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// hostNames are the names of the setting hosts, in lower case and ASCII.
type hostNames map[string]bool

// newHostNames checks what hosts says. A port is refused: it would say more than is looked at.
func newHostNames(names []string) (hostNames, error) {
	known := make(hostNames, len(names))
	for _, name := range names {
		plain := strings.Trim(name, "[]")
		if _, err := netip.ParseAddr(plain); err != nil && strings.ContainsAny(name, ":/*@ ") || name == "" {
			return nil, fmt.Errorf("hosts takes names such as edge.example.com, without scheme, port and wildcard, not %q", name)
		}
		known[plainHost(plain)] = true
	}
	return known, nil
}

// plainHost is a host in the one spelling in which hosts are compared.
func plainHost(host string) string {
	host = strings.TrimSuffix(host, ".")
	if ascii, err := idna.ToASCII(host); err == nil {
		host = ascii
	}
	return strings.ToLower(host)
}

// isOurs reports whether a request is by a name of this site's. A page of somebody else's, whose name they let lead to this
// machine after it was loaded (DNS rebinding), would else be of the same origin as this one to a browser, and could read it and act.
func (p *Page) isOurs(r *http.Request) bool {
	host := hostOf(r)
	if isLoopbackName(host) || p.hosts[host] {
		return true
	}
	// An address can't be made to lead elsewhere. It must be the one at which the request came in.
	if address, err := netip.ParseAddr(host); err == nil {
		local, ok := localAddress(r)
		return ok && local == address.Unmap()
	}
	return p.server != nil && matchesAHost(p.server.Routes, r)
}

// hostOf is the host that a request is for, without port and brackets.
func hostOf(r *http.Request) string {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return plainHost(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
}

// matchesAHost reports whether any site of the server is for the request's host by name. The sites are the admin's own: whichever
// of them a name belongs to, no stranger chose it.
func matchesAHost(routes caddyhttp.RouteList, r *http.Request) bool {
	for _, route := range routes {
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				hosts, is := matcher.(*caddyhttp.MatchHost)
				if !is {
					continue
				}
				if matches, err := hosts.MatchWithError(r); matches && err == nil {
					return true
				}
			}
		}
	}
	return false
}

// isLoopbackName reports whether a host is this machine's own to every browser, which asks no name server about it.
func isLoopbackName(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// isOnLoopback reports whether all of a server's listeners can be reached from this machine alone. What isn't known isn't.
func isOnLoopback(listen []string) bool {
	for _, written := range listen {
		address, err := caddy.ParseNetworkAddress(written)
		if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() || !isLoopbackName(plainHost(address.Host)) {
			return false
		}
	}
	return len(listen) > 0
}

// localAddress is the address of this machine at which a request came in.
func localAddress(r *http.Request) (netip.Addr, bool) {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return netip.Addr{}, false
	}
	return address.Addr().Unmap().WithZone(""), true
}
