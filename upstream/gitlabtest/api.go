package gitlabtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// serveAPI answers what is about projects and isn't a generic package route (doc/api/projects.md, doc/api/packages.md).
// segments are those after /api/v4/projects, decoded.
func (s *Server) serveAPI(w http.ResponseWriter, c *call, segments []string) {
	methods, answer := s.apiRoute(segments)
	switch {
	case answer == nil:
		noRoute.write(w)
		return
	case c.Method == http.MethodOptions:
		serveOptions(w, c, strings.Join(methods, ", "))
		return
	case !slices.Contains(methods, c.Method):
		w.Header().Set("Allow", strings.Join(methods, ", "))
		wrongMethod.write(w)
		return
	}
	if len(segments) > 1 && s.packagesAreDisabled() {
		notFound.write(w)
		return
	}
	a, p, refused := s.findForAPI(c, segments[0])
	if refused != nil {
		refused.write(w)
		return
	}
	if len(segments) > 1 && (!a.readsPackages(p) || (c.Method == http.MethodDelete && !a.maintains(p))) {
		forbidden.write(w)
		return
	}
	answer(w, c, p)
}

// findForAPI is the plain way to a project: who may not see it hears that it isn't there, and a former path leads on to
// the numeric URL (GitLab 16.4), unlike on generic routes.
func (s *Server) findForAPI(c *call, id string) (actor, *Project, *refusal) {
	a, refused := s.authenticate(c)
	if refused != nil {
		return a, nil, refused
	}
	p, moved := s.findProject(id)
	switch {
	case p == nil || !a.readsProject(p):
		return a, nil, projectNotFound
	case moved && !c.reads():
		return a, nil, movedProject
	case moved:
		_, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimLeft(c.path, "/"), "api/v4/projects/"), "/")
		location := fmt.Sprintf("%s/api/v4/projects/%d", s.URL, p.ID)
		if rest != "" {
			location += "/" + rest
		}
		if c.query != "" {
			location += "?" + c.query
		}
		return a, nil, &refusal{
			status: http.StatusMovedPermanently, location: location, contentType: "text/plain",
			body: "This resource has been moved permanently to " + location + ".",
		}
	}
	return a, p, nil
}

type apiAnswer func(w http.ResponseWriter, c *call, p *Project)

// apiRoute finds the methods of a route and what answers them; nil if there is no such route.
func (s *Server) apiRoute(segments []string) ([]string, apiAnswer) {
	number := func(i int) int {
		n, err := strconv.Atoi(segments[i])
		if err != nil {
			return 0
		}
		return n
	}
	read, remove := []string{http.MethodGet, http.MethodHead}, []string{http.MethodGet, http.MethodHead, http.MethodDelete}
	switch {
	case len(segments) == 1:
		return read, s.showProject
	case segments[1] != "packages":
		return nil, nil
	case len(segments) == 2:
		return read, s.listPackages
	case number(2) == 0:
		return nil, nil
	case len(segments) == 3:
		return remove, func(w http.ResponseWriter, c *call, p *Project) { s.onePackage(w, c, p, number(2)) }
	case segments[3] != "package_files":
		return nil, nil
	case len(segments) == 4:
		return read, func(w http.ResponseWriter, c *call, p *Project) { s.listFiles(w, c, p, number(2)) }
	case len(segments) == 5 && number(4) > 0:
		return []string{http.MethodDelete}, func(w http.ResponseWriter, _ *call, p *Project) { s.deleteFile(w, p, number(2), number(4)) }
	default:
		return nil, nil
	}
}

func (s *Server) showProject(w http.ResponseWriter, _ *call, p *Project) {
	name := p.Path[strings.LastIndexByte(p.Path, '/')+1:]
	writeJSON(w, map[string]any{
		"id": p.ID, "name": name, "path": name, "path_with_namespace": p.Path, "web_url": s.URL + "/" + p.Path,
		"visibility":               [...]string{"private", "internal", "public"}[p.Visibility],
		"packages_enabled":         !p.RegistryOff,
		"container_registry_image": nil,
	})
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

// packageJSON is a package as the API shows it.
type packageJSON struct {
	ID           int            `json:"id"`
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	PackageType  string         `json:"package_type"`
	Status       PackageStatus  `json:"status"`
	Links        map[string]any `json:"_links"`
	CreatedAt    string         `json:"created_at"`
	LastDownload *string        `json:"last_downloaded_at"`
	Tags         []string       `json:"tags"`
}

func (s *Server) packageJSONLocked(p *Project, known *pkg) packageJSON {
	shown := packageJSON{
		ID: known.id, Name: known.name.name, Version: known.name.version, PackageType: "generic", Status: known.status,
		Links: map[string]any{
			"web_path":        fmt.Sprintf("/%s/-/packages/%d", p.Path, known.id),
			"delete_api_path": fmt.Sprintf("%s/api/v4/projects/%d/packages/%d", s.URL, p.ID, known.id),
		},
		CreatedAt: known.created.UTC().Format(time.RFC3339Nano), Tags: []string{},
	}
	if !known.lastDownload.IsZero() {
		at := known.lastDownload.UTC().Format(time.RFC3339Nano)
		shown.LastDownload = &at
	}
	return shown
}

// listPackages lists the packages of a project, by default the oldest first. package_name is a part of the name in any
// case; package_version is all of it. Packages that are hidden or being processed are shown only to who asks for that status.
func (s *Server) listPackages(w http.ResponseWriter, c *call, p *Project) {
	kind, name, version := c.params["package_type"], strings.ToLower(c.params["package_name"]), c.params["package_version"]
	status := PackageStatus(c.params["status"])
	var shown []packageJSON
	s.mu.Lock()
	for _, known := range s.packages {
		isShown := known.status == PackageDefault || known.status == PackageError || known.status == PackageDeprecated
		if status != "" {
			isShown = known.status == status
		}
		if known.name.project == p.ID && !known.destroyed && isShown && (kind == "" || kind == "generic") &&
			strings.Contains(strings.ToLower(known.name.name), name) && (version == "" || known.name.version == version) {
			shown = append(shown, s.packageJSONLocked(p, known))
		}
	}
	s.mu.Unlock()
	if c.params["sort"] == "desc" {
		slices.Reverse(shown)
	}
	writePage(s, w, c, shown)
}

// onePackage shows or deletes a package.
func (s *Server) onePackage(w http.ResponseWriter, c *call, p *Project, id int) {
	s.mu.Lock()
	known := s.packageByIDLocked(p, id)
	var shown packageJSON
	if known != nil {
		shown = s.packageJSONLocked(p, known)
		if c.Method == http.MethodDelete {
			known.destroyed = true
		}
	}
	s.mu.Unlock()
	switch {
	case known == nil:
		packageNotFound.write(w)
	case c.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, shown)
	}
}

