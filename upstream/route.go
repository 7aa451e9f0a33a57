package upstream

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// Route is a request path that GitLab would route to a generic package file.
type Route struct {
	Ref Ref
	// Path is the escaped path to forward: the bytes as sent, except that the short form of GitLab's documentation
	// (/projects/:id/generic/…) is made long.
	Path string
	// Organization says that the path began with /o/<organization>. Names may mean another project there than without
	// it, or a project may not be seen at all: what GitLab answers says nothing about the plain path.
	Organization bool
}

// ErrNotGeneric says that GitLab would not route a path to a generic package file: the request is somebody else's.
var ErrNotGeneric = errors.New("not a generic package route")

// ParseRoute reads an escaped URL path, below GitLab's base path.
//
// GitLab's route is /api/v4/projects/:id/packages/generic/:package_name/*package_version/(*path/):file_name
// (contract, sections 1 and 11). ParseRoute recognises every spelling of it: doubled slashes and a trailing one (Rails
// squeezes them), fixed letters percent-encoded (Mustermann, Grape's router, lets each character but the separator be),
// project ids with leading zeros and paths in any case. Newer GitLabs have each route a second time
// below /o/:organization_path (contract, section 1), which ParseRoute recognises too. What GitLab would route, or might,
// and the edge refuses, is an *InvalidError; the route's project is then filled in if it could be read. Everything else is
// ErrNotGeneric.
//
// The ref holds on to nothing of escapedPath.
func ParseRoute(escapedPath string) (Route, error) {
	var room [16]string
	segments, dots := splitPath(room[:0], escapedPath)
	if dots {
		return refuseDots(escapedPath, segments, nil)
	}
	route, err := parseSegments(segments)
	if err == nil && route.Path == "" {
		route.Path = escapedPath
	}
	return route, err
}

// splitPath appends a path's raw segments, without the empty ones and those beyond tooManySegments, and reports whether any
// of them is a dot segment.
func splitPath(segments []string, escapedPath string) (_ []string, dots bool) {
	for raw := range strings.SplitSeq(escapedPath, "/") {
		if raw == "" {
			continue
		}
		dots = dots || dotsOf(raw) > 0
		if len(segments) < tooManySegments {
			segments = append(segments, raw)
		}
	}
	return segments, dots
}

// tooManySegments bounds what a path of a million slashes costs. So many can't be a legal file's: ten stand before its
// name at most, and each further directory takes two bytes at least. What comes after them changes nothing, then.
const tooManySegments = 10 + maxFileBytes/2 + 1

// dotsOf returns how many dots a raw segment consists of, however they are spelled, if it is a dot segment: 1 for one
// that stands for here, 2 for one that leads up, 0 for all others.
func dotsOf(raw string) int {
	dots := 0
	for raw != "" {
		switch {
		case raw[0] == '.':
			raw = raw[1:]
		case len(raw) >= 3 && (raw[:3] == "%2e" || raw[:3] == "%2E"):
			raw = raw[3:]
		default:
			return 0
		}
		if dots++; dots > 2 {
			return 0
		}
	}
	return dots
}

// refuseDots judges a path with dot segments. Workhorse matches the cleaned path (contract, section 1) and sends
// on the raw one, Rails reads that, and web servers before them clean or don't, squeeze slashes first or later, see
// encoded dots or don't. All of these only ever leave segments out. So whatever holds the segments of a package's path in
// their order, those of the base path before them, with others between them, might be routed, and is refused.
func refuseDots(escapedPath string, segments, base []string) (Route, error) {
	// An empty word stands for any segment: the id, and the three names at least.
	words := append(slices.Clone(base), "api", "v4", "projects", "", "generic", "", "", "")
	for raw := range strings.SplitSeq(escapedPath, "/") {
		if raw != "" && len(words) > 0 && (words[0] == "" || isWord(raw, words[0])) {
			words = words[1:]
		}
	}
	if len(words) > 0 {
		return Route{}, ErrNotGeneric
	}
	// Which project is meant is told for the most usual reading, and only so that a switched-off one is answered as such.
	cleaned := make([]string, 0, len(segments))
	for _, raw := range segments {
		switch dotsOf(raw) {
		case 0:
			cleaned = append(cleaned, raw)
		case 2:
			cleaned = cleaned[:max(0, len(cleaned)-1)]
		}
	}
	var route Route
	if below, ok := cutWords(cleaned, base); ok {
		route, _ = parseSegments(below)
	}
	return Route{Ref: Ref{Project: route.Ref.Project}}, &InvalidError{Parameter: "path"}
}

// parseSegments reads the segments of a path that has neither empty nor dot segments. Path is filled in only for the
// short form.
func parseSegments(segments []string) (Route, error) {
	if len(segments) < 3 || !isWord(segments[0], "o") {
		return parsePlainSegments(segments)
	}
	route, err := parsePlainSegments(segments[2:])
	route.Organization = !errors.Is(err, ErrNotGeneric)
	if route.Path != "" {
		route.Path = "/" + segments[0] + "/" + segments[1] + route.Path
	}
	return route, err
}

// parsePlainSegments is parseSegments for a path without an organization.
func parsePlainSegments(segments []string) (Route, error) {
	if len(segments) < 8 || !isWord(segments[0], "api") || !isWord(segments[1], "v4") || !isWord(segments[2], "projects") {
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
	ref, err := parseNames(segments[3], names)
	if err != nil {
		return Route{Ref: Ref{Project: ref.Project}}, err
	}
	route := Route{Ref: ref.owned()}
	if short {
		route.Path = "/api/v4/projects/" + segments[3] + "/packages/generic/" + strings.Join(names, "/")
	}
	return route, nil
}

// isWord reports whether a raw segment spells a fixed word of the route.
func isWord(raw, word string) bool {
	if raw == word {
		return true
	}
	if len(raw) <= len(word) || !strings.Contains(raw, "%") {
		return false
	}
	decoded, err := url.PathUnescape(raw)
	return err == nil && decoded == word
}

// parseNames reads the project's segment and, of three or more, those of the names. With an error the ref holds what was
// read before it.
func parseNames(project string, names []string) (ref Ref, err error) {
	decoded, err := url.PathUnescape(project)
	if err != nil {
		return ref, &InvalidError{Parameter: "id"}
	}
	if ref.Project, err = CanonicalProject(decoded); err != nil {
		return ref, err
	}
	if ref.Package, err = nameOf(names[0], "package_name"); err != nil {
		return ref, err
	}
	if ref.Version, err = nameOf(names[1], "package_version"); err != nil {
		return ref, err
	}
	ref.File, err = fileOf(names[2:])
	return ref, err
}

// nameOf decodes one name, once. A slash that was encoded is no separator to GitLab's router, and no name has one.
func nameOf(raw, parameter string) (string, error) {
	name, err := url.PathUnescape(raw)
	if err != nil || !legalName(name) {
		return "", &InvalidError{Parameter: parameter}
	}
	return name, nil
}

// fileOf decodes a file name and the directories before it.
func fileOf(raw []string) (string, error) {
	last := len(raw) - 1
	name, err := nameOf(raw[last], "file_name")
	if err != nil || last == 0 {
		return name, err
	}
	decoded := make([]string, len(raw))
	for i, directory := range raw[:last] {
		if decoded[i], err = nameOf(directory, "path"); err != nil {
			return "", err
		}
	}
	decoded[last] = name
	file := strings.Join(decoded, "/")
	if !legalDirectories(file) {
		return "", &InvalidError{Parameter: "path"}
	}
	return file, nil
}
