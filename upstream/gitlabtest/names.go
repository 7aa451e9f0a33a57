package gitlabtest

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The patterns of 13.5 (lib/gitlab/regex.rb) and of today (lib/gitlab/regex/packages.rb). The look-arounds of today's
// are written as code in validate.
var (
	namePattern       = regexp.MustCompile(`\A[A-Za-z0-9._\-+]+\z`)
	versionPattern    = regexp.MustCompile(`\A[\w+.-]+\z`)
	filePattern       = regexp.MustCompile(`\A[A-Za-z0-9._\-+~@]+\z`)
	versionPattern135 = regexp.MustCompile(`\A\d+\.\d+\.\d+\z`)
)

// validate judges the names of a target as the API's parameter validators do, with one complaint for each that is not
// content. It returns nil if all are.
func (c settings) validate(t target) *refusal {
	complaints := slices.Concat(
		complain("package_name", namePattern.MatchString(t.name), isFilePath(t.name)),
		complain("package_version", c.isVersion(t.version), true),
		complain("path", true, c.release == Release135 || isFilePath(t.path)),
		complain("file_name", c.isFileName(t.file), isFilePath(t.file)),
	)
	if len(complaints) == 0 {
		return nil
	}
	return failure(http.StatusBadRequest, strings.Join(complaints, ", "))
}

func complain(parameter string, matches, isPath bool) []string {
	var complaints []string
	if !matches {
		complaints = append(complaints, parameter+" is invalid")
	}
	if !isPath {
		complaints = append(complaints, parameter+" should be a valid file path")
	}
	return complaints
}

// isVersion has no validator for file paths behind it: a lone "." is a version.
func (c settings) isVersion(version string) bool {
	if c.release == Release135 {
		return versionPattern135.MatchString(version)
	}
	return versionPattern.MatchString(version) && !strings.Contains(version, "..")
}

func (c settings) isFileName(file string) bool {
	if c.release == Release135 {
		return namePattern.MatchString(file)
	}
	return filePattern.MatchString(file) && !strings.ContainsAny(file[:1]+file[len(file)-1:], "~@")
}

// walksUp is the pattern of lib/gitlab/path_traversal.rb.
var walksUp = regexp.MustCompile(`\A\.{1,2}\z|\A\.\.[/\\]|[/\\]\.\.\z|[/\\]\.\.[/\\]|\n`)

// isFilePath is the file_path validator (lib/api/validations/validators/file_path.rb): decoded once more, a value must
// neither walk up nor be absolute nor be encoded yet again.
func isFilePath(value string) bool {
	decoded := lenientUnescape(value)
	return decoded == lenientUnescape(decoded) && !walksUp.MatchString(decoded) && !strings.HasPrefix(value, "/")
}

// lenientUnescape is Ruby's CGI.unescape, which leaves broken escapes as they are.
func lenientUnescape(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return strings.ReplaceAll(text, "+", " ")
}
