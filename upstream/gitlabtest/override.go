package gitlabtest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// withoutOrganization cuts /o/<organization> off an escaped path: newer GitLabs have each route a second time below it
// (config/routes.rb). Which organization it is makes no difference here.
func withoutOrganization(path string) string {
	first, rest, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	if word, err := url.PathUnescape(first); err != nil || word != "o" {
		return path
	}
	organization, rest, below := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if organization == "" || !below {
		return path
	}
	return "/" + rest
}

// overrideMethod does what Rack does to a POST (Rack::MethodOverride): a form field, else a header, makes another method of
// it.
func (c *call) overrideMethod() {
	if c.Method != http.MethodPost {
		return
	}
	method := strings.ToUpper(c.params["_method"])
	if method == "" {
		method = strings.ToUpper(c.header("X-Http-Method-Override"))
	}
	known := []string{
		http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch, "LINK", "UNLINK",
	}
	if !slices.Contains(known, method) {
		return
	}
	c.Request = c.WithContext(c.Context())
	c.Method, c.overridden = method, true
}
