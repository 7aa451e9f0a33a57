package gitlabtest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a running GitLab with its object storage, each on a port of 127.0.0.1. It is safe for concurrent use.
type Server struct {
	// URL is GitLab's, with its base path if it has one; StorageURL is its object storage's.
	URL, StorageURL string
	// CA is the certificate authority to trust, in PEM; nil without WithTLS.
	CA []byte

	settings   settings
	signingKey [32]byte
	client     *http.Client
	pace       pacer
	// connectionRate is SetConnectionRate's.
	connectionRate atomic.Int64

	servers       []*http.Server
	gitlab, store *door
	// serving counts the two accept loops, connections the open connections, handlers the requests being answered.
	serving, connections sync.WaitGroup
	handlers             handlerCount
	// lifetime ends with Close, by end, and with it the context of every request.
	lifetime context.Context
	end      context.CancelFunc

	// mu guards all below. Bodies are sent and received without it.
	mu               sync.Mutex
	mode             Mode
	checksums        bool
	sums             func(Content) http.Header
	packagesDisabled bool
	discards         bool
	clock            func() time.Time
	projects         []*Project
	tokens           []*Token
	packages         []*pkg
	objects          map[string]*upload // what the object storage holds, by its key
	lastID           int
	records          []*record
	probes           int
	changed          chan struct{} // closed and replaced whenever a record changes
	faults           []*Fault
	spools           []*os.File
}

// New starts a GitLab without projects, tokens or packages. Close ends it. It panics where the machine lets it listen
// on no port of 127.0.0.1.
func New(options ...Option) *Server {
	s := &Server{settings: defaultSettings(), clock: time.Now, objects: make(map[string]*upload), changed: make(chan struct{})}
	s.lifetime, s.end = context.WithCancel(context.Background())
	_, _ = rand.Read(s.signingKey[:])
	for _, option := range options {
		option(&s.settings)
	}
	var certificate *tls.Certificate
	if s.settings.tls {
		certificate, s.CA = newCertificate()
	}
	s.URL, s.gitlab = s.serve(s.observed(false, s.serveGitLab), certificate)
	s.URL += s.settings.basePath
	if s.settings.plainStorage {
		certificate = nil
	}
	s.StorageURL, s.store = s.serve(s.observed(true, s.serveStorage), certificate)
	s.client = newClient(s.CA)
	return s
}

// serve starts a listener and its accept loop, which ends with Close.
func (s *Server) serve(handler http.Handler, certificate *tls.Certificate) (string, *door) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("gitlabtest: listening on loopback: %v", err))
	}
	entrance := newDoor(listener)
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: time.Minute,
		// Broken handshakes and requests are what tests are about; they are not news.
		ErrorLog:    log.New(io.Discard, "", 0),
		ConnContext: withConnection,
		// Every StateNew comes before the accept loop ends, so that Close can wait for that loop first and then for these.
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.connections.Add(1)
			case http.StateClosed, http.StateHijacked:
				s.connections.Done()
			default:
			}
		},
	}
	s.servers = append(s.servers, server)
	if certificate == nil {
		s.serving.Go(func() { _ = server.Serve(entrance) })
		return "http://" + listener.Addr().String(), entrance
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	s.serving.Go(func() { _ = server.ServeTLS(entrance, "", "") })
	return "https://" + listener.Addr().String(), entrance
}

// closeGrace is how long Close lets answers under way come to their end.
const closeGrace = 50 * time.Millisecond

// Close ends both listeners, every connection and every goroutine, and removes what was uploaded.
func (s *Server) Close() {
	s.client.CloseIdleConnections()
	for _, server := range s.servers {
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		_ = server.Shutdown(ctx)
		cancel()
	}
	s.end()
	for _, server := range s.servers {
		_ = server.Close()
	}
	s.serving.Wait()
	s.connections.Wait()
	s.handlers.endAll()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spool := range s.spools {
		_ = spool.Close()
		_ = os.Remove(spool.Name())
	}
	s.spools = nil
}

// handlerCount counts running handlers. A WaitGroup won't do: over HTTP/2 a handler may begin while Close waits.
type handlerCount struct {
	mu     sync.Mutex
	count  int
	ending bool
	ended  chan struct{} // closed when the last one has left, once ending is set
}

// enter reports whether a handler may run; if so, leave must follow.
func (h *handlerCount) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ending {
		return false
	}
	h.count++
	return true
}

func (h *handlerCount) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count--
	if h.ending && h.count == 0 {
		close(h.ended)
	}
}

// endAll lets no further handler in and waits for those inside. Their connections must be closed by now.
func (h *handlerCount) endAll() {
	h.mu.Lock()
	if h.ending || h.count == 0 {
		h.ending = true
		h.mu.Unlock()
		return
	}
	h.ending, h.ended = true, make(chan struct{})
	h.mu.Unlock()
	<-h.ended
}

// Client returns a client that trusts the server's certificate, follows no redirect and asks for no compression, so
// that a test sees what was said. Close ends its idle connections.
func (s *Server) Client() *http.Client { return s.client }

// SetMode changes how files are given out from now on. Objects keep their keys; see MigrateStorage.
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

// SetPackages switches the instance's package registry (packages.enabled in gitlab.yml); it is on at first. While it is
// off, everything about packages is 404.
func (s *Server) SetPackages(enabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packagesDisabled = !enabled
}

// SetClock sets the time of uploads, of the Date header, and of signed URLs.
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

// SetRate bounds the bytes per second of all bodies together, sent and received; 0 is no bound. It takes effect at
// once, also for bodies under way.
func (s *Server) SetRate(bytesPerSecond int64) { s.pace.set(bytesPerSecond) }

// SetConnectionRate bounds the bytes per second of bodies that are sent over each connection by itself, as a long line does; 0 is no
// bound. It takes effect with the next piece of each body.
func (s *Server) SetConnectionRate(bytesPerSecond int64) {
	s.connectionRate.Store(max(bytesPerSecond, 0))
}

// SetDown takes GitLab itself down, or up again: while down, its connections are broken off and new ones reset.
func (s *Server) SetDown(down bool) { s.gitlab.setShut(down) }

// SetStorageDown does to the object storage what SetDown does to GitLab.
func (s *Server) SetStorageDown(down bool) { s.store.setShut(down) }
