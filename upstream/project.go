package upstream

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// maxProjectBytes bounds a full path: GitLab nests at most twenty groups.
const maxProjectBytes = 4096

// CanonicalProject returns the canonical spelling of a decoded project id or path. A number is a number with or without
// leading zeros, and a path is found whatever its case (contract, section 6). Control
// characters are refused: GitLab's test for a number has line anchors, and `24` followed by a newline is 24 to it. So are
// negative numbers, dots alone and empty segments. A name that is neither number nor path is nothing to GitLab, which may
// say so itself.
func CanonicalProject(decoded string) (string, error) {
	if decoded == "" || len(decoded) > maxProjectBytes {
		return "", &InvalidError{Parameter: "id"}
	}
	for i := range len(decoded) {
		if c := decoded[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return "", &InvalidError{Parameter: "id"}
		}
	}
	if isNumber(decoded) {
		if trimmed := strings.TrimLeft(decoded, "0"); trimmed != "" {
			return trimmed, nil
		}
		return "0", nil
	}
	if decoded[0] == '-' && isNumber(decoded[1:]) {
		return "", &InvalidError{Parameter: "id"}
	}
	for segment := range strings.SplitSeq(decoded, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "", &InvalidError{Parameter: "id"}
		}
	}
	return strings.ToLower(decoded), nil
}

func isNumber(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != ""
}

// ParseProject reads a project as an admin spells it: 24, group/app, Group%2FApp. What no project can be called is an error,
// since it would be about none: a path of one part, and letters that GitLab's paths don't have, such as those of `*`, `24,25`
// or `group%252Fapp` (Gitlab::PathRegex, PATH_REGEX_STR).
func ParseProject(spelling string) (string, error) {
	decoded, err := url.PathUnescape(spelling)
	if err != nil {
		return "", fmt.Errorf("invalid percent-encoding: %w", err)
	}
	project, err := CanonicalProject(strings.Trim(decoded, "/"))
	if err != nil {
		return "", err
	}
	if !isNumber(project) && !projectPath.MatchString(project) {
		return "", &InvalidError{Parameter: "id"}
	}
	return project, nil
}

// projectPath is a canonical path of a project in its groups.
var projectPath = regexp.MustCompile(`\A[a-z0-9_.][a-z0-9_.-]*(?:/[a-z0-9_.][a-z0-9_.-]*)+\z`)
