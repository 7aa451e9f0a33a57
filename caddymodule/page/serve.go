package page

import (
	"net/http"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// answer answers requests of one method at one place.
type answer func(p *Page, w http.ResponseWriter, r *http.Request)

// place is what there is at one path below the page: what a GET shows, and what a POST does. Either may be missing.
type place struct {
	show, act answer
}

// places are all but the assets. They stand in one folder, so that relative links hold wherever the page is mounted.
var places map[string]place

func init() { // places lead to code that leads back to them
	places = map[string]place{
		"/":         {show: (*Page).showOverview},
		"/files":    {show: (*Page).showFiles},
		"/projects": {show: (*Page).showProjects},
		"/actions":  {show: (*Page).showActions},
		"/troubles": {show: (*Page).showTroubles},
		"/live":     {show: (*Page).sendLive},
		"/events":   {show: (*Page).sendEvents},
		"/purge":    {show: (*Page).confirmPurge, act: (*Page).purge},
		"/switch":   {show: (*Page).confirmSwitch, act: (*Page).switchProject},
		"/unpin":    {act: (*Page).unpin},
		"/warm":     {act: (*Page).warm},
		"/verify":   {act: (*Page).verify},
	}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It answers every request; the next handler hears of none.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	setHeaders(w.Header())
	switch {
	case !p.isOurs(r):
		p.showMessage(w, r, http.StatusMisdirectedRequest, "Not known by this name",
			"The page is asked for by the name "+visible(hostOf(r))+", which isn't one of this site's.",
			"If it should be, add it in the config: gitlab_packages_page { hosts "+visible(hostOf(r))+" }.")
	case isDrawnIn(r):
		p.showMessage(w, r, http.StatusForbidden, "Not for other sites' pages", "A page of another site asked for this. Open it by yourself.")
	default:
		p.serve(w, r)
	}
	return nil
}

func (p *Page) serve(w http.ResponseWriter, r *http.Request) {
	if whole := withSlash(r); whole != "" {
		w.Header().Set("Location", whole)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	at, known := places["/"+strings.TrimPrefix(r.URL.Path, "/")]
	if file, is := assets[strings.TrimPrefix(r.URL.Path, "/")]; is {
		at, known = place{show: func(_ *Page, w http.ResponseWriter, r *http.Request) { file.serve(w, r) }}, true
	}
	isRead := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case !known:
		p.showMessage(w, r, http.StatusNotFound, "Not found", "There is nothing at this address.")
	case isRead && at.show != nil:
		at.show(p, w, r)
	case r.Method == http.MethodPost && at.act != nil:
		p.act(w, r, at.act)
	default:
		w.Header().Set("Allow", at.methods())
		p.showMessage(w, r, http.StatusMethodNotAllowed, "Not in this way", "This address takes "+at.methods()+", not "+visible(r.Method)+".")
	}
}

// methods are those that a place takes, as the header Allow lists them.
func (at place) methods() string {
	switch {
	case at.act == nil:
		return "GET, HEAD"
	case at.show == nil:
		return "POST"
	}
	return "GET, HEAD, POST"
}

// withSlash returns where a page that was mounted at /edge and asked for by that path is: relative links would lead astray from there.
// It is empty where all is well.
func withSlash(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil || strings.Trim(r.URL.Path, "/") != "" || original.URL.Path == "" || strings.HasSuffix(original.URL.Path, "/") {
		return ""
	}
	return "./" + path.Base(original.URL.EscapedPath()) + "/"
}
