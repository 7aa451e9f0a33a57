package caddymodule

import (
	"net/http"
	"regexp"
	"strings"
)

// judgeable returns the request with the conditions that can be judged. tagged says that the file's entity tag is known, dated
// that its Last-Modified is.
//
// If-Match asks for the file that the caller knows (RFC 9110, section 13.1.1), and comes with Range from downloaders that go on.
// While the edge can't compare, it answers neither that the file is another one, nor with a part that the caller would join to
// bytes which may be another file's: it sends all of the file. The same holds for If-Unmodified-Since, which counts only without
// If-Match (section 13.2.2).
func judgeable(r *http.Request, tagged, dated bool) *http.Request {
	switch match := r.Header.Get("If-Match"); {
	case match != "" && (tagged || strings.TrimSpace(match) == "*"):
		return r
	case match != "":
		return unconditional(r)
	}
	if since := r.Header.Get("If-Unmodified-Since"); since != "" && !dated {
		if _, err := http.ParseTime(since); err == nil { // else it is none (section 13.1.4)
			return unconditional(r)
		}
	}
	return r
}

// edgesTag is an entity tag of the edge's own making, a SHA-256: GitLab and object storage have others.
var edgesTag = regexp.MustCompile(`"[0-9a-f]{64}"`)

// judgeableByGitLab returns a download as it can be forwarded: to GitLab and its storage no tag of the edge's own says anything,
// and they would answer that the file is another one.
func judgeableByGitLab(r *http.Request) *http.Request {
	if hasEdgesTag(r) {
		return unconditional(r)
	}
	return r
}

// hasEdgesTag reports whether a request is for the file that the edge has given a tag.
func hasEdgesTag(r *http.Request) bool {
	return edgesTag.MatchString(strings.Join(r.Header.Values("If-Match"), ","))
}

// unconditional returns a request for the whole file on no condition that it is the one that the caller knows.
func unconditional(r *http.Request) *http.Request {
	return without(r, "If-Match", "If-Unmodified-Since", "If-Range", "Range")
}

func withoutRange(r *http.Request) *http.Request { return without(r, "Range") }

// without returns the request without some headers.
func without(r *http.Request, names ...string) *http.Request {
	changed := r.WithContext(r.Context())
	changed.Header = r.Header.Clone()
	for _, name := range names {
		changed.Header.Del(name)
	}
	return changed
}
