package gitlabtest

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is trouble that the next matching requests meet. There are three kinds, by the fields that are set:
//   - of an upload: CutUploadAfter, StallUploadAfter, AfterBody, LoseAnswer. Met by publishes that were let in.
//   - of a download's body: CutAfter, CutEach, StallAfter, CorruptAt, ClaimLength, Unframed, Chunked, IgnoreRange. Met by the GET
//     that sends the bytes, wherever they come from.
//   - of the head, all others. Met when a request arrives, before anything is judged.
//
// What belongs to another kind is left aside, but for Header, Reset and the like with AfterBody.
//
// Byte offsets are those in the file, so a request for a range beyond one meets it at once; 0 is no fault, and -1 the
// very beginning.
type Fault struct {
	// Method restricts the fault to one method; empty for all. Requests for the first byte alone (Request.IsQuestion) are no
	// GET here: a fault that is meant for a download must not be used up by who only asks about it.
	Method string
	// Question restricts the fault to those.
	Question bool
	// PathContains restricts the fault to requests whose escaped path has this in it; empty for all.
	PathContains string
	// Storage is for faults of the head: true for the object storage, false for GitLab itself. In Proxied mode GitLab
	// relays what the storage says.
	Storage bool
	// Times is how many requests meet it; 0 is one, -1 all until ClearFaults.
	Times int

	// Status answers with that status and Body; 429 brings GitLab's rate limit headers and text.
	Status int
	Body   string
	// Header is set on the answer, be it the fault's own or, without Status, the true one.
	Header http.Header
	// LoginPage200 and LoginRedirect302 are what something in front of GitLab says to those it doesn't know.
	LoginPage200, LoginRedirect302 bool
	// Reset resets the connection instead of an answer.
	Reset bool
	// Latency delays the answer's head. Hang holds it back until Release is closed or the client leaves.
	Latency time.Duration
	Hang    bool

	// CutUploadAfter resets the connection after that many bytes of an upload.
	CutUploadAfter int64
	// StallUploadAfter reads no further than so many bytes of an upload until Release is closed. That the client leaves
	// is seen over HTTP/2 only.
	StallUploadAfter int64
	// AfterBody makes a fault of the head one that strikes when an upload has been received in whole; nothing is
	// published if it answers or resets.
	AfterBody bool
	// LoseAnswer publishes the upload and resets the connection instead of saying so.
	LoseAnswer bool

	// CutAfter breaks the connection after that many bytes of the body. They do arrive.
	CutAfter int64
	// CutEach breaks the connection after that many bytes of each answer's own, wherever in the file it begins: a line that
	// cuts what takes long. They do arrive.
	CutEach int64
	// StallAfter stops after that many bytes until Release is closed or the client leaves. They do arrive.
	StallAfter int64
	// CorruptAt changes the byte at that offset.
	CorruptAt int64
	// ClaimLength is the Content-Length of the answer, whatever the body's. A smaller one makes a shortened body look
	// whole; with a larger one the connection ends early.
	ClaimLength int64
	// Unframed sends the body with neither length nor chunks: it ends with the connection. Chunked sends it in chunks.
	Unframed, Chunked bool
	// IgnoreRange answers as if no range had been asked for.
	IgnoreRange bool

	// Release ends Hang, StallAfter and StallUploadAfter. So does Close.
	Release <-chan struct{}
	// Reached, if set, is called when the fault strikes: when an answer hangs, a body stalls or is cut. It must return
	// soon, and may be called by several requests at once.
	Reached func()
}

func (f *Fault) isOfUpload() bool {
	return f.CutUploadAfter != 0 || f.StallUploadAfter != 0 || f.AfterBody || f.LoseAnswer
}

func (f *Fault) isOfDownload() bool {
	return f.CutAfter != 0 || f.CutEach != 0 || f.StallAfter != 0 || f.CorruptAt != 0 || f.ClaimLength != 0 || f.Unframed || f.Chunked || f.IgnoreRange
}

func (f *Fault) isOfHead() bool { return !f.isOfUpload() && !f.isOfDownload() }

func (f *Fault) matches(r *http.Request) bool {
	path, _ := requestTarget(r)
	if !strings.Contains(path, f.PathContains) {
		return false
	}
	switch {
	case isProbe(r, f.Storage):
		return f.Method == "" && !f.Question && f.Times < 0 // an outage, and no fault that somebody waits for
	case f.Question:
		return isQuestion(r.Method, r.Header)
	case f.Method == http.MethodGet || (f.Method == "" && f.isOfDownload()):
		return r.Method == http.MethodGet && !isQuestion(r.Method, r.Header)
	}
	return f.Method == "" || f.Method == r.Method
}

func (f *Fault) strikesAfterBody() bool { return f != nil && f.AfterBody }

// position reads an offset of a fault.
func position(offset int64) (at int64, set bool) { return max(offset, 0), offset != 0 }

// Inject adds a fault. Each request meets the first of a kind that matches.
func (s *Server) Inject(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults removes all faults. Requests that have met one already keep it.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault returns the first fault that matches, and uses it up once; nil if there is none.
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

// failHead lets a request meet a fault of the head, if there is one, and reports whether that answered it.
func (s *Server) failHead(w http.ResponseWriter, r *http.Request, storage bool) bool {
	f := s.takeFault(func(f *Fault) bool { return f.isOfHead() && f.Storage == storage && f.matches(r) })
	return f != nil && s.answerFault(w, r, f)
}

// answerFault does what a fault says about the head and reports whether that was an answer.
func (s *Server) answerFault(w http.ResponseWriter, r *http.Request, f *Fault) bool {
	if f.Latency > 0 {
		timer := time.NewTimer(f.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	f.reached(r)
	if f.Hang && !f.waitForRelease(r) {
		panic(http.ErrAbortHandler)
	}
	header := w.Header()
	maps.Copy(header, f.Header)
	switch {
	case f.Reset:
		abort(r)
	case f.LoginPage200:
		writeLoginPage(w)
	case f.LoginRedirect302:
		header.Set("Location", s.URL+signInPath)
		header.Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, `<html><body>You are being <a href="`+s.URL+signInPath+`">redirected</a>.</body></html>`)
	case f.Status == http.StatusTooManyRequests:
		s.limitRate(w, f)
	case f.Status != 0:
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
	default:
		return false
	}
	return true
}

// limitRate answers as GitLab's throttle does; what the fault sets itself stays.
func (s *Server) limitRate(w http.ResponseWriter, f *Fault) {
	header := w.Header()
	s.setRateLimits(header, 1001)
	header.Set("Retry-After", "37")
	header.Set("Content-Type", "text/plain")
	maps.Copy(header, f.Header)
	w.WriteHeader(f.Status)
	body := f.Body
	if body == "" {
		body = "Retry later"
	}
	_, _ = io.WriteString(w, body)
}

// reached tells whoever waits for it that the fault strikes, and notes it in the log.
func (f *Fault) reached(r *http.Request) {
	if noted := recordOf(r); noted != nil {
		noted.strike()
	}
	if f.Reached != nil {
		f.Reached()
	}
}

// waitForRelease waits until the fault is released; false if the client left or the server was closed first.
func (f *Fault) waitForRelease(r *http.Request) bool {
	select {
	case <-f.Release:
		return true
	case <-r.Context().Done():
		return false
	}
}
