package caddymodule

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// described is what the headers of a download say about its file.
type described struct {
	digest      cache.Digest // zero while it isn't known
	disposition string
}

// describedBy is what GitLab's own words say about a file.
func describedBy(identity upstream.Identity, disposition string) described {
	digest, _ := cache.ParseDigest(identity.SHA256) // zero for none
	return described{digest: digest, disposition: disposition}
}

// setFileHeaders writes the headers of a file. None of GitLab's headers about one caller's request are among them.
func (x *exchange) setFileHeaders(file described) {
	header := x.w.Header()
	// One array for all values: this is on the way of every hit. Each header has a piece of it without room to grow.
	values := make([]string, 0, 7)
	set := func(name, value string) {
		values = append(values, value)
		header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set("Content-Type", "application/octet-stream")
	set("Cache-Control", "private, no-cache")
	set("X-Content-Type-Options", "nosniff")
	if file.disposition != "" {
		set("Content-Disposition", file.disposition)
	}
	if file.digest.IsZero() {
		return
	}
	quoted := append(hex.AppendEncode(append(make([]byte, 0, 2+2*len(file.digest)), '"'), file.digest[:]), '"')
	tag := string(quoted)
	set("Etag", tag)
	set("X-Checksum-Sha256", tag[1:len(tag)-1])
	// RFC 9530, section 3: of the whole file, also beside a part of it.
	representation := append(make([]byte, 0, 64), "sha-256=:"...)
	representation = append(base64.StdEncoding.AppendEncode(representation, file.digest[:]), ':')
	set("Repr-Digest", string(representation))
}

// sendBlob sends a stored file, or the part of it that was asked for.
func (x *exchange) sendBlob(blob *cache.Blob, entry cache.Entry) {
	x.setFileHeaders(described{digest: entry.Digest, disposition: entry.Disposition})
	var content io.ReadSeeker = blob
	if data, ok := blob.Bytes(); ok {
		content = bytes.NewReader(data)
	} else if file, ok := blob.File(); ok {
		content = file
	}
	if err := x.serveContent(content, entry.Identity.LastModified); err != nil {
		// A file that ended early, or that the disk couldn't give back, must not meet the next caller.
		blob.Judge(err)
		x.breakOff(err)
	}
}

// sendDescription answers a HEAD from what GitLab answered to ours.
func (x *exchange) sendDescription(answer upstream.Answer) {
	x.setFileHeaders(describedBy(answer.Identity, answer.Disposition))
	if err := x.serveContent(&sizeOnly{size: answer.Identity.Length}, answer.Identity.LastModified); err != nil {
		x.breakOff(err)
	}
}

// serveContent leaves ranges and conditions to net/http. Its error says why the body wasn't sent to its announced end:
// then the response must be broken off.
func (x *exchange) serveContent(content io.ReadSeeker, lastModified time.Time) error {
	writer := &contentWriter{ResponseWriter: x.w}
	if _, idle := caddyhttp.IdleTimeoutsFromContext(x.r.Context()); idle != nil {
		// Bigger pieces cost fewer system calls; this size still lets a client of 10 KB/s through within Caddy's minute.
		defer idle.Override(idle.Deadline.Timeout, idle.Deadline.MinRate, writePiece)()
	}
	http.ServeContent(writer, x.r, "", lastModified, content)
	return writer.err
}

// breakOff ends a response visibly, so that nobody takes it for the whole.
func (x *exchange) breakOff(err error) {
	if x.r.Context().Err() == nil {
		x.h.logger.Error("a download broke off", zap.Stringer("ref", x.ref), zap.Error(err))
	}
	panic(http.ErrAbortHandler)
}

// writePiece is how much is written to a client at once.
const writePiece = 512 << 10

// contentWriter receives what http.ServeContent sends and hands it on in the form that costs least.
type contentWriter struct {
	http.ResponseWriter
	// err says why the body is not whole.
	err error
}

// Unwrap lets http.ResponseController through.
func (w *contentWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ReadFrom implements io.ReaderFrom. ServeContent wraps what it sends into a LimitedReader, and Caddy's writer adds
// another; Go's sendfile sees through one. So where the limit is the end anyway, the file itself is handed on.
func (w *contentWriter) ReadFrom(source io.Reader) (n int64, err error) {
	limited, ok := source.(*io.LimitedReader)
	if !ok {
		return w.copyPieces(source)
	}
	wanted := limited.N
	switch content := limited.R.(type) {
	case *os.File:
		if to, ok := w.ResponseWriter.(io.ReaderFrom); ok && endsAfter(content, wanted) {
			n, err = to.ReadFrom(content)
		} else {
			n, err = io.Copy(struct{ io.Writer }{w.ResponseWriter}, source)
		}
		limited.N -= n
	case *bytes.Reader:
		if int64(content.Len()) == wanted {
			n, err = content.WriteTo(w.ResponseWriter)
			limited.N -= n
		} else {
			n, err = w.copyPieces(source)
		}
	case *followedBody:
		if content.offset+wanted == content.flight.fill.Size() {
			n, err = content.WriteTo(w.ResponseWriter)
			limited.N -= n
		} else {
			n, err = w.copyPieces(source)
		}
	default:
		n, err = w.copyPieces(source)
	}
	if err == nil && n < wanted {
		err = fmt.Errorf("%d of %d bytes: %w", n, wanted, io.ErrUnexpectedEOF)
	}
	w.err = err
	return n, err
}

// endsAfter reports whether the file ends that many bytes after its present position.
func endsAfter(file *os.File, left int64) bool {
	position, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Size() == position+left
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

// relayRefusal sends GitLab's answer to the fetch to the caller in whose name it was asked.
func (x *exchange) relayRefusal(refused *upstream.RefusedError) bool {
	x.record.outcome = outcomeRefused
	if refused.RateLimited() {
		x.record.outcome = outcomeRateLimited
	}
	header := x.w.Header()
	for name, values := range refused.Response.Header {
		if !isConnectionHeader(name) {
			header[name] = values
		}
	}
	header.Del("X-Sendfile")
	header.Add("Cache-Status", cacheStatusForward(fwdMiss, refused.Response.StatusCode))
	x.w.WriteHeader(refused.Response.StatusCode)
	if _, err := io.Copy(x.w, refused.Response.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	return true
}

// isConnectionHeader reports whether a header is about one connection and must not be relayed (RFC 9110, section
// 7.6.1).
func isConnectionHeader(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// stream sends a body that can't be stored to the one caller it was fetched for.
func (d *download) stream(body *upstream.Download) bool {
	d.setOutcome(outcomeStreamed, cacheStatusForward(fwdMiss, http.StatusOK))
	d.setFileHeaders(describedBy(body.Identity, body.Disposition))
	header := d.w.Header()
	if body.ContentEncoding != "" {
		header.Set("Content-Encoding", body.ContentEncoding)
		// What is sent isn't the file's bytes, so what names those must go.
		header.Del("Etag")
		header.Del("Repr-Digest")
	}
	if !body.Identity.LastModified.IsZero() {
		header.Set("Last-Modified", body.Identity.LastModified.UTC().Format(http.TimeFormat))
	}
	if body.Length >= 0 {
		header.Set("Content-Length", fmt.Sprint(body.Length))
	}
	d.w.WriteHeader(http.StatusOK)
	d.copyAsItComes(body)
	return true
}

// copyAsItComes sends a body piece by piece and flushes each. Whatever goes wrong breaks the connection off.
func (x *exchange) copyAsItComes(body io.Reader) {
	buffer := copyBuffers.Get().(*[copyPiece]byte)
	defer copyBuffers.Put(buffer)
	controller := http.NewResponseController(x.w)
	for {
		n, err := body.Read(buffer[:])
		if n > 0 {
			if _, err := x.w.Write(buffer[:n]); err != nil {
				panic(http.ErrAbortHandler)
			}
			if err := controller.Flush(); err != nil {
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
