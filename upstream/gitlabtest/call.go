package gitlabtest

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// call is a request as GitLab sees it.
type call struct {
	*http.Request

	// path and query are what the request line says, byte for byte, the path below GitLab's base path.
	path, query string
	params      parameters
	client      netip.Addr
	// overridden says that the method isn't that of the request line.
	overridden bool
}

// requestTarget splits the request line's target, byte for byte; net/url would mend it. The absolute form, which
// proxies get, loses its origin.
func requestTarget(r *http.Request) (path, query string) {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") {
		if _, rest, absolute := strings.Cut(target, "://"); absolute {
			end := strings.IndexAny(rest, "/?")
			if end < 0 {
				end = len(rest)
			}
			target = "/" + strings.TrimPrefix(rest[end:], "/")
		}
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

// header is a header as it reaches Rails: Puma joins its lines.
func (c *call) header(name string) string { return strings.Join(c.Header.Values(name), ", ") }

func (c *call) reads() bool { return c.Method == http.MethodGet || c.Method == http.MethodHead }

// bearer is the token of an Authorization header, "" if it isn't of that scheme.
func (c *call) bearer() string {
	const scheme = "bearer "
	value := c.header("Authorization")
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	return value[len(scheme):]
}

// basic is the user name and password of an Authorization header; ok is false if it isn't of that scheme. What can't be
// decoded is a nameless user without a password.
func (c *call) basic() (user, password string, ok bool) {
	scheme, encoded, _ := strings.Cut(c.header("Authorization"), " ")
	if !strings.EqualFold(scheme, "basic") {
		return "", "", false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", true
	}
	user, password, _ = strings.Cut(string(decoded), ":")
	return user, password, true
}

// target is what a generic package URL names, as GitLab's router reads it: decoded once.
type target struct {
	id, name, version, file string
	// path is the directory. It can be given empty, as a parameter, which is another file than without one.
	path      string
	pathGiven bool
}

// storedName is the name of the row that a target means (lib/api/generic_packages.rb: encoded_file_name).
func (t target) storedName() string {
	if t.pathGiven && t.path == "" {
		return "/" + t.file
	}
	return storedName(t.path, t.file)
}

// parseTarget reads an escaped path as Grape does: empty segments don't count, fixed words may be percent-encoded,
// separators may not.
func parseTarget(escaped string) (target, bool) {
	segments, ok := decodedSegments(escaped)
	if !ok || len(segments) < 9 || segments[0] != "api" || segments[1] != "v4" || segments[2] != "projects" ||
		segments[4] != "packages" || segments[5] != "generic" {
		return target{}, false
	}
	last := len(segments) - 1
	return target{
		id: segments[3], name: segments[6], version: segments[7], file: segments[last],
		path: strings.Join(segments[8:last], "/"), pathGiven: last > 8,
	}, true
}

func decodedSegments(escaped string) ([]string, bool) {
	var segments []string
	for raw := range strings.SplitSeq(escaped, "/") {
		if raw == "" {
			continue
		}
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			return nil, false
		}
		segments = append(segments, decoded)
	}
	return segments, true
}
