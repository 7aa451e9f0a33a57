package caddymodule

import (
	"net/url"
	"strings"
)

// hasPlainTarget reports whether what a request names is in the URL's path, where names and switches are looked for.
//
// A target such as `x:http://anything/api/v4/…` gives a URL that net/url calls opaque: its path is empty, and whoever sends
// it on writes the whole of it into the request line, where GitLab reads the path after the authority. An empty path is that of `http://host` and `http://host?query`, `*` that
// of `OPTIONS *` (RFC 9112, section 3.2).
func hasPlainTarget(target *url.URL) bool {
	return target.Opaque == "" && (target.Path == "" || target.Path == "*" || strings.HasPrefix(target.Path, "/"))
}
