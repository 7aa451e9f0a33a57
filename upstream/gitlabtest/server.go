package gitlabtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Mode is where GitLab keeps packages and how it gives them out.
type Mode int

// The modes. LocalDisk names no entity tag, only a Last-Modified of whole seconds. Proxied passes the object storage's
// own answer through. Redirect sends callers to a signed URL: 302 to a GET, 303 to a HEAD.
const (
	LocalDisk Mode = iota
	Proxied
	Redirect
)

// Option changes a server before it starts.
type Option func(*Server)

// SignsForGETOnly makes a HEAD's redirect carry a URL that is signed for GET, as with all storage providers but AWS.
func SignsForGETOnly() Option { return func(s *Server) { s.signsForGETOnly = true } }

// Server is a running GitLab with its object storage, each on a port of 127.0.0.1.
type Server struct {
	// URL is GitLab's, StorageURL its object storage's.
	URL, StorageURL string

	signsForGETOnly bool
	signingKey      [32]byte
	servers         []*http.Server
	running         sync.WaitGroup

	// mu guards all below. Bodies are sent and received without it.
	mu        sync.Mutex
	mode      Mode
	checksums bool
	clock     func() time.Time
	projects  []*Project
	tokens    map[string]*Token
	packages  map[packageName]*pkg
	lastID    int
	requests  []Request
	faults    []*Fault
	rate      *pacer
	spools    []*os.File
	discards  bool
}

// New starts a GitLab without projects, tokens or packages. Close ends it.
func New(options ...Option) *Server {
	s := &Server{tokens: make(map[string]*Token), packages: make(map[packageName]*pkg), clock: time.Now}
	_, _ = rand.Read(s.signingKey[:])
	for _, option := range options {
		option(s)
	}
	s.URL = s.serve(s.recorded(false, s.serveGitLab))
	s.StorageURL = s.serve(s.recorded(true, s.serveStorage))
	return s
}

// serve starts a listener. Its goroutine ends with Close.
func (s *Server) serve(handler http.Handler) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("gitlabtest: listening on loopback: %v", err))
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	s.servers = append(s.servers, server)
	s.running.Go(func() { _ = server.Serve(listener) })
	return "http://" + listener.Addr().String()
}

// Close ends both listeners and every connection, and removes what was uploaded.
func (s *Server) Close() {
	for _, server := range s.servers {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_ = server.Shutdown(ctx)
		cancel()
		_ = server.Close()
	}
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spool := range s.spools {
		_ = spool.Close()
		_ = os.Remove(spool.Name())
	}
	s.spools = nil
}

// SetMode changes how files are given out from now on. Files keep their place; a move to other storage is a new one.
func (s *Server) SetMode(mode Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
}

// SetChecksums turns X-Checksum-SHA256 on or off (GitLab 18.6 and newer; never in redirect mode).
func (s *Server) SetChecksums(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checksums = on
}

// SetClock sets the time of uploads and of the Date header.
func (s *Server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = now
}

func (s *Server) now() time.Time {
	s.mu.Lock()
	clock := s.clock
	s.mu.Unlock()
	return clock()
}

// SetRate bounds the bytes per second of all bodies together; 0 is no bound.
func (s *Server) SetRate(bytesPerSecond int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate = nil
	if bytesPerSecond > 0 {
		s.rate = &pacer{perSecond: bytesPerSecond}
	}
}

// pacer spreads bytes over time.
type pacer struct {
	mu        sync.Mutex
	perSecond int64
	next      time.Time
}

// take waits until n more bytes may go, or ctx ends.
func (p *pacer) take(ctx context.Context, n int) {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(int64(n) * int64(time.Second) / p.perSecond))
	p.mu.Unlock()
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
