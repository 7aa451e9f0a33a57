package upstream

import (
	"net/url"
	"strings"
)

// EscapedPath is the path of a caller's URL, byte for byte as the caller has sent it. Only bytes that may not stand in a path, such
// as { or those of é in UTF-8, are percent-encoded (RFC 3986, section 2.1): /group%2Fapp/{x} is /group%2Fapp/%7Bx%7D.
//
// The method EscapedPath of url.URL makes a path with such bytes anew from what it decodes to: %2F is a slash then, and the path
// leads elsewhere.
func EscapedPath(u *url.URL) string {
	if u.RawPath == "" {
		if isPlain(u.Path) {
			return u.Path // nearly all files, at less cost
		}
		return u.EscapedPath()
	}
	escaped := escapeForeign(u.RawPath)
	if decoded, err := url.PathUnescape(escaped); err != nil || decoded != u.Path {
		return u.EscapedPath() // somebody has rewritten the path, and what it was is no form of it
	}
	return escaped
}

// isPlain reports whether a path has nothing but what is its own escaped form in every part of a URL.
func isPlain(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '/', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// escapeForeign percent-encodes the bytes that may not stand in a path.
func escapeForeign(path string) string {
	foreign := countForeign(path)
	if foreign == 0 {
		return path
	}
	const digits = "0123456789ABCDEF"
	escaped := make([]byte, 0, len(path)+2*foreign)
	for i := range len(path) {
		if c := path[i]; isForeign(c) {
			escaped = append(escaped, '%', digits[c>>4], digits[c&15])
		} else {
			escaped = append(escaped, c)
		}
	}
	return string(escaped)
}

func countForeign(path string) int {
	foreign := 0
	for i := range len(path) {
		if isForeign(path[i]) {
			foreign++
		}
	}
	return foreign
}

// isForeign reports whether a byte may not stand in a path. Brackets may not either, but net/url sends them as they are.
func isForeign(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return false
	}
	return strings.IndexByte("/%-._~!$&'()*+,;=:@[]", c) < 0
}
