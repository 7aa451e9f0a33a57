// Package page is the page on which people look at the edge, and act: the handler http.handlers.gitlab_packages_page with its
// directive gitlab_packages_page. It knows the edge as the calls of its admin API (edge.go, package adminapi), and nothing more: it
// shows and does nothing that the admin API doesn't.
//
// # The way of one request
//
// ServeHTTP (serve.go) sets the headers that hold for every answer (headers.go), refuses hosts that aren't the site's (hosts.go) and what
// other sites' pages send (cross_site.go), and looks up the route. Whether the request may change anything is decided in may_act.go.
//
//   - A page for people is a template of templates, whose words and numbers are made by the file named for it: overview.go with
//     verdict.go, states.go, savings.go, curves.go, usage.go, treemap.go, activity.go and troubles.go; files.go, projects.go,
//     actions.go. What all pages have is in frame.go; words.go, times.go and units.go write things as people do.
//   - A form is a POST that actions.go reads, asks about first where something is destroyed (confirm.go), and does by a call. It is
//     answered by a redirect to a page that tells the result (results.go).
//   - What moves is live.go: the same words and numbers as JSON, by the keys that the templates have. events.go sends them to viewers
//     as server-sent events, and watch.go computes them once for all viewers, while there are any.
//   - Style, script and icon are embedded (assets.go).
//
// # Without scripts
//
// Each page is complete without its script, which only updates what is there, shows times in the viewer's zone, and reads curves
// out. The script may neither make markup from text nor be joined by another one: the Content-Security-Policy and Trusted Types see to it.
//
// # Names are chosen by strangers
//
// Those of projects, packages, versions and files reach the browser by html/template, and in the script by textContent. Characters
// that turn text around or can't be seen are shown by their codes (words.go).
package page
