package gitlabtest

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Fault is trouble that the next matching requests meet. One with CutAfter, StallAfter, CorruptAt or Unframed concerns
// the body of a GET, wherever that comes from; any other the head of the answer.
type Fault struct {
	// Method restricts the fault to one method; empty for all.
	Method string
	// Storage is for faults of the head: true for the object storage, false for GitLab itself.
	Storage bool
	// Times is how many requests meet it; 0 is one, -1 all until ClearFaults.
	Times int

	// Status answers with that status and Body; 429 brings GitLab's rate limit headers.
	Status int
	Body   string
	Header http.Header
	// LoginPage200 and LoginRedirect302 are what something in front of GitLab says to those it doesn't know.
	LoginPage200, LoginRedirect302 bool
	// Latency delays the answer's head. Hang holds it back until Release is closed or the client leaves.
	Latency time.Duration
	Hang    bool

	// CutAfter breaks the connection after that many bytes of the body.
	CutAfter int64
	// StallAfter stops after that many bytes until Release is closed or the client leaves.
	StallAfter int64
	// CorruptAt changes the byte at that offset; 0 for none.
	CorruptAt int64
	// Unframed sends the body with neither length nor chunks.
	Unframed bool
	// Release ends Hang and StallAfter.
	Release <-chan struct{}
}

func (f *Fault) isOfBody() bool {
	return f.CutAfter > 0 || f.StallAfter > 0 || f.CorruptAt > 0 || f.Unframed
}

func (f *Fault) matchesMethod(method string) bool { return f.Method == "" || f.Method == method }

// Inject adds a fault. Each request meets the first that matches.
func (s *Server) Inject(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault returns the first fault that matches, and uses it up once.
func (s *Server) takeFault(matches func(*Fault) bool) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if !matches(f) {
			continue
		}
		if f.Times > 0 {
			f.Times--
			if f.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		return f
	}
	return nil
}

// failHead answers with a fault of the head, if there is one, and reports whether that was all.
func (s *Server) failHead(w http.ResponseWriter, r *http.Request, storage bool) bool {
	f := s.takeFault(func(f *Fault) bool { return !f.isOfBody() && f.Storage == storage && f.matchesMethod(r.Method) })
	if f == nil {
		return false
	}
	if f.Latency > 0 {
		timer := time.NewTimer(f.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	if f.Hang {
		select {
		case <-f.Release:
		case <-r.Context().Done():
		}
	}
	maps.Copy(w.Header(), f.Header)
	switch {
	case f.LoginPage200:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><body>Please sign in</body></html>")
	case f.LoginRedirect302:
		http.Redirect(w, r, "/users/sign_in", http.StatusFound)
	case f.Status == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "37")
		w.Header().Set("Ratelimit-Name", "throttle_authenticated_packages_api")
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, "Retry later\n")
	case f.Status != 0:
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
	default:
		return false
	}
	return true
}

// faultyContent is a file's content on a bad line.
type faultyContent struct {
	io.ReadSeeker
	request *http.Request
	fault   *Fault
	rate    *pacer
	offset  int64
	stalled bool
}

// Seek implements io.Seeker.
func (c *faultyContent) Seek(offset int64, whence int) (int64, error) {
	position, err := c.ReadSeeker.Seek(offset, whence)
	c.offset = position
	return position, err
}

// Read implements io.Reader. Pieces are small, so that faults strike where they should.
func (c *faultyContent) Read(p []byte) (int, error) {
	p = p[:min(len(p), 32<<10)]
	f := c.fault
	if f != nil && f.CutAfter > 0 {
		if c.offset >= f.CutAfter {
			panic(http.ErrAbortHandler)
		}
		p = p[:min(int64(len(p)), f.CutAfter-c.offset)]
	}
	if f != nil && f.StallAfter > 0 && !c.stalled {
		if c.offset >= f.StallAfter {
			c.stalled = true
			select {
			case <-f.Release:
			case <-c.request.Context().Done():
				return 0, io.ErrUnexpectedEOF
			}
		} else {
			p = p[:min(int64(len(p)), f.StallAfter-c.offset)]
		}
	}
	if c.rate != nil {
		c.rate.take(c.request.Context(), len(p))
	}
	n, err := c.ReadSeeker.Read(p)
	if f != nil && f.CorruptAt > 0 && f.CorruptAt >= c.offset && f.CorruptAt < c.offset+int64(n) {
		p[f.CorruptAt-c.offset] ^= 0xff
	}
	c.offset += int64(n)
	return n, err
}
