package gitlabtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"regexp"
	"time"
)

// Workhorse takes uploads out of these requests only, by their still escaped path
// (workhorse/internal/upstream/routes.go). Rails refuses a publish that didn't come that way.
var (
	isAccelerated = regexp.MustCompile(`^/api/v4/projects/[^/]+/packages/generic/`)
	looksGeneric  = regexp.MustCompile(`^/api/v4/projects/.+/packages/generic/`)
)

// servePublish answers a PUT. Workhorse asks Rails for leave before it reads the body, and hands the whole upload over
// afterwards, when everything is judged again: whoever lost a right meanwhile is refused then.
func (s *Server) servePublish(w http.ResponseWriter, c *call, named target, isGeneric bool) {
	if refused := s.beforeBody(c, &named, isGeneric); refused != nil {
		refused.write(w)
		return
	}
	fault := s.takeFault(func(f *Fault) bool { return f.isOfUpload() && f.matches(c.Request) })
	u, err := s.receive(c, fault)
	if err != nil {
		brokenOff.write(w) // Workhorse has nothing to hand over; the caller is gone anyway
		return
	}
	if fault.strikesAfterBody() && s.answerFault(w, c.Request, fault) {
		return
	}
	p, refused := s.afterBody(c, named, u)
	if refused != nil {
		refused.write(w)
		return
	}
	u.name = named.storedName()
	s.add(packageName{p.ID, named.name, named.version}, u, s.wantedStatus(c))
	if fault != nil && fault.LoseAnswer {
		fault.reached(c.Request)
		abort(c.Request)
	}
	w.Header().Set("Content-Type", "application/json")
	if s.settings.release == Release135 || c.params["select"] == "" {
		message(http.StatusCreated, "201 Created").write(w)
		return
	}
	_ = json.NewEncoder(w).Encode(s.row(u))
}

// beforeBody is the authorize step. It also takes over what the query says about the target.
func (s *Server) beforeBody(c *call, named *target, isGeneric bool) *refusal {
	if directory, given := c.params["path"]; given && !named.pathGiven && s.settings.release != Release135 {
		named.path, named.pathGiven = directory, true
	}
	if s.packagesAreDisabled() {
		return notFound
	}
	a, refused := s.authenticateKnown(c)
	if refused != nil {
		return refused
	}
	if !isGeneric || !isAccelerated.MatchString(path.Clean(c.path)) {
		return forbidden
	}
	// The directory is judged with the body only.
	if refused := s.settings.validate(target{name: named.name, version: named.version, file: named.file}); refused != nil {
		return refused
	}
	if s.wantedStatus(c) == invalid {
		return invalidStatus
	}
	p, moved := s.findProject(named.id)
	switch refused := a.mayPublish(p); {
	case refused != nil:
		return refused
	case named.file == "authorize" && named.pathGiven:
		return forbidden // Workhorse's own route, without Workhorse's signature
	case moved:
		return movedProject
	case p.protects(named.name) && !a.maintains(p):
		return protected
	}
	return nil
}

// invalid is a status that nobody can ask for.
const invalid PackageStatus = "?"

// wantedStatus is the state that a publish gives the whole package; empty if it leaves it alone.
func (s *Server) wantedStatus(c *call) PackageStatus {
	status, given := c.params["status"]
	switch {
	case !given || s.settings.release == Release135:
		return ""
	case status == string(PackageDefault) || status == string(PackageHidden):
		return PackageStatus(status)
	default:
		return invalid
	}
}

// afterBody is what is judged when the upload has been received in whole.
func (s *Server) afterBody(c *call, named target, u *upload) (*Project, *refusal) {
	a, refused := s.authenticateKnown(c)
	if refused == nil {
		refused = s.settings.validate(named)
	}
	if refused != nil {
		return nil, refused
	}
	if choice, given := c.params["select"]; given && choice != "package_file" && s.settings.release != Release135 {
		return nil, invalidSelect
	}
	p, _ := s.findProject(named.id)
	refused = a.mayPublish(p)
	switch {
	case refused != nil:
	case p.MaxFileSize > 0 && u.content.Size() > p.MaxFileSize:
		refused = s.settings.badMessage("File is too large")
	case !p.allowsDuplicates(named.name, named.version) && s.exists(packageName{p.ID, named.name, named.version}, named.storedName()):
		refused = s.settings.badMessage("Duplicate package is not allowed")
	case p.protects(named.name) && !a.maintains(p):
		refused = protected
	}
	return p, refused
}

func (s *Server) packagesAreDisabled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.packagesDisabled
}

