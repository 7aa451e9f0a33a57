package page

import (
	"crypto/subtle"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
)

// tokenField is the field of each form that has the process's token.
const tokenField = "token"

// mayAct reports whether a request may change anything, and if not, why, in a sentence.
func (p *Page) mayAct(r *http.Request) (ok bool, why string) {
	switch {
	case p.Actions == "":
		return false, "This page is read only. The line “actions” in the block of gitlab_packages_page lets people act."
	case p.Actions == ActionsUnauthenticated, userOf(r) != "":
		return true, ""
	case p.cameByLoopback(r):
		return true, ""
	}
	return false, "Only people whom an authentication before this page has let in may act, or everybody on this machine where the server listens on loopback only."
}

// userOf is who an authentication before the page has let in; empty for nobody.
func userOf(r *http.Request) string {
	replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	user, _ := replacer.GetString("http.auth.user.id")
	return user
}

// proxyHeaders are added by what stands between a browser and here, and never by a browser.
var proxyHeaders = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

// cameByLoopback reports whether a request comes from a person on this machine, as far as that can be told: the server listens on
// loopback only, the connection is one, and nothing says that a proxy passes on what others ask. A proxy beside the edge that hides
// itself is told from a browser only when it sends a form, whose Origin names another host (isSameOrigin).
func (p *Page) cameByLoopback(r *http.Request) bool {
	local, ok := localAddress(r)
	if !p.onLoopback || !ok || !local.IsLoopback() || !isLoopbackName(hostOf(r)) {
		return false
	}
	for _, name := range proxyHeaders {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || isSameOrigin(r)
}

// isSameOrigin reports whether a browser says that a form is of the page by the very name that it was sent to.
func isSameOrigin(r *http.Request) bool {
	origin, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && origin.Host != "" && origin.Host == r.Host
}

// hasToken reports whether a form was made by this process.
func (p *Page) hasToken(form url.Values) bool {
	given := form[tokenField]
	return len(given) == 1 && subtle.ConstantTimeCompare([]byte(given[0]), []byte(p.token)) == 1
}
