package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// smallFile is the size up to which a file's head and bytes go out together.
const smallFile = 64 << 10

// caddyPiece is how much Caddy writes at once by itself.
const caddyPiece = 64 << 10

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
func (x *exchange) serveBlob(blob *cache.Blob, entry cache.Entry, head *fileHead) error {
	if data, ok := blob.Bytes(); ok {
		return x.serveBytes(data, blob, head)
	}
	body := newDiskBody(x, sourceDisk, blob.Size, identityOf(entry))
	body.source = blob
	defer body.close()
	if !asksForWhole(x.r.Header) {
		return x.serveContent(body, head.lastModified)
	}
	defer x.biggerPieces()()
	if !x.beginWhole(head) {
		return nil
	}
	n, err := x.sendFrom(body, blob.Size())
	return sentInFull(n, blob.Size(), err)
}

// serveBytes sends a stored file that is in memory, or the part of it that was asked for.
func (x *exchange) serveBytes(data []byte, blob *cache.Blob, head *fileHead) error {
	kind := sourceMemory
	if blob.IsFromDisk() {
		kind = sourceDisk
	}
	if !asksForWhole(x.r.Header) {
		body := newMemoryBody(x, kind, data)
		defer body.close()
		return x.serveContent(body, head.lastModified)
	}
	if len(data) > caddyPiece {
		defer x.biggerPieces()()
	}
	if !x.beginWhole(head) {
		return nil
	}
	n, err := x.sendBytes(data)
	x.report.sent[kind] += n
	return err
}

// sendBytes writes bytes that may be another file's when the exchange is over. By HTTP/1 nobody looks at them after Write.
func (x *exchange) sendBytes(data []byte) (int64, error) {
	if x.r.ProtoMajor > 1 {
		return sendCopied(x.w, data)
	}
	n, err := x.writeAtOnce(data)
	return int64(n), err
}

// sendFrom sends the rest of a file of that size from the disk. Over plain HTTP/1.1 the kernel can send it out of the file itself.
// Of a large file that is stored that costs more than to read and to write it in large pieces, as long as not many do (design, "Serving bytes").
func (x *exchange) sendFrom(body *diskBody, size int64) (int64, error) {
	if x.r.ProtoMajor > 1 || x.r.TLS != nil {
		return sendPieces(atOnce{x}, body, size, nil)
	}
	if body.kind == sourceDisk && size >= readPieceFrom {
		if p := readPieces.take(); p != nil {
			return p.send(x.w, body, nil)
		}
	}
	if size <= smallFile {
		return sendPieces(atOnce{x}, body, size, x.flushIfArriving(body)) // not worth a call of sendfile
	}
	return body.WriteTo(x.w)
}

// flushIfArriving returns what is to follow each piece of a body: of one that may still be arriving none waits for the next.
func (x *exchange) flushIfArriving(body *diskBody) func() error {
	if body.kind == sourceDisk {
		return nil
	}
	controller := http.NewResponseController(x.w)
	return func() error {
		_ = controller.Flush() // a writer in front that can't flush knows why
		return nil
	}
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
func (x *exchange) beginWhole(head *fileHead) (body bool) {
	x.setHeader("Accept-Ranges", "bytes")
	x.setHeader("Content-Length", head.length)
	if head.modified != "" {
		x.setHeader("Last-Modified", head.modified)
	}
	x.w.WriteHeader(http.StatusOK)
	return x.r.Method != http.MethodHead
}

// serveContent leaves ranges and conditions that can be judged to net/http. Its error says why the body wasn't sent to its announced end:
// then the response must be broken off.
func (x *exchange) serveContent(content io.ReadSeeker, lastModified time.Time) error {
	defer x.biggerPieces()()
	writer := &contentWriter{ResponseWriter: x.w, exchange: x}
	asked := judgeable(x.r, x.w.Header().Get("Etag") != "", !lastModified.IsZero())
	http.ServeContent(writer, asked, "", lastModified, content)
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
	if _, ok := errors.AsType[*writeError](err); ok {
		return true
	}
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && (operation.Op == "write" || operation.Op == "readfrom")
}

// contentWriter receives what http.ServeContent sends and hands it on in the form that costs least.
type contentWriter struct {
	http.ResponseWriter
	exchange *exchange
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
		return sendPieces(w.ResponseWriter, source, -1, nil)
	}
	wanted := limited.N
	switch content := limited.R.(type) {
	case *memoryBody:
		n, err = content.send(wanted)
		limited.N -= n
	case *diskBody:
		if content.endsAfter(wanted) {
			n, err = w.exchange.sendFrom(content, wanted)
			limited.N -= n
		} else {
			n, err = sendPieces(w.ResponseWriter, source, wanted, nil)
		}
	default:
		n, err = sendPieces(w.ResponseWriter, source, wanted, nil)
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
	_, err := sendPieces(x.w, body, -1, http.NewResponseController(x.w).Flush)
	if _, left := errors.AsType[*writeError](err); left {
		x.report.outcome = outcomeAbandoned // nobody takes it any more
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		x.breakOff(err)
	}
}
