package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Ref is what the URL of a generic package file names. All fields are decoded exactly once.
type Ref struct {
	// Project is lexically canonical: digits without leading zeros, or the lower-cased full path.
	Project string
	Package string
	Version string
	// File may hold slashes: files in nested directories, whose URL has raw slashes.
	File string
}

// String returns the ref for logs and errors.
func (r Ref) String() string {
	return strconv.Quote(r.Project + "/" + r.Package + "/" + r.Version + "/" + r.File)
}

// EscapedPath is the URL path of the file, below GitLab's base path, as the edge itself asks for it.
func (r Ref) EscapedPath() string {
	var b strings.Builder
	b.WriteString("/api/v4/projects/")
	b.WriteString(url.PathEscape(r.Project))
	b.WriteString("/packages/generic/")
	b.WriteString(url.PathEscape(r.Package))
	b.WriteByte('/')
	b.WriteString(url.PathEscape(r.Version))
	for segment := range strings.SplitSeq(r.File, "/") {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(segment))
	}
	return b.String()
}

// WithPath returns the file that ?path=directory on the same URL names: GitLab takes `path` from the query as from the
// URL (lib/api/generic_packages.rb). A directory that could lead elsewhere is an *InvalidError.
func (r Ref) WithPath(directory string) (Ref, error) {
	trimmed := strings.Trim(directory, "/")
	for segment := range strings.SplitSeq(trimmed, "/") {
		if !legalSegment(segment) {
			return Ref{}, &InvalidError{Parameter: "path"}
		}
	}
	if strings.HasPrefix(directory, "/") {
		return Ref{}, &InvalidError{Parameter: "path"}
	}
	r.File = trimmed + "/" + r.File[strings.LastIndexByte(r.File, '/')+1:]
	return r, nil
}

// Route is a request path that GitLab would route to a generic package file.
type Route struct {
	Ref Ref
	// Path is the escaped path to forward: the bytes as sent, except that the short form of GitLab's documentation
	// (/projects/:id/generic/…) is made long.
	Path string
}

// ErrNotGeneric says that GitLab would not route a path to a generic package file: the request is somebody else's.
var ErrNotGeneric = errors.New("not a generic package route")

// InvalidError says which parameter of a generic package route is illegal, in the words of GitLab's own validation.
type InvalidError struct {
	// Parameter is id, package_name, package_version, file_name or path.
	Parameter string
}

func (e *InvalidError) Error() string { return e.Parameter + " is invalid" }

// maxNameBytes bounds each name, as GitLab's database columns do.
const maxNameBytes = 255

// ParseRoute reads an escaped URL path, below GitLab's base path.
//
// It recognises every spelling that GitLab routes to a generic package file: doubled slashes, a trailing slash, fixed
// letters percent-encoded (Mustermann, Grape's router, lets any character but the separator be), project ids with
// leading zeros and paths in any case. What GitLab would route, or might, and the edge refuses, is an *InvalidError;
// the route's project is then filled in if it could be read. Everything else is ErrNotGeneric.
func ParseRoute(escapedPath string) (Route, error) {
	segments := make([]string, 0, 12)
	dots := false
	for raw := range strings.SplitSeq(escapedPath, "/") {
		if raw == "" {
			continue
		}
		segments = append(segments, raw)
		dots = dots || isDots(raw)
	}
	if dots {
		return refuseDots(segments)
	}
	return parseSegments(escapedPath, segments)
}

func isDots(raw string) bool {
	decoded, err := url.PathUnescape(raw)
	return err == nil && (decoded == "." || decoded == "..")
}

// refuseDots judges a path with dot segments. Workhorse matches the cleaned path and Rails the raw one, and web servers
// before them clean or don't: if any reading leads to a package, the path is refused.
func refuseDots(segments []string) (Route, error) {
	var cleaned, without []string
	for _, raw := range segments {
		decoded, err := url.PathUnescape(raw)
		switch {
		case err == nil && decoded == ".":
		case err == nil && decoded == "..":
			cleaned = cleaned[:max(0, len(cleaned)-1)]
		default:
			cleaned = append(cleaned, raw)
			without = append(without, raw)
		}
	}
	for _, reading := range [][]string{segments, cleaned, without} {
		route, err := parseSegments("", reading)
		if !errors.Is(err, ErrNotGeneric) {
			return Route{Ref: Ref{Project: route.Ref.Project}}, &InvalidError{Parameter: "path"}
		}
	}
	return Route{}, ErrNotGeneric
}

