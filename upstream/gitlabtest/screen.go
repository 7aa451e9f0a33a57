package gitlabtest

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// screen does what GitLab's middleware does before a request reaches the API: who connects, whether strings are well
// formed, whether a path walks up. It returns the request as the API sees it, or an answer that ends it.
func (s *Server) screen(r *http.Request) (*call, *refusal) {
	c := &call{Request: r, params: make(parameters)}
	c.path, c.query = requestTarget(r)
	c.path = strings.TrimPrefix(c.path, s.settings.basePath)
	if s.settings.release != Release135 {
		c.path = withoutOrganization(c.path)
	}
	c.client = s.settings.clientAddress(c)
	decoded, err := url.PathUnescape(c.path)
	switch {
	case spoofsAddress(c), err != nil, !wellFormed(decoded), !wellFormedCredentials(c),
		!c.params.parse(c.query), !c.params.parseForm(r):
		return nil, badRequest
	case s.settings.release != Release135 && walksUpInURL.MatchString(lenientUnescape(strings.TrimSuffix(c.path+"?"+c.query, "?"))):
		return nil, traversal
	case !knownFormat(c.params["format"]) && strings.HasPrefix(decoded, "/api/"):
		return nil, failure(http.StatusNotAcceptable, "The requested format '"+c.params["format"]+"' is not supported.")
	default:
		c.overrideMethod()
		return c, nil
	}
}

// walksUpInURL is walksUp for a whole URL. Newlines are not its business (lib/gitlab/middleware/path_traversal_check.rb).
var walksUpInURL = regexp.MustCompile(`[/\\]\.\.\z|[/\\]\.\.[/\\]`)

// spoofsAddress tells whether two headers name different clients (lib/gitlab/middleware/handle_ip_spoof_attack_error.rb).
func spoofsAddress(c *call) bool {
	claimed, forwarded := addresses(c.header("Client-Ip")), addresses(c.header("X-Forwarded-For"))
	return len(claimed) > 0 && len(forwarded) > 0 && !slices.Contains(forwarded, claimed[len(claimed)-1])
}

func addresses(list string) []netip.Addr {
	var found []netip.Addr
	for item := range strings.SplitSeq(list, ",") {
		if address, err := netip.ParseAddr(strings.TrimSpace(item)); err == nil {
			found = append(found, address)
		}
	}
	return found
}

func wellFormedCredentials(c *call) bool {
	user, password, _ := c.basic()
	return wellFormed(c.header("Authorization")) && wellFormed(user) && wellFormed(password)
}

func knownFormat(format string) bool {
	return format == "" || format == "json" || format == "txt"
}

// clientAddress finds out who asks, as Rails does: the last address that isn't a proxy's, from the connection back
// through X-Forwarded-For; if all are proxies', the first of them. Who connects without being a trusted proxy is the
// client whatever it says.
func (c settings) clientAddress(request *call) netip.Addr {
	peer, _ := netip.ParseAddrPort(request.RemoteAddr)
	address := peer.Addr().Unmap()
	if !c.trusts(address) {
		return address
	}
	for _, forwarded := range slices.Backward(addresses(request.header("X-Forwarded-For"))) {
		address = forwarded
		if !c.trusts(address) {
			break
		}
	}
	return address
}

func (c settings) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(c.trustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}
