package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RefusedError is an answer to a fetch that isn't the file. It belongs to the caller whose credential was used.
type RefusedError struct {
	RefusedAnswer
	// Sent is when the request was sent that was refused.
	Sent time.Time
}

func (e *RefusedError) Error() string {
	return "GitLab refused the download: " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
}

// RateLimited reports whether the answer is about the number of requests and not about rights.
func (e *RefusedError) RateLimited() bool { return e.Status == http.StatusTooManyRequests }

// errNoFile says that what looked like a redirect to object storage led to a page, such as a log-in.
var errNoFile = errors.New("where it redirected to, a page was answered and no file")

// ErrChanged says that a body that broke off can't go on, since the file is another one now.
var ErrChanged = errors.New("the file has changed upstream")

// Fetch asks GitLab for the whole of ref with the caller's credential, follows a redirect to object storage without
// it, and returns the body on its way. known are identities that are already vouched for (see Check).
//
// Its errors are a *RefusedError, with GitLab's answer read, or an *UnreachableError. The download ends with ctx.
func (c *Client) Fetch(ctx context.Context, caller Caller, ref Ref, known ...Identity) (*Download, error) {
	d := &Download{client: c, ctx: ctx, caller: caller, ref: ref, Sent: c.cfg.Now()}
	response, identity, target, err := c.get(ctx, caller, ref, nil, known)
	if err != nil {
		return nil, err
	}
	d.link = newStorageLink(target)
	d.takesRanges = takesRanges(response.Header)
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, &UnreachableError{Status: response.StatusCode, Err: errors.New("it answered a part that nobody asked for")}
	}
	d.Identity = identity
	d.Length = response.ContentLength
	d.Disposition = response.Header.Get("Content-Disposition")
	d.ContentEncoding = response.Header.Get("Content-Encoding")
	if isIdentity(d.ContentEncoding) {
		d.ContentEncoding = ""
	}
	if identity.SHA256 == "" && identity.Location != "" {
		d.sum = sumOf(response.Header)
	}
	d.Framed = isFramed(response)
	d.body = response.Body
	return d, nil
}

// isFramed reports whether the end of a response's body can be told from its breaking off.
func isFramed(response *http.Response) bool {
	return response.ContentLength >= 0 || response.ProtoMajor >= 2 || slices.Contains(response.TransferEncoding, "chunked")
}

// FetchFrom asks for the rest of a file whose beginning the caller has: the bytes from offset on of the content that
// identity names. Besides Fetch's errors it returns ErrChanged when GitLab has other content now.
func (c *Client) FetchFrom(ctx context.Context, caller Caller, ref Ref, offset int64, identity Identity) (*Download, error) {
	d := c.remainderOf(ctx, caller, ref, offset, identity)
	if err := d.reopen(); err != nil {
		return nil, err
	}
	return d, nil
}

// remainderOf is a download that begins at offset when it is reopened.
func (c *Client) remainderOf(ctx context.Context, caller Caller, ref Ref, offset int64, identity Identity) *Download {
	return &Download{
		client: c, ctx: ctx, caller: caller, ref: ref, Sent: c.cfg.Now(),
		Identity: identity, Length: identity.Length, Framed: true, offset: offset,
	}
}

// get sends one GET and returns the response that carries the bytes, with the identity of the whole file, and where in the object
// storage GitLab sent us; nil if it sent them itself.
func (c *Client) get(ctx context.Context, caller Caller, ref Ref, header http.Header, known []Identity) (*http.Response, Identity, *redirectTarget, error) {
	sent := c.cfg.Now()
	request, err := c.newRequest(ctx, http.MethodGet, caller, ref)
	if err != nil {
		return nil, Identity{}, nil, unreachable("fetching", err)
	}
	maps.Copy(request.Header, header)
	response, err := c.askGitLab(request, c.cfg.HeaderTimeout)
	if err != nil {
		return nil, Identity{}, nil, unreachable("fetching", err)
	}
	switch c.judge(response, known) {
	case file:
		return response, c.identityOf(response, sent), nil, nil
	case storageRedirect:
		location, _ := c.storageLocation(response)
		_ = response.Body.Close()
		response, identity, err := c.getFromStorage(ctx, location, header, sent)
		return response, identity, location, err
	case serverError:
		_ = response.Body.Close()
		return nil, Identity{}, nil, statusUnreachable(response)
	case rateLimited, refusal:
	}
	refused := &RefusedError{RefusedAnswer: *c.readRefusal(response), Sent: sent}
	_ = response.Body.Close()
	return nil, Identity{}, nil, refused
}

