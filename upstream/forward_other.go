package upstream

import (
	"net/http"
	"net/url"
	"strings"
)

// ForwardOther sends on a request that is about something else than generic packages, such as a page of GitLab's or a call of
// Git's, and relays the answer to w. Of f, Caller, DropHeaders, Delivery and OnAnswer count. Its path must be below the base
// path (IsBelowBase).
//
// The path reaches GitLab as EscapedPath of r's URL, and the query as r has it. GitLab hears of the caller what Forward tells,
// and never a header that Forward drops.
//
// No request is tried a second time because GitLab is silent. Where a kept connection closes without a byte of answer, a GET,
// HEAD, OPTIONS or TRACE without a body may be sent again (RFC 9110, section 9.2.2), and nothing else is, whatever
// Idempotency-Key it has.
//
// The answer is awaited for Config.PublishTimeout from the last byte of the request on, and as GitLab gives it: a redirect to
// object storage is the caller's, too. A redirect to GitLab itself by the host of Config.Base is shown without that host, so
// that it leads to whoever the caller has asked. A WebSocket over HTTP/1.1 is passed on; any other offer to switch protocols
// isn't.
//
// Errors and panics are those of Forward.
func (c *Client) ForwardOther(w http.ResponseWriter, r *http.Request, f Forwarding) error {
	target := *r.URL
	target.Scheme, target.Host, target.User = c.cfg.Base.Scheme, c.cfg.Base.Host, nil
	target.RawPath = EscapedPath(r.URL)
	f = Forwarding{Caller: f.Caller, DropHeaders: f.DropHeaders, Delivery: f.Delivery, OnAnswer: f.OnAnswer, upgrades: isWebSocket(r)}
	if f.Delivery == nil {
		f.Delivery = new(Delivery)
	}
	var tunnel tunnelWriter
	if f.upgrades {
		tunnel.ResponseWriter = w
		w = &tunnel
		defer tunnel.end()
	}
	unreached := relay(w, r, &target, otherTransport{forwardTransport{c, f}}, f, func(response *http.Response) error {
		c.leaveHostOut(response, &target)
		if f.OnAnswer != nil {
			f.OnAnswer(response)
		}
		return tunnel.prepare(response)
	})
	if unreached != nil {
		return unreached
	}
	return nil
}

// otherTransport sends what ForwardOther forwards.
type otherTransport struct{ forwardTransport }

// RoundTrip implements http.RoundTripper.
func (t otherTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	return t.send(request.WithContext(requestedBy(request.Context(), aVisitor)))
}

// leaveHostOut has a redirect that leads to GitLab itself, by the host that it is asked by, lead to the same path of whoever the
// caller has asked. Without a host it does (RFC 9110, section 10.2.2), whatever scheme and name balancers in front of the
// edge have. A redirect elsewhere stays as it is, also one to the same host outside of the base path.
func (c *Client) leaveHostOut(response *http.Response, asked *url.URL) {
	for _, name := range []string{"Location", "Content-Location"} {
		location, err := url.Parse(response.Header.Get(name))
		if err != nil || location.Host == "" || location.User != nil || !c.isOwnHost(location) || !c.IsBelowBase(location.EscapedPath()) {
			continue
		}
		if location.Scheme != asked.Scheme && location.RequestURI() == asked.RequestURI() {
			continue // it asks for https: without a host it would lead in a circle
		}
		location.Scheme, location.Host = "", ""
		if location.Path == "" {
			location.Path = "/"
		}
		if strings.HasPrefix(location.Path, "//") {
			continue // it would be read as a host
		}
		response.Header.Set(name, location.String())
	}
}

// isOwnHost reports whether a URL names the host that GitLab is asked by, by http or https. GitLab writes the scheme that the
// caller has come by, or its own.
func (c *Client) isOwnHost(location *url.URL) bool {
	if !strings.EqualFold(location.Hostname(), c.cfg.Base.Hostname()) || (location.Scheme != "http" && location.Scheme != "https") {
		return false
	}
	return portOf(location) == portOf(c.cfg.Base) || (HasUsualPort(location) && HasUsualPort(c.cfg.Base))
}
