package upstream

import (
	"net/url"
	"strings"
)

// ParseRouteBelow is ParseRoute for a GitLab whose URLs have a base path: base is that path, escaped, without a slash at
// its end, and empty for most GitLabs. The base path is recognised however its segments are spelled, as the web server in
// front of GitLab does. A way into it by dot segments (/x/../gitlab/api/…) would be cleaned by some and not by others: it
// is an *InvalidError if it could lead to a package. What isn't below the base path is ErrNotGeneric.
func ParseRouteBelow(base, escapedPath string) (Route, error) {
	if base == "" {
		return ParseRoute(escapedPath)
	}
	words := baseWords(base)
	if below, ok := cutBasePath(escapedPath, words); ok {
		return ParseRoute(below)
	}
	segments, dots := splitPath(nil, escapedPath)
	if !dots {
		return Route{}, ErrNotGeneric
	}
	// The raw segments are read, and no decoded path: the slash in a project's group%2Fapp is no separator.
	return refuseDots(escapedPath, segments, words)
}

// IsBelowBase reports whether an escaped path is below this GitLab's base path, however that is spelled, and stays there: dot
// segments don't lead out of it, also if something decodes the slashes in a segment.
func (c *Client) IsBelowBase(escapedPath string) bool {
	base := c.BasePath()
	if base == "" {
		return true
	}
	below, ok := cutBasePath(escapedPath, baseWords(base))
	if !ok {
		return false
	}
	decoded, err := url.PathUnescape(below)
	if err != nil {
		return false
	}
	depth := 0
	for segment := range strings.FieldsFuncSeq(decoded, func(c rune) bool { return c == '/' || c == '\\' }) {
		switch segment {
		case ".":
		case "..":
			if depth--; depth < 0 {
				return false
			}
		default:
			depth++
		}
	}
	return true
}

// baseWords are the decoded segments of a base path.
func baseWords(base string) []string {
	words := strings.Split(strings.Trim(base, "/"), "/")
	for i, word := range words {
		if decoded, err := url.PathUnescape(word); err == nil {
			words[i] = decoded
		}
	}
	return words
}

// cutBasePath returns what follows the base path, comparing decoded segments and skipping empty ones.
func cutBasePath(escaped string, words []string) (below string, ok bool) {
	rest := escaped
	for _, word := range words {
		rest = strings.TrimLeft(rest, "/")
		first, after, _ := strings.Cut(rest, "/")
		if !isWord(first, word) {
			return "", false
		}
		rest = after
	}
	return "/" + rest, true
}

// cutWords returns the segments after those that spell the words.
func cutWords(segments, words []string) (below []string, ok bool) {
	if len(segments) < len(words) {
		return nil, false
	}
	for i, word := range words {
		if !isWord(segments[i], word) {
			return nil, false
		}
	}
	return segments[len(words):], true
}