// getFromStorage fetches from the location that GitLab signed. What goes wrong there is no word of GitLab's about
// the caller, so it is never a refusal.
func (c *Client) getFromStorage(ctx context.Context, location *redirectTarget, header http.Header, sent time.Time) (*http.Response, Identity, error) {
	response, identity, err := c.readFromStorage(ctx, location, header, sent)
	if trouble, ok := errors.AsType[*UnreachableError](err); ok {
		trouble.Server = ServerStorage
	}
	return response, identity, err
}

func (c *Client) readFromStorage(ctx context.Context, location *redirectTarget, header http.Header, sent time.Time) (*http.Response, Identity, error) {
	response, err := c.followStorage(ctx, theEdge, http.MethodGet, location, header)
	if err != nil {
		return nil, Identity{}, err
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		if !isStoredFile(response) {
			_ = response.Body.Close()
			return nil, Identity{}, &UnreachableError{Err: errNoFile}
		}
		identity := c.identityOf(response, sent)
		identity.Location = c.locationIdentity(location)
		return response, identity, nil
	case http.StatusRequestedRangeNotSatisfiable:
		_ = response.Body.Close()
		return nil, Identity{}, ErrChanged
	}
	_ = response.Body.Close()
	return nil, Identity{}, statusUnreachable(response)
}

// Download is one file's body on its way from GitLab or its object storage. Reading it survives bad lines: a body
// that breaks off or stalls is asked for again from its byte, with growing pauses, as long as it is the same content. It is
// given up after Config.Retries tries in a row that brought less than retryProgress each: a line that cuts each connection
// after a while brings a file of any size in the end. It is for one reader.
type Download struct {
	client *Client
	ctx    context.Context
	caller Caller
	ref    Ref

	// Identity, Disposition and Sent are those of the first answer; Length is -1 while no answer has named it.
	Identity    Identity
	Disposition string
	Length      int64
	Sent        time.Time

	// Framed says that the end of the body can be told from its breaking off. ContentEncoding is set when the bytes
	// are not the file's own. A body that isn't framed, or is encoded, must not be stored.
	Framed          bool
	ContentEncoding string

	// Verified says that the reader compares the whole body with SHA256 before it lets go of the end, so that Read needn't,
	// and what proves nothing by itself may continue it. Set it before the first Read.
	Verified bool

	// OtherCaller returns somebody else who was allowed this very content and still wants it, to go on in their name
	// when GitLab refuses the first caller's credential by then. It may be nil. Set it before the first Read.
	OtherCaller func() (Caller, bool)

	// OnRefused, if set, is told when GitLab refuses the present caller for the rest of the body: it ends the caller's grant.
	// Set it before the first Read.
	OnRefused func(caller Caller, refused *RefusedError)

	// Resumed counts how often the body was asked for again.
	Resumed int

	// sum is what the object storage named for the whole body, where GitLab named no SHA-256; summing compares it, from the
	// first Read on.
	sum     sum
	summing *summing

	// body is nil of a download that goes on where parts were taken in, until it is read (parts.go).
	body   io.ReadCloser
	offset int64
	// until is where a part ends; 0 for the whole file.
	until int64
	// takesRanges says that the first answer's server has said so, and link is where in the object storage the file lies; nil if
	// GitLab sends it itself.
	takesRanges bool
	link        *storageLink
	// isElsewhere says that body comes from elsewhere than GitLab, cameFromElsewhere that it did once (elsewhere.go).
	isElsewhere, cameFromElsewhere bool
	// partial says that body is a part of the file, whose end needn't be the file's.
	partial bool
	// takesAll says that an answer with all of the file is as good as the part that was asked for.
	takesAll bool
	// tries are those in a row that brought too little, and tried is where the last one that was answered began.
	tries int
	tried int64
}

const (
	// retryProgress is how many bytes a try must bring for the next to count as the first.
	retryProgress = 1 << 20
	// maxRetryPause is what the pause between tries grows to.
	maxRetryPause = time.Minute
)

