package caddymodule

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// servePublish answers one PUT: names first, before a byte of the body is read; then the body streams to GitLab, and
// whatever comes of it, nothing that was stored under the name is served again unasked.
func (h *Handler) servePublish(x *exchange) {
	targets, err := h.targets(x)
	if err != nil {
		x.refuseInvalid(err)
		return
	}
	if !x.admitUpload() {
		return
	}
	if !x.openStore() {
		x.forward(outcomePublished, fwdMethod)
		return
	}
	p := &publish{exchange: x, keys: targets}
	p.begin()
	// For every way out: a lost answer, a caller who left, a relaying that panics.
	defer p.end()
	x.forwardWith(outcomePublished, fwdMethod, upstream.Forwarding{OnBody: p.keep, OnAnswer: p.judge})
}

// checkTargets returns an error if not all names are legal that a request may be about.
func (h *Handler) checkTargets(x *exchange) error {
	if x.r.URL.RawQuery == "" {
		return h.rules.Check(x.ref) // nearly always
	}
	_, err := h.targets(x)
	return err
}

// targets returns the names that a request may be about, all of them legal. ?path= names another file under the same URL
// path (contract: lib/api/generic_packages.rb takes it as an ordinary parameter).
func (h *Handler) targets(x *exchange) ([]upstream.Ref, error) {
	targets := []upstream.Ref{x.ref}
	directories, ok := upstream.PlainValues(x.r.URL.RawQuery, "path")
	if !ok {
		return nil, &upstream.InvalidError{Parameter: "path"}
	}
	for _, directory := range directories {
		if directory == "" {
			continue
		}
		target, err := x.ref.WithPath(directory)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	for _, target := range targets {
		if err := h.rules.Check(target); err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// publish is one PUT on its way to GitLab.
type publish struct {
	*exchange
	keys []upstream.Ref

	// begun is the generation of the publish itself. A second publish of the same name raises it, and then nobody
	// knows which of them GitLab took last. announced says that this publish has raised it when it began.
	begun     cache.Generation
	announced bool
	// length is what the caller announced, -1 if nothing.
	length int64
	// storable says that a copy can become an entry.
	storable bool
	// published turns true with GitLab's 200 or 201, refused with a no that says that nothing was published, ended when
	// the second generation has begun.
	published, refused, ended bool

	// mu guards all below: the transport may go on reading the body while GitLab's answer is being relayed. Only the
	// copy's file is written under it, which nobody else waits for.
	mu sync.Mutex
	// copy is the file kept aside while it passes; nil if it isn't, or no longer.
	copy *cache.Fill
	// gathered makes bigger pieces of what the copy gets: the transport reads small ones, and writing each by itself costs a
	// tenth of the whole upload. It is nil before there is much of the file, and after its end: many uploads at once must
	// not hold memory that they don't need.
	gathered *bufio.Writer
	// whole turns true when the body was read to its end.
	whole bool
}

// begin raises the generation, so that what is stored is asked about from now on, and finds out whether a copy can become
// an entry: GitLab must name SHA-256s, or the first download could not tell that the copy is the current file.
//
// Who is nobody yet, as far as we know, raises it only at the end, and not if GitLab refuses: else a stranger could end
// the offline life of what is stored, and fills, by uploads that fail. Nothing depends on the first raise but how soon a
// new file is seen by others while its publisher still waits for the answer.
func (p *publish) begin() {
	_, p.announced = p.state.grants.Granted(p.grantKey())
	generation := p.store.Generation
	if p.announced {
		generation = p.store.Raise
	}
	for _, ref := range p.keys {
		p.begun = generation(p.keyOf(ref))
	}
	p.length = p.r.ContentLength
	p.storable = len(p.keys) == 1 && p.h.client.ShowsChecksums() && upstream.QueryHoldsOnly(p.r.URL.RawQuery, "status", "select") &&
		!strings.Contains(p.ref.File, "/")
}

// beginCopyLocked opens the copy. It takes room as the bytes pass and not for the length that was announced: GitLab hasn't
// looked at the credential yet, and a stranger must not push out the cache by a number.
func (p *publish) beginCopyLocked() {
	p.storable = false // tried once
	fill, err := p.store.Begin(p.key, p.begun, cache.FillSpec{
		Size: -1, Identity: cache.Identity{Length: p.length}, Disposition: disposition(p.ref.File),
	})
	if err != nil {
		return // no room, or no disk: the first download fetches
	}
	p.copy = fill
}

// disposition is the Content-Disposition that GitLab gives to a file of this name. Names are of safe characters, so
// both forms need no encoding (lib/api/helpers.rb; nested files, whose stored name differs, aren't kept aside).
func disposition(file string) string {
	return `attachment; filename="` + file + `"; filename*=UTF-8''` + url.PathEscape(file)
}

func (p *publish) keyOf(ref upstream.Ref) cache.Key {
	key := p.key
	key.Project, key.Package, key.Version, key.File = ref.Project, ref.Package, ref.Version, ref.File
	return key
}

// keep copies the bytes aside as they pass. Trouble with the copy is no trouble of the publish.
func (p *publish) keep(piece []byte, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.whole = p.whole || ended
	if p.storable && len(piece) > 0 {
		p.beginCopyLocked()
	}
	if p.copy != nil && len(piece) > 0 {
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
	return p.whole || passed == p.length
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

// judge looks at GitLab's answer: 201, or 200 with select=package_file (lib/api/generic_packages.rb). It ends the
// publish before a byte of the answer is relayed: a caller who hears of the new file must never get the old one, which
// somebody's check may have confirmed since the publish began.
func (p *publish) judge(response *http.Response) {
	switch response.StatusCode {
	case http.StatusOK, http.StatusCreated:
		p.published = true
	case http.StatusUnauthorized, http.StatusNotFound:
		p.refused = true
	case http.StatusForbidden:
		// After the whole body it can also be trouble with GitLab's storage (lib/api/generic_packages.rb).
		p.refused = p.body.isLeft()
	}
	p.end()
}

// end raises the generation again, after any outcome but a plain no: also a publish that failed or timed out may have been
// taken.
func (p *publish) end() {
	if p.ended {
		return
	}
	p.ended = true
	overlapped := false
	var after cache.Generation
	if p.announced || !p.refused {
		for _, ref := range p.keys {
			after = p.store.Raise(p.keyOf(ref))
			overlapped = overlapped || after != p.begun.Next()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.storable = false // whatever the transport still reads is too late
	if p.copy == nil {
		return
	}
	if !p.published || overlapped || !p.isWholeLocked() {
		p.dropCopyLocked(errNotStored)
		return
	}
	copied := p.copy // it has all, since the body's end has passed (keep)
	p.copy = nil
	if _, err := copied.Commit(after); err != nil {
		copied.Abort(err)
		p.h.logger.Debug("the copy of a publish isn't kept", zap.Stringer("ref", p.ref), zap.Error(err))
	}
}
