package caddymodule

import (
	"bufio"
	"crypto/sha256"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// servePublish answers one PUT, and any other request that may change a file: names first, before a byte of the body is read;
// then the body streams to GitLab. What GitLab says of it decides what it changes for others (change.go).
func (h *Handler) servePublish(x *exchange) {
	refs, err := x.namedRefs()
	if err != nil {
		x.refuseInvalid(err)
		return
	}
	if !x.admitUpload() {
		return
	}
	usable, saw := x.openStore(), func([]byte) {}
	if x.r.Method == http.MethodPut {
		passing := x.state.uploads.begin(x)
		defer x.state.uploads.end(passing)
		saw = passing.saw
	}
	if !usable {
		x.forwardWith(outcomeForwarded, fwdMethod, upstream.Forwarding{OnBody: saw, OnAnswer: x.nameUpload})
		return
	}
	p := &publish{exchange: x, refs: refs, saw: saw}
	p.begin()
	// For every way out: a lost answer, a caller who left, a relaying that panics.
	defer p.end(0)
	x.forwardWith(outcomeForwarded, fwdMethod, upstream.Forwarding{
		OnBody: p.keep, OnAnswer: p.answered, Delivery: &p.delivery, AwaitAnswer: p.awaitAnswer,
	})
}

// hasLegalNames reports whether all names are legal that the head of a request names. False means that the request was answered:
// 400.
func (x *exchange) hasLegalNames() bool {
	var err error
	if x.r.URL.RawQuery == "" {
		err = x.h.rules.Check(x.ref) // nearly always
	} else {
		_, err = x.namedRefs()
	}
	if err != nil {
		x.refuseInvalid(err)
	}
	return err == nil
}

// namedRefs returns the files that the head of a request may name, all of them with legal names. ?path= names another file under
// the same URL path, since GitLab takes it as an ordinary parameter (contract, section 1).
func (x *exchange) namedRefs() ([]upstream.Ref, error) {
	refs := []upstream.Ref{x.ref}
	directories, ok := upstream.PlainValues(x.r.URL.RawQuery, "path")
	if !ok {
		return nil, &upstream.InvalidError{Parameter: "path"}
	}
	for _, directory := range directories {
		if directory == "" {
			continue
		}
		ref, err := x.ref.WithPath(directory)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	for _, ref := range refs {
		if err := x.h.rules.Check(ref); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// publish is one request that may change a file, on its way to GitLab.
type publish struct {
	*exchange
	refs []upstream.Ref
	// saw counts the bytes that pass.
	saw func(piece []byte)

	// begun is the generation of the first ref when the publish began. Where another publish of the same name has raised it
	// meanwhile, nobody knows which of them GitLab took last.
	begun cache.Generation
	// length is what the caller announced, -1 if nothing.
	length int64
	// delivery tells what became of the body.
	delivery upstream.Delivery
	// storable says that a copy can become an entry.
	storable bool
	// sum is that of the body so far, of passed bytes, where nobody else will name it; nil if it isn't needed. Guarded by mu.
	sum    hash.Hash
	passed int64
	// ended is set when it is decided what the publish changes.
	ended bool

	// mu guards all below: the transport may go on reading the body while GitLab's answer is being relayed. Only the
	// copy's file is written under it, which nobody else waits for.
	mu sync.Mutex
	// copy is the file kept aside while it passes; nil if it isn't, or no longer.
	copy *cache.Fill
	// gathered makes bigger pieces of what the copy gets: the transport reads small ones, and writing each by itself costs a
	// tenth of the whole upload. It is nil before there is much of the file, and after its end: many uploads at once must
	// not hold memory that they don't need.
	gathered *bufio.Writer
}

// begin finds out whether a copy can become an entry: GitLab must name SHA-256s, or the first download could not tell that
// the copy is the current file.
func (p *publish) begin() {
	p.begun = p.store.Generation(p.keyOf(p.refs[0]))
	p.length = p.r.ContentLength
	isPlain := p.r.Method == http.MethodPut && len(p.refs) == 1 && !p.organization &&
		upstream.QueryHoldsOnly(p.r.URL.RawQuery, "status", "select")
	p.storable = isPlain && p.h.client.ShowsChecksums() && !strings.Contains(p.ref.File, "/")
	if isPlain && !p.h.client.ShowsChecksums() && p.h.client.Redirects() {
		p.sum = sha256.New()
	}
}

// beginCopyLocked opens the copy. GitLab hasn't looked at the credential yet: unless it has taken an upload of this
// caller's to this project lately, the copy has only the room that is set aside for such (upload_room; design, "One PUT").
func (p *publish) beginCopyLocked() {
	p.storable = false // tried once
	fill, err := p.store.Begin(p.key, p.begun, cache.FillSpec{
		Size: -1, Identity: cache.Identity{Length: p.length}, Disposition: disposition(p.ref.File), Copy: p.copyOf(),
	})
	if err != nil {
		return // no room, or no disk: the first download fetches
	}
	p.copy = fill
}

// copyOf says on whose word the copy takes room.
func (p *publish) copyOf() cache.CopyOf {
	if p.state.publishers.isProven(p.publisher(), p.state.now()) {
		return cache.CopyOf{}
	}
	return cache.UnprovenUpload(upstream.Neighbourhood(clientIP(p.r)))
}

// disposition is the Content-Disposition that GitLab gives to a file of this name. Names are of safe characters, so
// both forms need no encoding (contract, section 4; nested files, whose stored name differs, aren't kept aside).
func disposition(file string) string {
	return `attachment; filename="` + file + `"; filename*=UTF-8''` + url.PathEscape(file)
}

func (p *publish) keyOf(ref upstream.Ref) cache.Key {
	key := p.key
	key.Project, key.Package, key.Version, key.File = ref.Project, ref.Package, ref.Version, ref.File
	return key
}

// keep copies the bytes aside as they pass. Trouble with the copy is no trouble of the publish.
func (p *publish) keep(piece []byte) {
	p.saw(piece)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sum != nil {
		_, _ = p.sum.Write(piece) // never fails
		p.passed += int64(len(piece))
	}
	if p.storable {
		p.beginCopyLocked()
	}
	if p.copy != nil {
		p.writeLocked(piece)
	}
	if p.copy != nil && p.isWholeLocked() {
		// Now, and not while the caller waits for GitLab's answer to be relayed.
		p.flushLocked()
	}
}

// gatheredFrom is from how much of a file on it is gathered into bigger pieces.
const gatheredFrom = 64 << 10

var gatherers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, pumpPiece) }}

// writeLocked gives the copy a piece, now or with those that follow.
func (p *publish) writeLocked(piece []byte) {
	var to io.Writer = p.copy
	if p.copy.Written() >= gatheredFrom {
		if p.gathered == nil {
			p.gathered = gatherers.Get().(*bufio.Writer)
			p.gathered.Reset(p.copy)
		}
		to = p.gathered
	}
	if _, err := to.Write(piece); err != nil {
		p.dropCopyLocked(err)
	}
}

// isWholeLocked reports whether all of the body has passed. With a length announced, the last read needn't have met the end.
func (p *publish) isWholeLocked() bool {
	passed := p.copy.Written()
	if p.gathered != nil {
		passed += int64(p.gathered.Buffered())
	}
	return p.delivery.IsWhole() || passed == p.length
}

// flushLocked gives the copy what was gathered for it, and the buffer back.
func (p *publish) flushLocked() {
	if p.gathered == nil {
		return
	}
	if err := p.gathered.Flush(); err != nil {
		p.dropCopyLocked(err)
		return
	}
	p.releaseBufferLocked()
}

// dropCopyLocked gives the copy up.
func (p *publish) dropCopyLocked(why error) {
	p.copy.Abort(why)
	p.copy = nil
	p.releaseBufferLocked()
}

func (p *publish) releaseBufferLocked() {
	if p.gathered != nil {
		p.gathered.Reset(nil) // holds no fill, nor its error
		gatherers.Put(p.gathered)
		p.gathered = nil
	}
}

// answered takes in GitLab's answer before a byte of it is relayed: a caller who hears of the new file must never get the old
// one.
func (p *publish) answered(response *http.Response) {
	p.nameUpload(response)
	p.end(response.StatusCode)
}

// nameUpload tells what GitLab's answer to an upload has made of it.
func (x *exchange) nameUpload(response *http.Response) {
	switch status := response.StatusCode; {
	case x.r.Method != http.MethodPut:
	case status == http.StatusTooManyRequests:
		x.report.outcome = outcomeRateLimited
	case status >= http.StatusBadRequest && status < http.StatusInternalServerError:
		x.report.outcome = outcomeRefused
	case status < http.StatusMultipleChoices:
		x.report.outcome = outcomePublished
	}
}

// end decides, once, what the publish changes for others, and what becomes of the copy. status is GitLab's, 0 if there was
// no answer.
func (p *publish) end(status int) {
	if p.ended {
		return
	}
	p.ended = true
	ending := publishEndOf(status, &p.delivery)
	keys := make([]cache.Key, 0, len(p.refs))
	for _, ref := range p.refs {
		keys = append(keys, p.keyOf(ref))
	}
	after := p.h.change(p.state, p.store, ending, keys)
	if ending == publishTaken {
		p.state.publishers.note(p.publisher(), p.state.now(), p.h.grantTTL)
		p.state.process.knownProjects.note(p.key.Upstream, p.ref.Project)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.storable = false // whatever the transport still reads is too late
	if p.sum != nil && isPublished(status) && after == p.begun.Next() && (p.delivery.IsWhole() || p.passed == p.length) {
		p.state.publishedSums.note(p.key, after, cache.Digest(p.sum.Sum(nil)))
	}
	p.sum = nil
	if p.copy == nil {
		return
	}
	if !isPublished(status) || after != p.begun.Next() || !p.isWholeLocked() {
		p.dropCopyLocked(errNotStored)
		return
	}
	p.flushLocked()
	if p.copy == nil {
		return
	}
	copied := p.copy
	p.copy = nil
	if p.h.shared.isOwed(copied.Written()) {
		copied.Owe(0) // nobody else has it to write
	}
	err := copied.Adopt()
	if err == nil {
		_, err = copied.Commit(after)
	}
	if err != nil {
		copied.Abort(err)
		p.h.logger.Debug("the copy of a publish isn't kept", zap.Stringer("ref", p.ref), zap.Error(err))
	}
}

// isPublished reports whether GitLab has taken the body as the file: 201, or 200 with select=package_file (contract,
// section 1).
func isPublished(status int) bool { return status == http.StatusOK || status == http.StatusCreated }

// publisher is who uploads, and where to.
func (p *publish) publisher() publisher {
	key := p.grantKey()
	return publisher{key.Upstream, key.Fingerprint, key.Project}
}

// awaitAnswer asks whether the edge itself waits for GitLab's answer when the caller has left after the whole body.
func (p *publish) awaitAnswer() (release func(), ok bool) {
	return p.state.answerWaits.begin(upstream.Neighbourhood(clientIP(p.r)))
}
