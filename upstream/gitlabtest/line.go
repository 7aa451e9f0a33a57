package gitlabtest

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// line is the way of a download's body to the caller: as fast as the server may, and with a fault's troubles. All of it
// runs in the handler's goroutine, so it may break the answer off.
type line struct {
	http.ResponseWriter

	request *http.Request
	server  *Server
	fault   *Fault

	begun     bool
	first     int64 // the answer's first byte in the file
	offset    int64 // in the file, of the next byte
	remaining int64 // of what was claimed
	stalled   bool
}

func newLine(w http.ResponseWriter, r *http.Request, s *Server, fault *Fault) *line {
	if fault == nil {
		fault = &Fault{}
	}
	return &line{ResponseWriter: w, request: r, server: s, fault: fault}
}

// WriteHeader implements http.ResponseWriter. Framing faults concern answers with a body only.
func (l *line) WriteHeader(status int) {
	l.begun = true
	header := l.Header()
	if status == http.StatusPartialContent {
		l.first = firstByte(header.Get("Content-Range"))
		l.offset = l.first
	}
	if status == http.StatusOK || status == http.StatusPartialContent {
		maps.Copy(header, l.fault.Header)
		switch {
		case l.fault.ClaimLength != 0:
			l.remaining, _ = position(l.fault.ClaimLength)
			header.Set("Content-Length", strconv.FormatInt(l.remaining, 10))
		case l.fault.Unframed:
			header.Del("Content-Length")
			if l.request.ProtoMajor == 1 {
				// net/http takes this for a wish to end the body with the connection, and leaves it out.
				header.Set("Transfer-Encoding", "identity") //nolint:gosec // the length is gone
			}
		case l.fault.Chunked:
			header.Del("Content-Length")
		}
	}
	l.ResponseWriter.WriteHeader(status)
	if l.fault.Chunked {
		l.flush() // or a short body would get a length after all
	}
}

// firstByte reads the offset in a Content-Range.
func firstByte(contentRange string) int64 {
	first, _, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "-")
	offset, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0
	}
	return offset
}

// errClaimed ends a body at the length that was claimed for it.
var errClaimed = errors.New("the body is as long as was claimed")

// Write implements http.ResponseWriter.
func (l *line) Write(p []byte) (int, error) {
	if !l.begun {
		l.WriteHeader(http.StatusOK)
	}
	written := 0
	for written < len(p) {
		piece := p[written:min(len(p), written+pieceSize)]
		n := l.passable(len(piece))
		if l.fault.ClaimLength != 0 {
			n = min(n, int(min(l.remaining, pieceSize)))
			if n == 0 {
				return written, errClaimed
			}
		}
		if !l.server.pace.take(l.request.Context(), n) || !l.paceOfConnection().take(l.request.Context(), n) {
			panic(http.ErrAbortHandler)
		}
		n, err := l.ResponseWriter.Write(l.corrupted(piece[:n]))
		written += n
		l.offset += int64(n)
		l.remaining -= int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// paceOfConnection is that of the connection by which the body is sent, over HTTP/2 together with others.
func (l *line) paceOfConnection() *pacer {
	perSecond := l.server.connectionRate.Load()
	c, ok := l.request.Context().Value(connectionKey{}).(*connection)
	if !ok || perSecond == 0 {
		return new(pacer)
	}
	c.pace.begin(perSecond)
	return &c.pace
}

// passable returns how many of the next n bytes may pass before a fault strikes. Where one strikes now, it does not
// return, or only when it is over.
func (l *line) passable(n int) int {
	if at, set := position(l.fault.StallAfter); set && !l.stalled {
		if l.offset >= at {
			l.stalled = true
			l.flush()
			l.fault.reached(l.request)
			if !l.fault.waitForRelease(l.request) {
				panic(http.ErrAbortHandler)
			}
		} else {
			n = int(min(int64(n), at-l.offset))
		}
	}
	if at, set := position(l.fault.CutAfter); set {
		n = l.passableUntil(at, n)
	}
	if l.fault.CutEach > 0 {
		n = l.passableUntil(l.first+l.fault.CutEach, n)
	}
	return n
}

// passableUntil breaks the connection at an offset of the file, and else returns how many of n bytes pass before that.
func (l *line) passableUntil(at int64, n int) int {
	if l.offset >= at {
		l.flush()
		l.fault.reached(l.request)
		panic(http.ErrAbortHandler)
	}
	return int(min(int64(n), at-l.offset))
}

// corrupted returns the piece with the fault's byte changed, if that is in it. The content itself stays as it is.
func (l *line) corrupted(piece []byte) []byte {
	at, set := position(l.fault.CorruptAt)
	if !set || at < l.offset || at >= l.offset+int64(len(piece)) {
		return piece
	}
	changed := append([]byte(nil), piece...)
	changed[at-l.offset] ^= 0xff
	return changed
}

// flush sends what is buffered, so that all bytes before a fault arrive.
func (l *line) flush() { _ = http.NewResponseController(l.ResponseWriter).Flush() }
