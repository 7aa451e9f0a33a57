// Package buckettest is an object storage with the S3 API for tests: gofakes3 in memory, with faults in front of it. It checks no
// signatures and no payload hashes; .ci/run tries the edge with a storage that does.
package buckettest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Name is the bucket that each server has.
const Name = "edges"

// Server is a running storage.
type Server struct {
	*httptest.Server

	backend gofakes3.Backend
	// connectionRate is SetConnectionRate's.
	connectionRate atomic.Int64

	mu       sync.Mutex
	faults   []*Fault
	requests []Request
	// well is closed, and made anew, when all faults end.
	well chan struct{}
	// ending ends requests that hang when the server is closed.
	ending context.CancelFunc
	ended  context.Context
}

// Request is one that came.
type Request struct {
	Method, Path string
	Header       http.Header
	// Status is the answer's, Sent how many bytes its body had.
	Status int
	Sent   int64
}

// Fault makes requests fail that it matches.
type Fault struct {
	// Method and Part are what the method is and the path contains; empty for any.
	Method, Part string
	// Ranged restricts it to requests for a range of an object.
	Ranged bool
	// Times is how often it strikes; 0 for always.
	Times int
	// Status and Code are answered instead.
	Status int
	Code   string
	// Hang says that nothing is answered.
	Hang bool
	// CutAt is after how many bytes an answer's body breaks off, and HangAt after how many it stands still; 0 for never.
	CutAt, HangAt int64
}

// New starts a storage. Close it.
func New() *Server {
	s := &Server{backend: s3mem.New()}
	s.ended, s.ending = context.WithCancel(context.Background())
	s.well = make(chan struct{})
	if err := s.backend.CreateBucket(Name); err != nil {
		panic(err) // of an empty one it can't fail
	}
	faker := gofakes3.New(s.backend, gofakes3.WithTimeSkewLimit(0)).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, faker)
	}))
	return s
}

// Close ends the storage.
func (s *Server) Close() {
	s.ending()
	s.CloseClientConnections()
	s.Server.Close()
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	fault, well := s.take(r)
	out := &counted{ResponseWriter: w, fault: fault, well: well, ended: s.ended, gone: r.Context(), perSecond: s.connectionRate.Load()}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.Header.Clone(), out.status, out.sent})
	}()
	switch {
	case fault == nil:
	case fault.Hang:
		_, _ = io.Copy(io.Discard, r.Body)
		out.wait()
		panic(http.ErrAbortHandler)
	case fault.Status != 0:
		_, _ = io.Copy(io.Discard, r.Body)
		out.Header().Set("Content-Type", "application/xml")
		out.WriteHeader(fault.Status)
		if r.Method != http.MethodHead {
			_, _ = fmt.Fprintf(out, `<?xml version="1.0"?><Error><Code>%s</Code><Message>a fault</Message></Error>`, fault.Code)
		}
		return
	}
	next.ServeHTTP(out, r)
	if out.status == 0 {
		out.status = http.StatusOK // as net/http does
	}
}

// counted counts what is answered, and lets a fault strike.
type counted struct {
	http.ResponseWriter

	fault       *Fault
	well        <-chan struct{}
	ended, gone context.Context
	status      int
	sent        int64
	perSecond   int64 // 0 for no bound
}

// pace waits as long as so many bytes take.
func (c *counted) pace(n int) {
	if c.perSecond == 0 {
		return
	}
	timer := time.NewTimer(time.Duration(int64(n) * int64(time.Second) / c.perSecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ended.Done():
	case <-c.gone.Done():
	}
}

func (c *counted) WriteHeader(status int) {
	if c.status != 0 {
		return // gofakes3 does it twice
	}
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) wait() {
	select {
	case <-c.well:
	case <-c.ended.Done():
	case <-c.gone.Done():
	}
}

func (c *counted) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	c.pace(len(p))
	if c.fault == nil || (c.fault.CutAt == 0 && c.fault.HangAt == 0) {
		n, err := c.ResponseWriter.Write(p)
		c.sent += int64(n)
		return n, err
	}
	end := max(c.fault.CutAt, c.fault.HangAt)
	n, err := c.ResponseWriter.Write(p[:min(int64(len(p)), max(end-c.sent, 0))])
	c.sent += int64(n)
	if err != nil || c.sent < end {
		return n, err
	}
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	if c.fault.HangAt > 0 {
		c.wait()
	}
	panic(http.ErrAbortHandler)
}

// SetConnectionRate bounds the bytes per second of each answer, as storages do; 0 is no bound. It takes effect with the next answers.
func (s *Server) SetConnectionRate(bytesPerSecond int64) { s.connectionRate.Store(bytesPerSecond) }

// Inject adds a fault.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults ends all faults. What hangs breaks off.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	close(s.well)
	s.well = make(chan struct{})
}

// take returns the fault that a request meets, nil for none, and what is closed when all is well again.
func (s *Server) take(r *http.Request) (met *Fault, well <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	well = s.well
	for i, fault := range s.faults {
		if (fault.Method != "" && fault.Method != r.Method) || !strings.Contains(r.URL.Path, fault.Part) ||
			(fault.Ranged && r.Header.Get("Range") == "") {
			continue
		}
		if fault.Times == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if fault.Times > 1 {
			fault.Times--
		}
		taken := *fault
		return &taken, well
	}
	return nil, well
}

// Requests are those that were answered, of one method, or of all if it is empty, and with a part in their paths.
func (s *Server) Requests(method, part string) (found []Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, request := range s.requests {
		if (method == "" || request.Method == method) && strings.Contains(request.Path, part) {
			found = append(found, request)
		}
	}
	return found
}

// ResetRequests forgets what came.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Objects returns the names of all objects that begin with a prefix.
func (s *Server) Objects(prefix string) (names []string) {
	list, err := s.backend.ListBucket(Name, &gofakes3.Prefix{HasPrefix: prefix != "", Prefix: prefix}, gofakes3.ListBucketPage{})
	if err != nil {
		panic(err) // of a bucket in memory
	}
	for _, object := range list.Contents {
		names = append(names, object.Key)
	}
	return names
}

// Get returns an object's bytes; nil if there is none.
func (s *Server) Get(name string) []byte {
	object, err := s.backend.GetObject(Name, name, nil)
	if err != nil {
		return nil
	}
	defer object.Contents.Close()
	data, err := io.ReadAll(object.Contents)
	if err != nil {
		panic(err) // of memory
	}
	return data
}

// Set makes an object, or another one of it, written at a time.
func (s *Server) Set(name string, data []byte, written time.Time) {
	meta := map[string]string{"Last-Modified": written.UTC().Format(http.TimeFormat)}
	if _, err := s.backend.PutObject(Name, name, meta, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		panic(err) // of memory
	}
}

// Delete removes an object.
func (s *Server) Delete(name string) {
	if _, err := s.backend.DeleteObject(Name, name); err != nil {
		panic(err) // of memory
	}
}
