package gitlabtest

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// target is what a generic package URL names, as GitLab's router reads it.
type target struct {
	id, name, version, path, file string
}

// routeGeneric reads an escaped path as Grape does: empty segments don't count, fixed words may be percent-encoded,
// separators may not.
func routeGeneric(escaped string) (target, bool) {
	var segments []string
	for raw := range strings.SplitSeq(escaped, "/") {
		if raw == "" {
			continue
		}
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			return target{}, false
		}
		segments = append(segments, decoded)
	}
	if len(segments) < 9 || segments[0] != "api" || segments[1] != "v4" || segments[2] != "projects" ||
		segments[4] != "packages" || segments[5] != "generic" {
		return target{}, false
	}
	last := len(segments) - 1
	return target{
		id: segments[3], name: segments[6], version: segments[7], path: strings.Join(segments[8:last], "/"), file: segments[last],
	}, true
}

var (
	namePattern    = regexp.MustCompile(`\A[A-Za-z0-9._\-+]+\z`)
	versionPattern = regexp.MustCompile(`\A[\w+.-]+\z`)
	filePattern    = regexp.MustCompile(`\A[A-Za-z0-9._\-+~@]+\z`)
)

// validate is today's parameter validation (lib/gitlab/regex/packages.rb, lib/api/generic_packages.rb).
func (t target) validate() *refusal {
	var wrong []string
	if !namePattern.MatchString(t.name) || isTraversal(t.name) {
		wrong = append(wrong, "package_name is invalid")
	}
	if !versionPattern.MatchString(t.version) || strings.Contains(t.version, "..") {
		wrong = append(wrong, "package_version is invalid")
	}
	if !filePattern.MatchString(t.file) || strings.ContainsAny(t.file[:1]+t.file[len(t.file)-1:], "~@") || isTraversal(t.file) {
		wrong = append(wrong, "file_name is invalid")
	}
	for segment := range strings.SplitSeq(t.path, "/") {
		if isTraversal(segment) {
			wrong = append(wrong, "path should be a valid file path")
			break
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &refusal{status: http.StatusBadRequest, body: `{"error":"` + strings.Join(wrong, ", ") + `"}`}
}

func isTraversal(segment string) bool { return segment == "." || segment == ".." }

// storedName is how GitLab names a file in a directory: the whole path, percent-encoded.
func (t target) storedName() string {
	if t.path == "" {
		return t.file
	}
	return url.PathEscape(t.path + "/" + t.file)
}

// serveGitLab is everything that GitLab's own address answers.
func (s *Server) serveGitLab(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Date", s.now().UTC().Format(http.TimeFormat))
	header.Set("Cache-Control", "no-cache")
	header.Set("Vary", "Origin")
	header.Set("X-Frame-Options", "SAMEORIGIN")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Request-ID", newID())
	header.Set("X-Runtime", "0.042")
	if s.failHead(w, r, false) {
		return
	}
	if strings.ContainsRune(r.URL.Path, 0) {
		badRequest.write(w)
		return
	}
	named, ok := routeGeneric(r.URL.EscapedPath())
	switch {
	case strings.Contains("/"+r.URL.Path+"/", "/../"):
		traversal.write(w)
	case ok && r.Method == http.MethodPut:
		s.servePublish(w, r, named)
	case ok && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		s.serveDownload(w, r, named)
	case ok:
		header.Set("Allow", "GET, HEAD, PUT, OPTIONS")
		methodNotKnown.write(w)
	case strings.HasPrefix(r.URL.Path, "/api/v4/projects/"):
		s.serveProject(w, r)
	default:
		serveOther(w, r)
	}
}

// serveOther echoes what reached GitLab, for tests of what passes through.
func serveOther(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(r.Method + " " + r.RequestURI + "\n")) //nolint:gosec // plain text
}
