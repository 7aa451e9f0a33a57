package gitlabtest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"
)

// packageName is a package of a project.
type packageName struct {
	project       int
	name, version string
}

// pkg is a package with its uploads, the oldest first. The newest of a name is the one that is given out.
type pkg struct {
	id    int
	files []*upload
}

// upload is one published file.
type upload struct {
	id       int
	name     string
	size     int64
	sha256   string
	modified time.Time
	open     func() io.ReadSeeker
	key      string // in the object storage
}

func newID() string {
	var id [8]byte
	_, _ = rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// inMemory is the size up to which uploads stay in memory; larger ones go to a file.
const inMemory = 8 << 20

// Publish publishes a file by GitLab itself, beside the edge. file may hold directories.
func (s *Server) Publish(project int, name, version, file string, body []byte) {
	sum := sha256.Sum256(body)
	s.add(packageName{project, name, version}, &upload{
		name: storedNameOf(file), size: int64(len(body)), sha256: hex.EncodeToString(sum[:]),
		open: func() io.ReadSeeker { return bytes.NewReader(body) },
	})
}

func storedNameOf(file string) string {
	directory, base := "", file
	for i := len(file) - 1; i >= 0; i-- {
		if file[i] == '/' {
			directory, base = file[:i], file[i+1:]
			break
		}
	}
	return target{path: directory, file: base}.storedName()
}

func (s *Server) add(name packageName, u *upload) {
	u.modified = s.now().Truncate(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packages[name]
	if p == nil {
		s.lastID++
		p = &pkg{id: s.lastID}
		s.packages[name] = p
	}
	s.lastID++
	u.id = s.lastID
	sum := sha256.Sum256(fmt.Appendf(nil, "%d", name.project))
	u.key = fmt.Sprintf("/packages/%x/%d/files/%d/%s", sum[:8], p.id, u.id, newID())
	p.files = append(p.files, u)
}

// find returns the newest upload of a name, or nil.
func (s *Server) find(name packageName, stored string) *upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packages[name]
	if p == nil {
		return nil
	}
	for _, u := range slices.Backward(p.files) {
		if u.name == stored {
			return u
		}
	}
	return nil
}

// DeleteNewest deletes the newest upload of a name, so that the one before comes back; false if there is none.
func (s *Server) DeleteNewest(project int, name, version, file string) bool {
	stored := storedNameOf(file)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packages[packageName{project, name, version}]
	if p == nil {
		return false
	}
	for i, v := range slices.Backward(p.files) {
		if v.name == stored {
			p.files = slices.Delete(p.files, i, i+1)
			return true
		}
	}
	return false
}

// DeletePackage deletes a package with all its files.
func (s *Server) DeletePackage(project int, name, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.packages, packageName{project, name, version})
}

// servePublish answers a PUT. Who may publish what is settled before the body is read, as Workhorse asks Rails for leave
// first; select and the like after it.
func (s *Server) servePublish(w http.ResponseWriter, r *http.Request, named target) {
	if named.file == "authorize" && named.path != "" {
		forbidden.write(w) // Workhorse's own route; its signature is missing
		return
	}
	query := r.URL.Query()
	if path := query.Get("path"); path != "" && named.path == "" {
		named.path = path
	}
	actor, refused := s.authenticate(r)
	if refused == nil && actor == nil {
		refused = unauthorized
	}
	if refused == nil {
		refused = named.validate()
	}
	if status := query.Get("status"); refused == nil && status != "" && status != "default" && status != "hidden" {
		refused = &refusal{status: http.StatusBadRequest, body: `{"error":"status does not have a valid value"}`}
	}
	var p *Project
	if refused == nil {
		p = s.findProject(named.id)
		refused = authorize(r, actor, p)
	}
	if refused != nil {
		refused.write(w)
		return
	}
	u, err := s.receive(r)
	if err != nil {
		// A body that broke off: Workhorse has nothing to hand over.
		(&refusal{status: http.StatusInternalServerError, body: `{"message":"500 Internal Server Error"}`}).write(w)
		return
	}
	selected := query.Get("select")
	if selected != "" && selected != "package_file" {
		malformedUpload.write(w)
		return
	}
	u.name = named.storedName()
	s.add(packageName{p.ID, named.name, named.version}, u)
	w.Header().Set("Content-Type", "application/json")
	if selected == "" {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"message":"201 Created"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"id": u.id, "file_name": u.name, "size": u.size, "file_sha256": u.sha256, "file_store": 1, "created_at": u.modified,
	})
}

// receive reads a body into memory, or into a file when it is large.
func (s *Server) receive(r *http.Request) (*upload, error) {
	hash := sha256.New()
	body := io.TeeReader(r.Body, hash)
	start, err := io.ReadAll(io.LimitReader(body, inMemory+1))
	if err != nil {
		return nil, err
	}
	u := &upload{size: int64(len(start))}
	if len(start) <= inMemory {
		u.open = func() io.ReadSeeker { return bytes.NewReader(start) }
		u.sha256 = hex.EncodeToString(hash.Sum(nil))
		return u, nil
	}
	s.mu.Lock()
	discards := s.discards
	s.mu.Unlock()
	if discards {
		rest, err := io.Copy(io.Discard, body)
		u.size, u.sha256 = int64(len(start))+rest, hex.EncodeToString(hash.Sum(nil))
		u.open = func() io.ReadSeeker { return bytes.NewReader(nil) }
		return u, err
	}
	spool, err := os.CreateTemp("", "gitlabtest-")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.spools = append(s.spools, spool)
	s.mu.Unlock()
	rest, err := io.Copy(spool, io.MultiReader(bytes.NewReader(start), body))
	if err != nil {
		return nil, err
	}
	if r.ContentLength >= 0 && rest != r.ContentLength {
		return nil, errors.New("the body is short")
	}
	u.size, u.sha256 = rest, hex.EncodeToString(hash.Sum(nil))
	u.open = func() io.ReadSeeker { return io.NewSectionReader(spool, 0, rest) }
	return u, nil
}

// DiscardLargeUploads makes the server take large uploads without keeping their bytes; they can't be downloaded then.
func (s *Server) DiscardLargeUploads() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discards = true
}
