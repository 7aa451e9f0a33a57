package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// writePiece is how much is written to a client at once. Bigger pieces cost fewer system calls; this size still lets a
// client of 10 KB/s through within Caddy's minute.
const writePiece = 512 << 10

// caddyPiece is how much Caddy writes at once by itself.
const caddyPiece = 64 << 10

// copyPiece is how much of what may arrive slowly is sent at once.
const copyPiece = 64 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyPiece]byte) }}

// biggerPieces asks Caddy to write in pieces of writePiece, until the returned function is called.
func (x *exchange) biggerPieces() (restore func()) {
	_, idle := caddyhttp.IdleTimeoutsFromContext(x.r.Context())
	if idle == nil {
		return func() {}
	}
	return idle.Override(idle.Deadline.Timeout, idle.Deadline.MinRate, writePiece)
}

// serveBlob sends a stored file, or the part of it that was asked for. Its error says why the body wasn't sent to its
// announced end: then the response must be broken off.
func (x *exchange) serveBlob(blob *cache.Blob, entry cache.Entry) error {
	data, inMemory := blob.Bytes()
	if inMemory && asksForWhole(x.r.Header) {
		if len(data) > caddyPiece {
			defer x.biggerPieces()()
		}
		if !x.beginWhole(blob.Size(), entry.Identity.LastModified) {
			return nil
		}
		n, err := x.w.Write(data)
		x.report.sent[sourceMemory] += int64(n)
		return err
	}
	if inMemory {
		return x.serveContent(bytes.NewReader(data), entry.Identity.LastModified)
	}
	body := newDiskBody(x, sourceDisk, blob.Size, identityOf(entry))
	body.source = blob
	defer body.close()
	if !asksForWhole(x.r.Header) {
		return x.serveContent(body, entry.Identity.LastModified)
	}
	defer x.biggerPieces()()
	if !x.beginWhole(blob.Size(), entry.Identity.LastModified) {
		return nil
	}
	n, err := body.WriteTo(x.w)
	return sentInFull(n, blob.Size(), err)
}

// asksForWhole reports whether a request is for a whole file on no condition, which is nearly always so. All else is
// left to http.ServeContent, which says the same of a whole file and costs more.
func asksForWhole(header http.Header) bool {
	for _, name := range [...]string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if _, ok := header[name]; ok {
			return false
		}
	}
	return true
}

// beginWhole writes the head that http.ServeContent writes for a whole file, and reports whether a body is to follow.
func (x *exchange) beginWhole(size int64, lastModified time.Time) (body bool) {
	x.setHeader("Accept-Ranges", "bytes")
	x.setHeader("Content-Length", strconv.FormatInt(size, 10))
	if !lastModified.IsZero() {
		x.setHeader("Last-Modified", lastModified.UTC().Format(http.TimeFormat))
	}
	x.w.WriteHeader(http.StatusOK)
	return x.r.Method != http.MethodHead
}

// serveContent leaves ranges and conditions that can be judged to net/http. Its error says why the body wasn't sent to its announced end:
// then the response must be broken off.
func (x *exchange) serveContent(content io.ReadSeeker, lastModified time.Time) error {
	defer x.biggerPieces()()
	writer := &contentWriter{ResponseWriter: x.w}
	asked := judgeable(x.r, x.w.Header().Get("Etag") != "", !lastModified.IsZero())
	http.ServeContent(writer, asked, "", lastModified, content)
	if _, inMemory := content.(*bytes.Reader); inMemory {
		x.report.sent[sourceMemory] += writer.written
	}
	return writer.err
}

// breakOff ends a response visibly, so that nobody takes it for the whole.
func (x *exchange) breakOff(err error) {
	if x.r.Context().Err() != nil || isOfTheCaller(err) {
		x.report.outcome = outcomeAbandoned
	} else {
		x.h.tellTrouble(trouble{what: "a download broke off", ref: x.ref, err: err})
	}
	panic(http.ErrAbortHandler)
}

