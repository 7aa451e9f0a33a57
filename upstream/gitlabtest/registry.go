package gitlabtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// PackageStatus is the state of a package.
type PackageStatus string

// The states. Hidden and deprecated packages can be downloaded, those in processing or error can't.
const (
	PackageDefault    PackageStatus = "default"
	PackageHidden     PackageStatus = "hidden"
	PackageDeprecated PackageStatus = "deprecated"
	PackageProcessing PackageStatus = "processing"
	PackageError      PackageStatus = "error"
)

// packageName is a package of a project. Names and versions match to the letter.
type packageName struct {
	project       int
	name, version string
}

// pkg is a package with its uploads, the oldest first. The newest of a name is the one that is given out.
type pkg struct {
	id           int
	name         packageName
	status       PackageStatus
	created      time.Time
	lastDownload time.Time
	destroyed    bool // pending destruction: gone from every answer
	files        []*upload
}

// upload is one published file: a row of the database. All but lost, which the server's mu guards, never changes.
type upload struct {
	id, packageID int
	project       int
	name          string // as stored: with its directories percent-encoded
	created       time.Time
	content       Content
	digest        func() string // SHA-256 in hex, worked out at the first use
	tag           string        // by which the object storage tells contents apart
	key           string        // of its object; it begins with a slash
	lost          bool          // the bytes are gone, the row isn't
}

func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// Publish publishes a file by GitLab itself, beside the edge. file may hold directories. The bytes must not change
// afterwards.
func (s *Server) Publish(project int, name, version, file string, body []byte) {
	s.PublishContent(project, name, version, file, Bytes(body))
}

// PublishContent is Publish for content of any size. Its checksum is worked out when it is first asked for.
func (s *Server) PublishContent(project int, name, version, file string, content Content) {
	s.add(packageName{project, name, version}, &upload{
		name: storedNameOf(file), content: content,
		digest: sync.OnceValue(func() string { return SHA256(content) }),
	}, "")
}

func storedNameOf(file string) string {
	if slash := strings.LastIndexByte(file, '/'); slash >= 0 {
		return storedName(file[:slash], file[slash+1:])
	}
	return file
}

// storedName is how GitLab names a file in a directory: the whole path, percent-encoded (lib/api/generic_packages.rb).
func storedName(directory, base string) string {
	if directory == "" {
		return base
	}
	return encodeComponent(directory + "/" + base)
}

// encodeComponent is Ruby's URI.encode_uri_component.
func encodeComponent(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), "~", "%7E"), "%2A", "*")
}

// add makes an upload the newest of its name, in a new package if there is none. An empty status leaves the package's.
func (s *Server) add(name packageName, u *upload, status PackageStatus) {
	u.created = s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packageLocked(name)
	if p == nil {
		s.lastID++
		p = &pkg{id: s.lastID, name: name, status: PackageDefault, created: u.created}
		s.packages = append(s.packages, p)
	}
	if status != "" {
		p.status = status
	}
	s.lastID++
	u.id, u.packageID, u.project, u.tag = s.lastID, p.id, name.project, newID()
	s.storeLocked(u)
	p.files = append(p.files, u)
}

// storeLocked gives an upload a new place in the object storage. The layout is that of hashed storage: no name, and a
// key that no other upload ever has (app/uploaders/packages/package_file_uploader.rb).
func (s *Server) storeLocked(u *upload) {
	hash := sha256.Sum256(fmt.Appendf(nil, "%d", u.project))
	u.key = fmt.Sprintf("/packages/%x/%x/%x/packages/%d/files/%d/%s", hash[:1], hash[1:2], hash, u.packageID, u.id, newID())
	s.objects[u.key] = u
}

// packageLocked finds a package that still exists, in whatever state.
func (s *Server) packageLocked(name packageName) *pkg {
	for _, p := range slices.Backward(s.packages) {
		if p.name == name && !p.destroyed {
			return p
		}
	}
	return nil
}

func (p *pkg) newest(stored string) *upload {
	for _, u := range slices.Backward(p.files) {
		if u.name == stored {
			return u
		}
	}
	return nil
}

// installable reports whether a package may be downloaded (app/models/packages/package.rb).
func (p *pkg) installable() bool {
	return p.status == PackageDefault || p.status == PackageHidden || p.status == PackageDeprecated
}

// download finds the newest upload of a name in an installable package and notes that it was asked for; nil if there is
// none.
func (s *Server) download(name packageName, stored string) *upload {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packageLocked(name)
	if p == nil || !p.installable() {
		return nil
	}
	u := p.newest(stored)
	if u != nil {
		p.lastDownload = now
	}
	return u
}

// exists reports whether a file of that name was published, in whatever state its package is.
func (s *Server) exists(name packageName, stored string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packageLocked(name)
	return p != nil && p.newest(stored) != nil
}

// DeleteNewest deletes the newest upload of a name, so that the one before comes back; false if there is none. Its bytes
// stay in the object storage for as long as the server runs, as they do for a while in life.
func (s *Server) DeleteNewest(project int, name, version, file string) bool {
	stored := storedNameOf(file)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packageLocked(packageName{project, name, version})
	if p == nil {
		return false
	}
	newest := p.newest(stored)
	if newest == nil {
		return false
	}
	p.files = slices.DeleteFunc(p.files, func(u *upload) bool { return u == newest })
	return true
}

// DeletePackage deletes a package with all its files. Publishing its name again makes a new package.
func (s *Server) DeletePackage(project int, name, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.packageLocked(packageName{project, name, version}); p != nil {
		p.destroyed = true
	}
}

// SetPackageStatus changes the state of a package, if it exists.
func (s *Server) SetPackageStatus(project int, name, version string, status PackageStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.packageLocked(packageName{project, name, version}); p != nil {
		p.status = status
	}
}

// LoseObject makes the bytes of a name's newest upload vanish from disk and object storage, while its row stays.
func (s *Server) LoseObject(project int, name, version, file string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packageLocked(packageName{project, name, version})
	if p == nil {
		return
	}
	if u := p.newest(storedNameOf(file)); u != nil {
		u.lost = true
		delete(s.objects, u.key)
	}
}

// MigrateStorage moves every file to another place: the bytes stay the same, while keys, entity tags and modification
// times are new. Objects at the former places are gone.
func (s *Server) MigrateStorage() {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.objects)
	for _, p := range s.packages {
		for i, u := range p.files {
			if u.lost {
				continue
			}
			moved := *u
			moved.created, moved.tag = now, newID()
			s.storeLocked(&moved)
			p.files[i] = &moved
		}
	}
}
