package gitlabtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// serveGitLab is everything that GitLab's own address answers.
func (s *Server) serveGitLab(w http.ResponseWriter, r *http.Request) {
	s.setCommonHeaders(w.Header(), r)
	if s.failHead(w, r, false) {
		return
	}
	if path, _ := requestTarget(r); !strings.HasPrefix(path, s.settings.basePath+"/") && path != "*" {
		plain(http.StatusNotFound, "404 page not found\n").write(w)
		return
	}
	c, refused := s.screen(r)
	if refused != nil {
		refused.write(w)
		return
	}
	s.route(w, c)
}

// setCommonHeaders sets what every answer of GitLab's carries, most of it anew each time.
func (s *Server) setCommonHeaders(header http.Header, r *http.Request) {
	id := newID()
	header.Set("Date", s.now().UTC().Format(http.TimeFormat))
	header.Set("Cache-Control", "no-cache")
	header.Set("Vary", "Origin")
	header.Set("X-Frame-Options", "SAMEORIGIN")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Gitlab-Meta", `{"correlation_id":"`+id+`","version":"1"}`)
	header.Set("X-Request-ID", id)
	header.Set("X-Runtime", "0.042")
	if r.Header.Get("Origin") != "" {
		// The API is open to every origin, without credentials (config/application.rb).
		header.Set("Access-Control-Allow-Origin", "*")
		header.Set("Access-Control-Expose-Headers", exposedHeaders)
	}
}

const (
	exposedHeaders = "Link, X-Total, X-Total-Pages, X-Per-Page, X-Page, X-Next-Page, X-Prev-Page, X-Gitlab-Blob-Id, X-Gitlab-Commit-Id"
	genericMethods = "OPTIONS, GET, HEAD, PUT"
)

// route finds what answers a request.
func (s *Server) route(w http.ResponseWriter, c *call) {
	named, isGeneric := parseTarget(c.path)
	if s.settings.release == Release135 && named.pathGiven {
		noRoute.write(w) // directories came with 17.1
		return
	}
	switch {
	case c.overridden && c.Method == http.MethodPut:
		forbidden.write(w) // Workhorse has left the body as it is
	case isGeneric && c.Method == http.MethodOptions:
		serveOptions(w, c, genericMethods)
	case isGeneric && c.reads():
		s.serveDownload(w, c, named)
	case c.Method == http.MethodPut && (isGeneric || looksGeneric.MatchString(c.path)):
		s.servePublish(w, c, named, isGeneric)
	case isGeneric:
		w.Header().Set("Allow", genericMethods)
		wrongMethod.write(w)
	default:
		if segments, ok := decodedSegments(c.path); ok && len(segments) > 2 &&
			segments[0] == "api" && segments[1] == "v4" && segments[2] == "projects" {
			s.serveAPI(w, c, segments[3:])
			return
		}
		s.serveOther(w, c)
	}
}

// serveOptions answers a CORS preflight, or tells the methods of a route.
func serveOptions(w http.ResponseWriter, c *call, methods string) {
	if c.Header.Get("Origin") != "" && c.Header.Get("Access-Control-Request-Method") != "" {
		w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		w.Header().Set("Access-Control-Max-Age", "7200")
		if asked := c.Header.Get("Access-Control-Request-Headers"); asked != "" {
			w.Header().Set("Access-Control-Allow-Headers", asked)
		}
		w.WriteHeader(http.StatusOK)
		return
	}
	w.Header().Set("Allow", methods)
	w.WriteHeader(http.StatusNoContent)
}

// serveOther answers all that isn't about projects: a log-in page, and an echo of what reached GitLab, for tests of what
// passes through.
func (s *Server) serveOther(w http.ResponseWriter, c *call) {
	if c.path == signInPath {
		writeLoginPage(w)
		return
	}
	if s.serveWeb(w, c) {
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprintf(w, "%s %s\n", c.Method, c.RequestURI)
}

const signInPath = "/users/sign_in"

// writeLoginPage writes what people see who aren't signed in.
func writeLoginPage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<!DOCTYPE html><html><head><title>Sign in · GitLab</title></head><body>Please sign in</body></html>")
}
