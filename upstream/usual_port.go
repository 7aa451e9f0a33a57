package upstream

import "net/url"

// usualPorts are those of the schemes by which GitLab is asked (RFC 9110, section 4.2).
var usualPorts = map[string]string{"http": "80", "https": "443"}

// HasUsualPort reports whether a URL of the scheme http or https leads to that scheme's own port, whether it names the port or
// not. The scheme must be in small letters, as url.Parse gives it.
func HasUsualPort(u *url.URL) bool {
	usual, ok := usualPorts[u.Scheme]
	return ok && portOf(u) == usual
}

// portOf is the port that a URL leads to; empty if it names none and its scheme isn't known.
func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return usualPorts[u.Scheme]
}