// Storable reports whether the body is the file's own bytes with a known end.
func (d *Download) Storable() bool { return d.Framed && d.ContentEncoding == "" }

// SHA256 is what the whole body's must be, in lower-case hex: GitLab's word, or else its storage's. It is empty if neither
// named one. Identity.SHA256 alone names the content.
func (d *Download) SHA256() string {
	if d.Identity.SHA256 != "" {
		return d.Identity.SHA256
	}
	return d.sum.sha256()
}

// HasSum reports whether it can be known that the whole body is right: by SHA256, or by another sum that the object storage
// named, which Read compares.
func (d *Download) HasSum() bool { return d.Identity.SHA256 != "" || d.sum.value != "" }

// Read returns the next bytes of the file. Its error is io.EOF only at the whole body's end, and ErrChecksum there if the
// object storage named another sum, however many answers the body came in. Where the length is known the last bytes don't
// come then, else they may.
func (d *Download) Read(p []byte) (int, error) {
	d.beginSum()
	if d.body == nil {
		if err := d.open(); err != nil {
			return 0, err
		}
	}
	for {
		n, err := d.body.Read(p)
		d.offset += int64(n)
		d.summing.write(p[:n])
		isEnd := errors.Is(err, io.EOF) && d.isAtEnd()
		if isEnd || (err == nil && d.offset == d.Length) {
			if wrong := d.summing.compare(); wrong != nil {
				return 0, fmt.Errorf("reading the body: %w", wrong)
			}
		}
		if err == nil || isEnd {
			return n, err
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if !d.resumable() && !d.isElsewhere {
			return n, fmt.Errorf("reading the body: %w", err)
		}
		if err := d.resume(err); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (d *Download) beginSum() {
	if d.summing == nil && (!d.Verified || d.sum.kind != sumSHA256) {
		d.summing = d.sum.begin()
	}
}

// isAtEnd reports whether the end of the present answer's body is the file's. Of a file of unknown length only an answer
// with all of it tells: a part may end anywhere (RFC 9110, section 15.3.7).
func (d *Download) isAtEnd() bool {
	if d.Length < 0 {
		return !d.partial
	}
	return d.offset == d.end()
}

// end is where the download ends.
func (d *Download) end() int64 {
	if d.until > 0 {
		return d.until
	}
	return d.Length
}

// Close gives up the rest of the body.
func (d *Download) Close() error {
	if d.body == nil {
		return nil
	}
	return d.body.Close()
}

// resumable says whether a second answer could be known to continue the first.
func (d *Download) resumable() bool {
	identity := d.Identity
	return d.Storable() && d.client.cfg.Retries > 0 &&
		(identity.SHA256 != "" || identity.Location != "" || identity.ETag != "" || (identity.Settled && identity.Length >= 0))
}

// resume asks for the body again until it goes on or the retries are used up.
func (d *Download) resume(cause error) error {
	d.closeBody()
	if d.offset-d.tried >= retryProgress {
		d.tries = 0
	}
	retries, pause := d.client.cfg.Retries, d.pauseAfter(cause)
	if d.isElsewhere {
		// GitLab wasn't asked for this yet, or not for long.
		retries, pause = max(retries, 1), 0
		d.isElsewhere = false
	}
	for ; d.tries < retries; pause = d.pauseAfter(cause) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-d.ctx.Done():
			timer.Stop()
			return fmt.Errorf("reading the body: %w", context.Cause(d.ctx))
		}
		d.tries++
		err := d.reopen()
		if err == nil {
			d.Resumed++
			return nil
		}
		if isRefusal(err) {
			if err := d.handOver(err); err != nil {
				return err
			}
		}
		if errors.Is(err, ErrChanged) || d.isPart() && EndsParts(err) {
			return err
		}
		cause = err
	}
	return fmt.Errorf("reading the body, given up after %d more tries: %w", d.tries, cause)
}

// isRefusal reports whether GitLab has refused the caller, and not just asked for fewer requests.
func isRefusal(err error) bool {
	refused, ok := errors.AsType[*RefusedError](err)
	return ok && !refused.RateLimited()
}

// handOver has the download go on in the name of another caller, since GitLab has refused the present one. The bytes belong to whoever
// may still have them; a revoked token must not break the others' downloads. Its error says that there is nobody.
func (d *Download) handOver(err error) error {
	refused, _ := errors.AsType[*RefusedError](err)
	if d.OnRefused != nil {
		d.OnRefused(d.caller, refused)
	}
	if d.OtherCaller != nil {
		if other, ok := d.OtherCaller(); ok {
			d.caller = other
			return nil
		}
	}
	return fmt.Errorf("reading the rest of the body: %w", err)
}

// pauseAfter is how long to wait before the next try: as long as a server asks for that wants fewer requests, up to the longest pause.
func (d *Download) pauseAfter(err error) time.Duration {
	asked, _ := RetryAfter(err, d.client.cfg.Now())
	return max(d.retryPause(), min(asked, maxRetryPause))
}

// retryPause doubles with each try in a row that brought too little.
func (d *Download) retryPause() time.Duration {
	pause := d.client.cfg.RetryPause
	for range d.tries {
		if pause >= maxRetryPause/2 {
			return max(maxRetryPause, d.client.cfg.RetryPause)
		}
		pause *= 2
	}
	return pause
}

// reopen asks for the bytes from d.offset on and makes sure that they continue what was read.
func (d *Download) reopen() error {
	header := http.Header{"Range": {d.rangeLeft()}}
	// RFC 9110, section 13.1.5: with If-Range a changed file comes whole, and we see that it changed.
	if d.Identity.ETag != "" {
		header.Set("If-Range", d.Identity.ETag)
	} else if !d.Identity.LastModified.IsZero() {
		header.Set("If-Range", d.Identity.LastModified.UTC().Format(http.TimeFormat))
	}
	response, identity, err := d.getRest(header)
	if err != nil {
		var refused *RefusedError
		if errors.As(err, &refused) && refused.Status == http.StatusRequestedRangeNotSatisfiable {
			return ErrChanged
		}
		return err
	}
	if err := d.continues(response, identity); err != nil {
		_ = response.Body.Close()
		return err
	}
	d.partial = response.StatusCode == http.StatusPartialContent
	d.takesRanges = d.takesRanges || d.partial
	d.Disposition = cmp.Or(d.Disposition, response.Header.Get("Content-Disposition"))
	if d.Length < 0 {
		d.Length = contentLength(response)
	}
	if !d.partial && d.takesAll {
		d.offset = 0
	} else if !d.partial {
		// A server that knows no ranges sends it all again; what we have is skipped.
		if _, err := io.CopyN(io.Discard, response.Body, d.offset); err != nil {
			_ = response.Body.Close()
			return unreachable("skipping what was read before", err)
		}
	}
	d.body, d.tried = response.Body, d.offset
	return nil
}

// continues checks that a second answer is the rest of the first. Equal validators that prove nothing (a Last-Modified
// of this very second) are good enough only where the SHA-256 is named and will be checked at the end.
func (d *Download) continues(response *http.Response, identity Identity) error {
	if d.isPart() {
		return d.isPartOf(response, identity)
	}
	switch Compare(d.Identity, identity) {
	case Same:
	case Unknown:
		if d.Identity.SHA256 == "" || !d.Verified {
			return ErrChanged
		}
	case Different:
		return ErrChanged
	}
	if !isIdentity(response.Header.Get("Content-Encoding")) {
		return ErrChanged
	}
	if response.StatusCode == http.StatusOK {
		if !isFramed(response) || (d.Length >= 0 && response.ContentLength != d.Length) {
			return ErrChanged
		}
		return nil
	}
	start, total, ok := contentRange(response.Header)
	if !ok || start != d.offset || (d.Length >= 0 && total != d.Length) {
		return ErrChanged
	}
	return nil
}

// contentRange reads the Content-Range of a part: "bytes 5-9/10" (RFC 9110, section 14.4). total is -1 for "*".
func contentRange(header http.Header) (start, total int64, ok bool) {
	rest, ok := strings.CutPrefix(header.Get("Content-Range"), "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, size, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, 0, false
	}
	first, _, ok := strings.Cut(span, "-")
	if !ok {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if size == "*" {
		return start, -1, true
	}
	total, err = strconv.ParseInt(size, 10, 64)
	return start, total, err == nil && total >= 0
}
