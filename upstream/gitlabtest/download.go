package gitlabtest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serveDownload answers a GET or HEAD of a file.
func (s *Server) serveDownload(w http.ResponseWriter, c *call, named target) {
	if directory, given := c.params["path"]; given && !named.pathGiven && s.settings.release != Release135 {
		named.path, named.pathGiven = directory, true
	}
	u, refused := s.findDownload(c, named)
	if refused != nil {
		refused.write(w)
		return
	}
	if s.settings.rateLimitHeaders {
		s.setRateLimits(w.Header(), 1)
	}
	s.giveOut(w, c.Request, u)
}

// findDownload judges a download in GitLab's order: names, who asks, the project, the file. In 13.5 nobody was told
// anything before they were known.
func (s *Server) findDownload(c *call, named target) (*upload, *refusal) {
	if s.packagesAreDisabled() {
		return nil, notFound
	}
	if s.settings.release == Release135 {
		if _, refused := s.authenticateKnown(c); refused != nil {
			return nil, refused
		}
	}
	if refused := s.settings.validate(named); refused != nil {
		return nil, refused
	}
	a, refused := s.authenticate(c)
	if refused != nil {
		return nil, refused
	}
	p, _ := s.findProject(named.id)
	if refused := a.mayRead(p); refused != nil {
		return nil, refused
	}
	u := s.download(packageName{p.ID, named.name, named.version}, named.storedName())
	switch {
	case u == nil:
		return nil, fileNotFound
	case s.isLost(u):
		return nil, notFound
	}
	return u, nil
}

func (s *Server) isLost(u *upload) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return u.lost
}

// giveOut sends a file, or the way to it.
func (s *Server) giveOut(w http.ResponseWriter, r *http.Request, u *upload) {
	s.mu.Lock()
	mode, checksums := s.mode, s.checksums && s.settings.release != Release135
	s.mu.Unlock()
	header := w.Header()
	if checksums && mode != Redirect {
		header.Set("X-Checksum-Sha256", u.digest())
	}
	switch mode {
	case Redirect:
		s.redirect(w, r, u)
	case Proxied:
		// Workhorse relays the store's status, and keeps its own headers where both have one.
		if s.failHead(w, r, true) {
			return
		}
		header.Set("Etag", u.entityTag())
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Disposition", s.settings.disposition(u))
		s.sendFile(w, r, u)
	case LocalDisk:
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Disposition", s.settings.disposition(u))
		header.Set("Content-Transfer-Encoding", "binary")
		s.sendFile(w, r, u)
	}
}

// redirect sends the caller to the object storage. Grape says 302 to a GET and 303 to any other method, and repeats the
// location in the body. Over HTTP/1.0 it is always 302.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, u *upload) {
	location := s.signedURL(u, r.Method)
	header := w.Header()
	header.Set("Location", location)
	header.Set("Content-Type", "text/plain")
	status, body := http.StatusFound, "This resource has been moved temporarily to "+location+"."
	if r.Method != http.MethodGet && r.ProtoAtLeast(1, 1) {
		status, body = http.StatusSeeOther, "An alternate resource is located at "+location+"."
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// sendFile leaves ranges and conditions to net/http, as Workhorse does, and lets the faults at the body.
func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, u *upload) {
	fault := s.takeFault(func(f *Fault) bool {
		return f.isOfDownload() && r.Method == http.MethodGet && f.matches(r)
	})
	if fault != nil && fault.IgnoreRange {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	http.ServeContent(newLine(w, r, s, fault), r, "", u.created.Truncate(time.Second), u.content.NewReader())
}

// entityTag is what the object storage names an object by: another one for each upload, even of the same bytes.
func (u *upload) entityTag() string { return `"` + u.tag + `"` }

// disposition is the header that goes with a file. It has the stored name, so that of a file in a directory is encoded
// twice over (ActionDispatch's ContentDisposition escapes what isn't plain).
func (c settings) disposition(u *upload) string {
	if c.release == Release135 {
		return "attachment; filename=" + u.name
	}
	return fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`,
		escapeExcept(u.name, " !#$+.^_`|~-"), escapeExcept(u.name, "!#$&+.^_`|~-"))
}

func escapeExcept(text, plain string) string {
	var escaped strings.Builder
	for _, b := range []byte(text) {
		switch {
		case b >= '0' && b <= '9', b >= 'A' && b <= 'Z', b >= 'a' && b <= 'z', strings.IndexByte(plain, b) >= 0:
			escaped.WriteByte(b)
		default:
			_, _ = fmt.Fprintf(&escaped, "%%%02X", b)
		}
	}
	return escaped.String()
}

// setRateLimits sets what GitLab says of its limits, here the defaults of the package registry for users: 1000 in 15
// seconds (lib/gitlab/rack_attack.rb). The limit is scaled to a minute.
func (s *Server) setRateLimits(header http.Header, observed int) {
	reset := s.now().Add(15 * time.Second).Truncate(15 * time.Second)
	header["Ratelimit-Name"] = []string{"throttle_authenticated_packages_api"}
	header["Ratelimit-Limit"] = []string{"4000"}
	header["Ratelimit-Observed"] = []string{strconv.Itoa(observed)}
	header["Ratelimit-Remaining"] = []string{strconv.Itoa(max(0, 1000-observed))}
	header["Ratelimit-Reset"] = []string{strconv.FormatInt(reset.Unix(), 10)}
	header["Ratelimit-Resettime"] = []string{reset.UTC().Format(http.TimeFormat)}
}