// inMemory is the size up to which uploads stay in memory; larger ones go to a file.
const inMemory = 8 << 20

// receive reads a body into memory, or into a file when it is large, and works its digest out on the way.
func (s *Server) receive(c *call, fault *Fault) (*upload, error) {
	hash := sha256.New()
	body := io.TeeReader(&uploadBody{server: s, request: c.Request, fault: fault}, hash)
	start, err := io.ReadAll(io.LimitReader(body, inMemory+1))
	if err != nil {
		return nil, fmt.Errorf("receiving an upload: %w", err)
	}
	u := &upload{content: Bytes(start)}
	if len(start) > inMemory {
		u.content, err = s.spool(start, body)
		if err != nil {
			return nil, fmt.Errorf("receiving an upload: %w", err)
		}
		u.lost = u.content.NewReader() == nil
	}
	digest := hex.EncodeToString(hash.Sum(nil))
	u.digest = func() string { return digest }
	return u, nil
}

// spool puts a large upload aside: into a file, or nowhere after DiscardLargeUploads.
func (s *Server) spool(start []byte, rest io.Reader) (Content, error) {
	s.mu.Lock()
	discards := s.discards
	s.mu.Unlock()
	if discards {
		size, err := io.Copy(io.Discard, rest)
		return discarded(int64(len(start)) + size), err
	}
	file, err := os.CreateTemp("", "gitlabtest-")
	if err != nil {
		return nil, err
	}
	// Where an open file can lose its name, nothing is left even of a server that is killed. Elsewhere Close does it.
	_ = os.Remove(file.Name())
	s.mu.Lock()
	s.spools = append(s.spools, file)
	s.mu.Unlock()
	first, err := file.Write(start)
	if err != nil {
		return nil, err
	}
	size, err := io.Copy(file, rest)
	return &spooled{file: file, size: int64(first) + size}, err
}

// discarded is content of which only the size is known.
type discarded int64

// Size implements Content.
func (d discarded) Size() int64 { return int64(d) }

// NewReader implements Content.
func (discarded) NewReader() io.ReadSeeker { return nil }

// DiscardLargeUploads makes the server take uploads over 8 MiB without keeping their bytes. Their rows exist, and their
// downloads are those of objects that were lost.
func (s *Server) DiscardLargeUploads() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discards = true
}

// uploadBody is the body of a publish, on a line that may be slow or bad.
type uploadBody struct {
	server  *Server
	request *http.Request
	fault   *Fault
	offset  int64
	stalled bool
}

// errUploadCut ends the reading of an upload; the connection goes with it.
var errUploadCut = errors.New("the upload is cut")

// Read implements io.Reader.
func (b *uploadBody) Read(p []byte) (int, error) {
	p = p[:min(len(p), pieceSize)]
	if f := b.fault; f != nil {
		if at, set := position(f.CutUploadAfter); set {
			if b.offset >= at {
				f.reached(b.request)
				abort(b.request)
			}
			p = p[:min(int64(len(p)), at-b.offset)]
		}
		if at, set := position(f.StallUploadAfter); set && !b.stalled {
			if b.offset >= at {
				b.stalled = true
				f.reached(b.request)
				if !f.waitForRelease(b.request) {
					return 0, errUploadCut
				}
			} else {
				p = p[:min(int64(len(p)), at-b.offset)]
			}
		}
	}
	n, err := b.request.Body.Read(p)
	b.offset += int64(n)
	if !b.server.pace.take(b.request.Context(), n) {
		return n, errUploadCut
	}
	return n, err
}

// row is a database row as select=package_file shows it. Where packages are stored is none of a caller's business, yet
// it is in there. MD5 and SHA-1 are missing, as on an instance in FIPS mode.
func (s *Server) row(u *upload) map[string]any {
	s.mu.Lock()
	mode := s.mode
	s.mu.Unlock()
	store, address := 1, u.key
	if mode != LocalDisk {
		store, address = 2, s.StorageURL+u.key
	}
	created := u.created.UTC().Format(time.RFC3339Nano)
	return map[string]any{
		"id": u.id, "package_id": u.packageID, "created_at": created, "updated_at": created, "size": u.content.Size(),
		"file_store": store, "file_md5": nil, "file_sha1": nil, "file_sha256": u.digest(), "file_name": u.name,
		"file": map[string]any{"url": address}, "new_file_path": nil, "status": "default",
		"verification_retry_at": nil, "verified_at": nil, "verification_failure": nil, "verification_retry_count": nil,
		"verification_checksum": nil,
	}
}
