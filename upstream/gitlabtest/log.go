package gitlabtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// Request is one request that reached GitLab or its object storage.
type Request struct {
	// Storage tells the object storage's from GitLab's.
	Storage bool
	Method  string
	// Path is the escaped path, byte for byte; Query the raw query.
	Path, Query string
	Host        string
	// Proto is the protocol ("HTTP/1.1"), Remote the address and port of whoever connected.
	Proto, Remote string
	Header        http.Header
	// Status is 0 while the answer hasn't begun. Received and Sent count the bytes of the bodies so far.
	Status         int
	Received, Sent int64
	// Faulty tells that a fault has struck it; Done, that it is over, well or not.
	Faulty, Done bool
}

// record is a request in the log while it goes on.
type record struct {
	server         *Server
	request        Request // what doesn't change
	status         atomic.Int64
	received, sent atomic.Int64
	faulty, done   atomic.Bool
}

func (n *record) snapshot() Request {
	request := n.request
	request.Header = request.Header.Clone()
	request.Status, request.Received, request.Sent = int(n.status.Load()), n.received.Load(), n.sent.Load()
	request.Faulty, request.Done = n.faulty.Load(), n.done.Load()
	return request
}

func (n *record) strike() {
	n.faulty.Store(true)
	n.server.announce()
}

type recordKey struct{}

// recordOf finds a request's record; nil for one that isn't in the log.
func recordOf(r *http.Request) *record {
	noted, _ := r.Context().Value(recordKey{}).(*record)
	return noted
}

// observed notes each request before it is answered.
func (s *Server) observed(storage bool, handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.handlers.enter() {
			panic(http.ErrAbortHandler)
		}
		defer s.handlers.leave()
		path, query := requestTarget(r)
		noted := &record{server: s, request: Request{
			Storage: storage, Method: r.Method, Path: path, Query: query, Host: r.Host, Proto: r.Proto, Remote: r.RemoteAddr,
			Header: r.Header.Clone(),
		}}
		s.mu.Lock()
		if isProbe(r, storage) {
			s.probes++
		} else {
			s.records = append(s.records, noted)
		}
		s.mu.Unlock()
		s.announce()
		defer func() {
			noted.done.Store(true)
			s.announce()
		}()
		// net/http doesn't notice that a client leaves, nor that the server closes, while an upload is left unread.
		ctx, cancel := context.WithCancel(context.WithValue(r.Context(), recordKey{}, noted))
		defer cancel()
		defer context.AfterFunc(s.lifetime, cancel)()
		// A copy: net/http looks at the request's own body to tell whether 100 Continue was sent.
		request := r.WithContext(ctx)
		request.Body = &countedBody{ReadCloser: r.Body, count: &noted.received}
		handler(&countedAnswer{ResponseWriter: w, record: noted}, request)
	})
}

// announce wakes those who await something.
func (s *Server) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

type countedBody struct {
	io.ReadCloser
	count *atomic.Int64
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count.Add(int64(n))
	return n, err
}

type countedAnswer struct {
	http.ResponseWriter
	record *record
}

// Unwrap lets http.ResponseController through.
func (a *countedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *countedAnswer) WriteHeader(status int) {
	if status >= http.StatusOK && a.record.status.CompareAndSwap(0, int64(status)) {
		defer a.record.server.announce()
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *countedAnswer) Write(p []byte) (int, error) {
	if a.record.status.Load() == 0 {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(p)
	a.record.sent.Add(int64(n))
	return n, err
}

// Requests returns what has been asked so far, of GitLab and of its object storage, in order.
func (s *Server) Requests() []Request {
	requests, _ := s.requests()
	return requests
}

func (s *Server) requests() ([]Request, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.records))
	for i, noted := range s.records {
		requests[i] = noted.snapshot()
	}
	return requests, s.changed
}

// Await waits until met says yes to the requests so far, and returns an error if ctx ends first. It looks again whenever
// a request begins, gets its status, meets a fault or ends; bytes alone make it look no sooner.
func (s *Server) Await(ctx context.Context, met func([]Request) bool) error {
	for {
		requests, changed := s.requests()
		if met(requests) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("awaiting requests: %w", context.Cause(ctx))
		}
	}
}

// ResetRequests forgets all requests so far.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = nil
}

// TakeDone returns the requests that are over, and forgets them. A test with many requests so needs memory for few.
func (s *Server) TakeDone() (done []Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = slices.DeleteFunc(s.records, func(noted *record) bool {
		if !noted.done.Load() {
			return false
		}
		done = append(done, noted.snapshot())
		return true
	})
	return done
}

// Count returns how many requests of a method reached GitLab itself.
func (s *Server) Count(method string) int { return s.count(false, method) }

// CountStorage returns how many requests of a method reached the object storage.
func (s *Server) CountStorage(method string) int { return s.count(true, method) }

// CountQuestions returns how many requests reached GitLab itself that ask for the first byte of a file: whether the caller
// may read it, and how it is named.
func (s *Server) CountQuestions() int {
	return s.countIf(func(r *Request) bool { return !r.Storage && r.IsQuestion() })
}

// CountFetches returns how many GETs reached GitLab itself that aren't questions.
func (s *Server) CountFetches() int {
	return s.countIf(func(r *Request) bool { return !r.Storage && r.Method == http.MethodGet && !r.IsQuestion() })
}

// CountProbes returns how many requests asked about nothing, to see whether GitLab or its object storage is there. They
// aren't among Requests: when they come depends on time.
func (s *Server) CountProbes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes
}

// IsQuestion reports whether a request asks for the first byte alone.
func (r *Request) IsQuestion() bool { return isQuestion(r.Method, r.Header) }

func isQuestion(method string, header http.Header) bool {
	return method == http.MethodGet && header.Get("Range") == "bytes=0-0"
}

// isProbe reports whether a request is about a project that there can't be, or about nothing at all.
func isProbe(r *http.Request, storage bool) bool {
	if storage {
		return r.URL.Path == "/" && r.URL.RawQuery == ""
	}
	return strings.HasSuffix(r.URL.Path, "/api/v4/projects/0/packages/generic/probe/0.0.0/probe")
}

func (s *Server) countIf(counts func(*Request) bool) int {
	count := 0
	for _, request := range s.Requests() {
		if counts(&request) {
			count++
		}
	}
	return count
}

func (s *Server) count(storage bool, method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, noted := range s.records {
		if noted.request.Storage == storage && noted.request.Method == method {
			count++
		}
	}
	return count
}