// isOfTheCaller reports whether an error is of writing to the caller's connection: the caller has left, or takes nothing
// any more. Admins can do nothing about it.
func isOfTheCaller(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && (operation.Op == "write" || operation.Op == "readfrom")
}

// contentWriter receives what http.ServeContent sends and hands it on in the form that costs least.
type contentWriter struct {
	http.ResponseWriter
	// written is how much of the body was sent.
	written int64
	// err says why the body is not whole.
	err error
}

// Unwrap lets http.ResponseController through.
func (w *contentWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter. The first boundary of several ranges gets the line end before it that RFC 2046,
// section 5.1.1, allows: zsync, which asks for twenty ranges at once, counts on it and else asks again without end.
func (w *contentWriter) WriteHeader(status int) {
	const lineEnd = "\r\n"
	header := w.Header()
	length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil || !strings.HasPrefix(header.Get("Content-Type"), "multipart/byteranges") {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	header.Set("Content-Length", strconv.FormatInt(length+int64(len(lineEnd)), 10))
	w.ResponseWriter.WriteHeader(status)
	n, err := io.WriteString(w.ResponseWriter, lineEnd)
	w.written = int64(n)
	if !errors.Is(err, http.ErrBodyNotAllowed) { // which is a HEAD's
		w.err = err
	}
}

// ReadFrom implements io.ReaderFrom. ServeContent wraps what it sends into a LimitedReader, and Caddy's writer adds
// another; Go's sendfile sees through one (design, "Serving bytes"). So where the limit is the end anyway, the file
// itself is handed on.
func (w *contentWriter) ReadFrom(source io.Reader) (n int64, err error) {
	limited, ok := source.(*io.LimitedReader)
	if !ok {
		return w.copyPieces(source)
	}
	wanted := limited.N
	switch content := limited.R.(type) {
	case *bytes.Reader:
		if int64(content.Len()) == wanted {
			n, err = content.WriteTo(w.ResponseWriter)
			limited.N -= n
		} else {
			n, err = w.copyPieces(source)
		}
	case *diskBody:
		if content.endsAfter(wanted) {
			n, err = content.WriteTo(w.ResponseWriter)
			limited.N -= n
		} else {
			n, err = w.copyPieces(source)
		}
	default:
		n, err = w.copyPieces(source)
	}
	w.written += n
	w.err = sentInFull(n, wanted, err)
	return n, w.err
}

// sentInFull makes an error of a body that ended early.
func sentInFull(n, wanted int64, err error) error {
	if err == nil && n < wanted {
		return fmt.Errorf("%d of %d bytes: %w", n, wanted, io.ErrUnexpectedEOF)
	}
	return err
}

// copyPieces copies what may arrive slowly: each piece is written when it is there, under a deadline of its own.
func (w *contentWriter) copyPieces(source io.Reader) (n int64, err error) {
	buffer := copyBuffers.Get().(*[copyPiece]byte)
	defer copyBuffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{w.ResponseWriter}, struct{ io.Reader }{source}, buffer[:])
}

// sizeOnly stands for a file of which only the size is wanted.
type sizeOnly struct{ size, position int64 }

func (s *sizeOnly) Read([]byte) (int, error) { return 0, errors.New("there is nothing to read here") }

func (s *sizeOnly) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		s.position = offset
	case io.SeekCurrent:
		s.position += offset
	case io.SeekEnd:
		s.position = s.size + offset
	}
	return s.position, nil
}

// copyAsItComes sends a body piece by piece and flushes each. Whatever goes wrong breaks the connection off.
func (x *exchange) copyAsItComes(body io.Reader) {
	buffer := copyBuffers.Get().(*[copyPiece]byte)
	defer copyBuffers.Put(buffer)
	controller := http.NewResponseController(x.w)
	for {
		n, err := body.Read(buffer[:])
		if n > 0 {
			_, err := x.w.Write(buffer[:n])
			if err == nil {
				err = controller.Flush()
			}
			if err != nil {
				x.report.outcome = outcomeAbandoned // nobody takes it any more
				panic(http.ErrAbortHandler)
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			x.breakOff(err)
		}
	}
}