// parseSegments reads the non-empty segments of a path without dot segments.
func parseSegments(escapedPath string, segments []string) (Route, error) {
	if len(segments) < 7 || !isWord(segments[0], "api") || !isWord(segments[1], "v4") || !isWord(segments[2], "projects") {
		return Route{}, ErrNotGeneric
	}
	names := segments[4:]
	short := false
	switch {
	case isWord(names[0], "packages") && isWord(names[1], "generic"):
		names = names[2:]
	case isWord(names[0], "generic"):
		names, short = names[1:], true
	default:
		return Route{}, ErrNotGeneric
	}
	if len(names) < 3 {
		return Route{}, ErrNotGeneric
	}
	route := Route{Path: escapedPath}
	var err error
	if route.Ref.Project, err = projectOf(segments[3]); err != nil {
		return Route{}, err
	}
	if route.Ref.Package, err = nameOf(names[0], "package_name"); err != nil {
		return route, err
	}
	if route.Ref.Version, err = nameOf(names[1], "package_version"); err != nil {
		return route, err
	}
	if len(names) == 3 {
		route.Ref.File, err = nameOf(names[2], "file_name")
	} else {
		route.Ref.File, err = nestedFile(names[2:])
	}
	if err != nil {
		return route, err
	}
	if short {
		route.Path = "/api/v4/projects/" + segments[3] + "/packages/generic/" + strings.Join(names, "/")
	}
	return route, nil
}

func nestedFile(raw []string) (string, error) {
	decoded := make([]string, len(raw))
	for i, segment := range raw {
		parameter := "path"
		if i == len(raw)-1 {
			parameter = "file_name"
		}
		var err error
		if decoded[i], err = nameOf(segment, parameter); err != nil {
			return "", err
		}
		if parameter == "path" && strings.Contains(decoded[i], "%") {
			// Decoded once more somewhere it could be anything; GitLab refuses double encoding in directories too.
			return "", &InvalidError{Parameter: parameter}
		}
	}
	return strings.Join(decoded, "/"), nil
}

// isWord reports whether a raw segment spells a fixed word of the route.
func isWord(raw, word string) bool {
	if raw == word {
		return true
	}
	if !strings.Contains(raw, "%") {
		return false
	}
	decoded, err := url.PathUnescape(raw)
	return err == nil && decoded == word
}

// nameOf decodes one name, once.
func nameOf(raw, parameter string) (string, error) {
	name := raw
	if strings.Contains(raw, "%") {
		var err error
		if name, err = url.PathUnescape(raw); err != nil {
			return "", &InvalidError{Parameter: parameter}
		}
	}
	if !legalSegment(name) {
		return "", &InvalidError{Parameter: parameter}
	}
	return name, nil
}

// legalSegment reports what holds for names under all rules: not empty, no dots alone, no slash, printable ASCII, not
// too long.
func legalSegment(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxNameBytes {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x7f || c == '/' || c == '\\' {
			return false
		}
	}
	return true
}

// projectOf reads the :id segment of a URL.
func projectOf(raw string) (string, error) {
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return "", &InvalidError{Parameter: "id"}
	}
	return CanonicalProject(decoded)
}

// maxProjectBytes bounds a full path: GitLab nests at most twenty groups.
const maxProjectBytes = 4096

// CanonicalProject returns the canonical spelling of a decoded project id or path. A number is a number with or without
// leading zeros, and a path is found whatever its case (lib/api/helpers.rb, app/models/concerns/routable.rb). Control
// characters are refused: `24` followed by a newline is 24 to GitLab. So are negative numbers and dots alone.
func CanonicalProject(decoded string) (string, error) {
	if decoded == "" || len(decoded) > maxProjectBytes {
		return "", &InvalidError{Parameter: "id"}
	}
	digits := true
	for i := range len(decoded) {
		c := decoded[i]
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return "", &InvalidError{Parameter: "id"}
		}
		digits = digits && c >= '0' && c <= '9'
	}
	if digits {
		trimmed := strings.TrimLeft(decoded, "0")
		if trimmed == "" {
			trimmed = "0"
		}
		return trimmed, nil
	}
	if decoded[0] == '-' && strings.Trim(decoded[1:], "0123456789") == "" {
		return "", &InvalidError{Parameter: "id"}
	}
	for segment := range strings.SplitSeq(decoded, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "", &InvalidError{Parameter: "id"}
		}
	}
	return strings.ToLower(decoded), nil
}

// ParseProject reads a project as an admin spells it: 24, group/app, Group%2FApp.
func ParseProject(spelling string) (string, error) {
	decoded, err := url.PathUnescape(spelling)
	if err != nil {
		return "", fmt.Errorf("invalid percent-encoding: %w", err)
	}
	return CanonicalProject(strings.Trim(decoded, "/"))
}