func (s *Server) packageByIDLocked(p *Project, id int) *pkg {
	for _, known := range s.packages {
		if known.id == id && known.name.project == p.ID && !known.destroyed {
			return known
		}
	}
	return nil
}

// fileJSON is an upload as the API shows it.
type fileJSON struct {
	ID        int     `json:"id"`
	PackageID int     `json:"package_id"`
	CreatedAt string  `json:"created_at"`
	FileName  string  `json:"file_name"`
	Size      int64   `json:"size"`
	MD5       *string `json:"file_md5"`
	SHA1      *string `json:"file_sha1"`
	SHA256    string  `json:"file_sha256"`
}

// listFiles lists all uploads of a package, the oldest of a name before the one that is given out.
func (s *Server) listFiles(w http.ResponseWriter, c *call, p *Project, id int) {
	s.mu.Lock()
	known := s.packageByIDLocked(p, id)
	var files []*upload
	if known != nil {
		files = slices.Clone(known.files)
	}
	s.mu.Unlock()
	if known == nil {
		packageNotFound.write(w)
		return
	}
	shown := make([]fileJSON, 0, len(files))
	for _, u := range files {
		shown = append(shown, fileJSON{
			ID: u.id, PackageID: u.packageID, CreatedAt: u.created.UTC().Format(time.RFC3339Nano), FileName: u.name,
			Size: u.content.Size(), SHA256: u.digest(),
		})
	}
	writePage(s, w, c, shown)
}

// deleteFile deletes one upload; the one before it of the same name comes back.
func (s *Server) deleteFile(w http.ResponseWriter, p *Project, packageID, id int) {
	s.mu.Lock()
	known := s.packageByIDLocked(p, packageID)
	deleted := false
	if known != nil {
		before := len(known.files)
		known.files = slices.DeleteFunc(known.files, func(u *upload) bool { return u.id == id })
		deleted = len(known.files) < before
	}
	s.mu.Unlock()
	if !deleted {
		notFound.write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// The sizes of a page (doc/api/rest/_index.md).
const (
	defaultPage = 20
	largestPage = 100
)

// writePage writes the page that a request asks for, with the headers that lead to the others.
func writePage[T any](s *Server, w http.ResponseWriter, c *call, all []T) {
	perPage, page := positive(c.params["per_page"], defaultPage), positive(c.params["page"], 1)
	perPage = min(perPage, largestPage)
	pages := max(1, (len(all)+perPage-1)/perPage)
	first := min((page-1)*perPage, len(all))
	shown := all[first:min(first+perPage, len(all))]

	link := func(number int, relation string) string {
		query := url.Values{}
		for name, value := range c.params {
			if !slices.Contains(secretParameters, name) {
				query.Set(name, value)
			}
		}
		query.Set("page", strconv.Itoa(number))
		query.Set("per_page", strconv.Itoa(perPage))
		return fmt.Sprintf(`<%s%s?%s>; rel="%s"`, s.URL, c.path, query.Encode(), relation)
	}
	header := w.Header()
	var links []string
	header.Set("X-Next-Page", "")
	header.Set("X-Prev-Page", "")
	if page > 1 {
		header.Set("X-Prev-Page", strconv.Itoa(page-1))
		links = append(links, link(page-1, "prev"))
	}
	if page < pages {
		header.Set("X-Next-Page", strconv.Itoa(page+1))
		links = append(links, link(page+1, "next"))
	}
	links = append(links, link(1, "first"), link(pages, "last"))
	header.Set("Link", strings.Join(links, ", "))
	header.Set("X-Page", strconv.Itoa(page))
	header.Set("X-Per-Page", strconv.Itoa(perPage))
	header.Set("X-Total", strconv.Itoa(len(all)))
	header.Set("X-Total-Pages", strconv.Itoa(pages))
	if shown == nil {
		shown = []T{}
	}
	writeJSON(w, shown)
}

// secretParameters never come back in a link.
var secretParameters = []string{"private_token", "access_token", "bearer_token", "job_token", "token"}

func positive(text string, otherwise int) int {
	if number, err := strconv.Atoi(text); err == nil && number > 0 {
		return number
	}
	return otherwise
}
