package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// maxSmallBody is how many bytes the body of a request may have that is no upload: GitLab reads nothing but a few
// parameters from it.
const maxSmallBody = 64 << 10

// Bodies of answers to requests whose own bodies are refused, or whose methods.
const (
	bodyMalformed = `{"error":"400 Bad Request - the request body is malformed"}`
	bodyTooSlow   = `{"error":"408 Request Timeout - the request body took too long"}`
	bodyTooLarge  = `{"error":"413 Request Entity Too Large"}`
	// bodyNoMethod is GitLab's own answer (contract, section 1).
	bodyNoMethod = `{"error":"405 Not Allowed"}`
)

var errBodyTooLarge = errors.New("the request body is too large")

// gatherBody reads the whole body of a request that is no upload, before GitLab is asked for anything: then nothing of the
// caller's connection can hold a request to GitLab open, or break it off and look like trouble of GitLab's. What goes on is
// a body of known length, or none. False means that the request was answered: the body is too large (413), too slow (408),
// malformed (400), or a form that names a file which the rules don't allow (400).
//
// A body that is empty after all, such as chunks without content, counts as none. Over HTTP/3 every request without a
// Content-Length looks as if it had one.
func (x *exchange) gatherBody() bool {
	if x.body == nil {
		return true
	}
	body, err := x.readSmallBody()
	if err != nil {
		x.refuseBody(err)
		return false
	}
	if err := x.checkForm(body); err != nil {
		x.refuseInvalid(err)
		return false
	}
	r := x.r
	r.ContentLength, r.TransferEncoding, r.Trailer = int64(len(body)), nil, nil
	r.Body = http.NoBody
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if r.Header.Get("Expect") != "" {
		// The expectation was met when the body was read; GitLab has nothing to say to it any more.
		r.Header = r.Header.Clone()
		r.Header.Del("Expect")
	}
	return true
}

// readSmallBody reads the body, within bodyPatience. Deadlines are the connection's own, so they count by the real clock.
func (x *exchange) readSmallBody() ([]byte, error) {
	if x.r.ContentLength > maxSmallBody {
		return nil, errBodyTooLarge // without a byte of it: the caller may wait for 100 Continue
	}
	bounded := x.body.controller.SetReadDeadline(time.Now().Add(x.h.process.bodyPatience)) == nil
	body, err := io.ReadAll(io.LimitReader(x.body, maxSmallBody+1))
	if err != nil {
		// A deadline that has passed stays, so that nobody waits for the rest.
		return nil, err
	}
	if bounded {
		// Over HTTP/1 the server goes on reading, to notice when the caller leaves. A deadline would look like that.
		_ = x.body.controller.SetReadDeadline(time.Time{})
	}
	if len(body) > maxSmallBody {
		return nil, errBodyTooLarge
	}
	return body, nil
}

// refuseBody answers a request whose body can't be read to its end while its caller is still there. Where another handler in
// front of this one limits bodies, as Caddy's request_body does, its status counts.
func (x *exchange) refuseBody(err error) {
	status, text := http.StatusBadRequest, bodyMalformed
	var limited *http.MaxBytesError
	var handler caddyhttp.HandlerError
	switch {
	case errors.Is(err, errBodyTooLarge), errors.As(err, &limited):
		status, text = http.StatusRequestEntityTooLarge, bodyTooLarge
	case errors.As(err, &handler) && handler.StatusCode >= http.StatusBadRequest:
		status = handler.StatusCode
		text = fmt.Sprintf(`{"error":"%d %s"}`, status, http.StatusText(status))
	case errors.Is(err, os.ErrDeadlineExceeded):
		// Before a look at the context: net/http ends it with any failure of the connection to read, also with this one.
		status, text = http.StatusRequestTimeout, bodyTooSlow
	case x.r.Context().Err() != nil:
		x.abandon()
	}
	if x.r.ProtoMajor == 1 {
		// Where the next request begins can't be known (RFC 9112, section 9.3).
		x.w.Header().Set("Connection", "close")
	}
	x.setOutcome(outcomeInvalid, cacheStatusLocal(outcomeInvalid))
	x.report.why = whyBody
	x.writeJSON(status, text)
}

// refuseMethod answers the methods that GitLab has no route for here, as GitLab does. A POST isn't forwarded all the same:
// by a form field _method Rack makes any other method of it, and by another one, path, GitLab would find another file
// (contract, section 1), so that neither rules nor generations would hold. A CONNECT asks for a tunnel.
func (x *exchange) refuseMethod() {
	x.w.Header().Set("Allow", "OPTIONS, GET, HEAD, PUT")
	x.setOutcome(outcomeInvalid, cacheStatusLocal(outcomeInvalid))
	x.report.why = whyMethod
	x.writeJSON(http.StatusMethodNotAllowed, bodyNoMethod)
}

// checkForm returns an error if a body is a form by which GitLab could find a file that the rules don't allow: Rack reads
// parameters from the forms of any method, and path names a directory (see namedRefs). Multipart forms can write a name in so
// many ways that they are refused.
func (x *exchange) checkForm(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	types := mediaTypes(x.r.Header.Values("Content-Type"))
	if slices.ContainsFunc(types, func(kind string) bool { return strings.HasPrefix(kind, "multipart/") }) {
		return &upstream.InvalidError{Parameter: "path"}
	}
	if !slices.Contains(types, "application/x-www-form-urlencoded") {
		return nil
	}
	directories, ok := upstream.PlainValues(string(body), "path")
	if !ok {
		return &upstream.InvalidError{Parameter: "path"}
	}
	for _, directory := range directories {
		if directory == "" {
			continue
		}
		ref, err := x.ref.WithPath(directory)
		if err != nil {
			return err
		}
		if err := x.h.rules.Check(ref); err != nil {
			return err
		}
	}
	return nil
}

// mediaTypes returns all that a server could take for the media type: Puma joins lines by commas, and Rack takes what
// stands before the first comma or semicolon.
func mediaTypes(values []string) (types []string) {
	for _, value := range values {
		for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ';' }) {
			types = append(types, strings.ToLower(strings.TrimSpace(part)))
		}
	}
	return types
}
