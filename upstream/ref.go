package upstream

import (
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

// EscapedPath is the URL path of the file, below GitLab's base path, as the edge itself asks for it. For a legal ref
// ParseRoute reads the same ref out of it.
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
// URL (contract, section 1). Where the URL names a directory itself, the one in the query takes its place. A
// directory that could lead elsewhere is an *InvalidError.
func (r Ref) WithPath(directory string) (Ref, error) {
	if strings.HasPrefix(directory, "/") {
		return Ref{}, &InvalidError{Parameter: "path"}
	}
	r.File = strings.TrimRight(directory, "/") + "/" + r.File[strings.LastIndexByte(r.File, '/')+1:]
	if !legalDirectories(r.File) {
		return Ref{}, &InvalidError{Parameter: "path"}
	}
	return r, nil
}

// owned returns the ref in memory of its own, all of it in one piece. What a URL was cut into keeps the whole of the
// request's first line in memory, which can be a megabyte, for as long as a cache or a grant keeps the ref.
func (r Ref) owned() Ref {
	all := r.Project + r.Package + r.Version + r.File
	take := func(length int) (field string) {
		field, all = all[:length], all[length:]
		return field
	}
	return Ref{Project: take(len(r.Project)), Package: take(len(r.Package)), Version: take(len(r.Version)), File: take(len(r.File))}
}

// InvalidError says which parameter of a generic package route is illegal, in the words of GitLab's own validation.
type InvalidError struct {
	// Parameter is id, package_name, package_version, file_name or path.
	Parameter string
	// Allowed says for people what Rules.Check would have taken: "three numbers, such as 1.0.0". It is empty where no rules
	// allow the value.
	Allowed string
}

func (e *InvalidError) Error() string { return e.Parameter + " is invalid" }

const (
	// maxNameBytes bounds each name, and each directory: no file system keeps longer ones.
	maxNameBytes = 255
	// maxFileBytes bounds a file name with its directories. GitLab stores it as one name, and no storage of GitLab's takes
	// one that long: object stores end at 1,024 bytes for the whole key, disks at 255.
	maxFileBytes = 1024
)

// legalName reports what holds for names under all rules: not empty, not dots alone, no slash, printable ASCII, not too
// long. Dots pass GitLab's patterns for names and are refused by another validator
// (contract, section 3); versions have no such validator, but `.` in a URL is cleaned away by
// whatever stands between.
func legalName(name string) bool {
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

// legalDirectories reports whether the directories of a file name can lead nowhere else. GitLab has no set of characters
// for them but refuses double encoding (contract, section 3): with a percent sign left after decoding, somebody
// who decodes once more could read a slash or dots.
func legalDirectories(file string) bool {
	if len(file) > maxFileBytes {
		return false
	}
	for {
		directory, rest, nested := strings.Cut(file, "/")
		if !nested {
			return true
		}
		if !legalName(directory) || strings.Contains(directory, "%") {
			return false
		}
		file = rest
	}
}
