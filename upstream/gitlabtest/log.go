package gitlabtest

import (
	"io"
	"net/http"
	"slices"
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
	Header      http.Header
	// Status is 0 while the answer hasn't begun. Received and Sent count the bytes of the bodies so far.
	Status         int
	Received, Sent int64
}

// recorded notes each request before it is answered.
func (s *Server) recorded(storage bool, handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		number := len(s.requests)
		s.requests = append(s.requests, Request{
			Storage: storage, Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Header: r.Header.Clone(),
		})
		s.mu.Unlock()
		body, answer := &countedBody{ReadCloser: r.Body}, &countedAnswer{ResponseWriter: w}
		// A copy: net/http looks at the request's own body to tell whether 100 Continue was sent.
		observed := *r
		observed.Body = body
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if number < len(s.requests) {
				noted := &s.requests[number]
				noted.Status, noted.Received, noted.Sent = answer.status, body.count.Load(), answer.count
			}
		}()
		handler(answer, &observed)
	})
}

type countedBody struct {
	io.ReadCloser
	count atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count.Add(int64(n))
	return n, err
}

type countedAnswer struct {
	http.ResponseWriter
	status int
	count  int64
}

// Unwrap lets http.ResponseController through.
func (a *countedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *countedAnswer) WriteHeader(status int) {
	if status >= http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *countedAnswer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.count += int64(n)
	return n, err
}

// Requests returns what has been asked so far, of GitLab and of its object storage, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count returns how many requests of a method reached GitLab itself.
func (s *Server) Count(method string) int {
	count := 0
	for _, r := range s.Requests() {
		if !r.Storage && r.Method == method {
			count++
		}
	}
	return count
}
