package gitlabtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// serveProject answers GET /projects/:id, and for other paths below it that there is no such route.
func (s *Server) serveProject(w http.ResponseWriter, r *http.Request) {
	id, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v4/projects/"), "/")
	decoded, err := url.PathUnescape(id)
	if err != nil || rest != "" {
		noRoute.write(w)
		return
	}
	actor, refused := s.authenticate(r)
	if refused != nil {
		refused.write(w)
		return
	}
	p := s.findProject(decoded)
	role := NoRole
	if p != nil && actor != nil {
		role = actor.Roles[p.ID]
	}
	if p == nil || (!visible(actor, p, role, false) && (actor == nil || !actor.Admin)) {
		(&refusal{status: http.StatusNotFound, body: `{"message":"404 Project Not Found"}`}).write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"id": p.ID, "path_with_namespace": p.Path})
}
