package gitlabtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// serveDownload answers a GET or HEAD: names first, then who asks, then the file.
func (s *Server) serveDownload(w http.ResponseWriter, r *http.Request, named target) {
	if path := r.URL.Query().Get("path"); path != "" && named.path == "" {
		named.path = path
	}
	if refused := named.validate(); refused != nil {
		refused.write(w)
		return
	}
	actor, refused := s.authenticate(r)
	if refused != nil {
		refused.write(w)
		return
	}
	p := s.findProject(named.id)
	if refused := authorize(r, actor, p); refused != nil {
		refused.write(w)
		return
	}
	u := s.find(packageName{p.ID, named.name, named.version}, named.storedName())
	if u == nil {
		fileNotFound.write(w)
		return
	}
	s.giveOut(w, r, u)
}

// disposition is the header that today's GitLab gives to a file.
func (u *upload) disposition() string {
	return fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`, u.name, u.name)
}

// entityTag is the one that the object storage gives: a digest of the upload, not of its bytes alone.
func (u *upload) entityTag() string { return fmt.Sprintf(`"%s-%d"`, u.sha256[:32], u.id) }

func (s *Server) giveOut(w http.ResponseWriter, r *http.Request, u *upload) {
	s.mu.Lock()
	mode, checksums := s.mode, s.checksums
	s.mu.Unlock()
	header := w.Header()
	if checksums && mode != Redirect {
		header.Set("X-Checksum-Sha256", u.sha256)
	}
	switch mode {
	case Redirect:
		location := s.signedURL(u, r.Method)
		header.Set("Location", location)
		header.Set("Content-Type", "text/plain")
		status := http.StatusFound
		if r.Method != http.MethodGet {
			status = http.StatusSeeOther
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "This resource has been moved temporarily to "+location+".")
	case Proxied:
		header.Set("Etag", u.entityTag())
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Disposition", u.disposition())
		s.sendFile(w, r, u)
	case LocalDisk:
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Disposition", u.disposition())
		header.Set("Content-Transfer-Encoding", "binary")
		s.sendFile(w, r, u)
	}
}

// sendFile leaves ranges and conditions to net/http, as Workhorse does, and lets the faults at the body.
func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, u *upload) {
	fault := s.takeFault(func(f *Fault) bool { return f.isOfBody() && r.Method == http.MethodGet && f.matchesMethod(r.Method) })
	s.mu.Lock()
	rate := s.rate
	s.mu.Unlock()
	if fault != nil && fault.Unframed {
		s.sendUnframed(w, u)
		return
	}
	http.ServeContent(w, r, "", u.modified, &faultyContent{ReadSeeker: u.open(), request: r, fault: fault, rate: rate})
}

// sendUnframed sends a body whose end is the connection's.
func (s *Server) sendUnframed(w http.ResponseWriter, u *upload) {
	connection, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Minute))
	var head strings.Builder
	head.WriteString("HTTP/1.0 200 OK\r\n")
	_ = w.Header().Write(&head)
	head.WriteString("\r\n")
	_, _ = buffer.WriteString(head.String())
	_, _ = io.Copy(buffer, u.open())
	_ = buffer.Flush()
}
