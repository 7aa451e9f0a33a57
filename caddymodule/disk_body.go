package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// diskBody is a file that comes from the disk, stored or on its way in. When the disk fails under it, it goes on from
// GitLab at its own place, with this caller's own credential: a broken disk breaks no download.
type diskBody struct {
	exchange *exchange
	source   diskSource
	// kind is what source is, for the report.
	kind source
	// size returns the file's length, -1 while it isn't known.
	size func() int64
	// identity is how GitLab names the content; what comes from GitLab must have the same.
	identity upstream.Identity
	// uncompared says that what comes from the source wasn't compared with its sum yet, and came from a shared store: it is joined to
	// nothing of GitLab's without a comparison.
	uncompared bool
	// ctx ends with close: whoever still waits for bytes then gets none.
	ctx    context.Context
	cancel context.CancelFunc

	// mu guards all below, and the source. It is held while bytes are waited for: http.ServeContent reads several ranges
	// in a goroutine of its own that can outlive it, and close must wait for that, and nobody else.
	mu     sync.Mutex
	closed bool
	offset int64
	// rest is what GitLab sends instead, from offset on.
	rest *upstream.Download
	// fromDisk and fromGitLab are how much was read to be sent.
	fromDisk, fromGitLab int64
}

// newDiskBody returns a body without its source, which may need the body's context.
func newDiskBody(x *exchange, kind source, size func() int64, identity upstream.Identity) *diskBody {
	b := &diskBody{exchange: x, kind: kind, size: size, identity: identity}
	b.ctx, b.cancel = context.WithCancel(x.r.Context())
	return b
}

// diskSource is a *cache.Blob or a *cache.FillReader. Its cache.ErrDisk says that the rest must come from elsewhere.
type diskSource interface {
	io.ReadSeeker
	io.WriterTo
}

// Read implements io.Reader.
func (b *diskBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, os.ErrClosed
	}
	if b.rest == nil {
		n, err := b.source.Read(p)
		b.offset += int64(n)
		b.fromDisk += int64(n)
		if !errors.Is(err, cache.ErrDisk) {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		if b.isAtEndLocked() {
			return 0, io.EOF
		}
		if err := b.goOnFromGitLabLocked(); err != nil {
			return 0, err
		}
	}
	n, err := b.rest.Read(p)
	b.offset += int64(n)
	b.fromGitLab += int64(n)
	return n, err
}

// WriteTo implements io.WriterTo: it sends from the present place to the file's end, out of the file itself where the
// kernel can.
func (b *diskBody) WriteTo(w io.Writer) (total int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, os.ErrClosed
	}
	if b.rest == nil {
		total, err = b.source.WriteTo(w)
		b.offset += total
		b.fromDisk += total
		if !errors.Is(err, cache.ErrDisk) {
			return total, err
		}
		if b.isAtEndLocked() {
			return total, nil
		}
		if err := b.goOnFromGitLabLocked(); err != nil {
			return total, err
		}
	}
	n, err := io.Copy(w, b.rest)
	b.offset += n
	b.fromGitLab += n
	return total + n, err
}

// isAtEndLocked reports whether all of the file was read before the disk failed: GitLab has no more of it.
func (b *diskBody) isAtEndLocked() bool {
	size := b.size()
	return size >= 0 && b.offset >= size
}

func (b *diskBody) goOnFromGitLabLocked() error {
	x := b.exchange
	rest, err := b.fetchRestLocked()
	if err != nil {
		if refused, ok := errors.AsType[*upstream.RefusedError](err); ok {
			x.h.hear(x.state, x.store, x.key, x.reader(), answerOfFetch(nil, refused))
		}
		return err
	}
	x.h.logger.Debug("a download goes on from GitLab", zap.Stringer("ref", x.ref), zap.Int64("offset", b.offset))
	b.rest = rest
	return nil
}

// fetchRestLocked asks GitLab for what comes after the bytes that were sent.
func (b *diskBody) fetchRestLocked() (*upstream.Download, error) {
	if b.uncompared && b.offset > 0 {
		return b.fetchAgainLocked()
	}
	x, begun := b.exchange, time.Now()
	rest, err := x.h.client.FetchFrom(b.ctx, x.caller(), x.ref, b.offset, b.identity)
	x.h.metrics.fetched(err, time.Since(begun))
	if errors.Is(err, upstream.ErrChanged) && b.size() < 0 && b.identity.SHA256 == "" {
		return b.fetchAgainLocked()
	}
	return rest, err
}

// fetchAgainLocked fetches the whole of a file whose length GitLab doesn't tell, and nothing else by which the rest of it
// could be asked for; or of which what was sent may be wrong. What was sent before is skipped, after a comparison: if it is the beginning of the file that
// GitLab has now, all that is sent is that file.
func (b *diskBody) fetchAgainLocked() (*upstream.Download, error) {
	x := b.exchange
	begun := time.Now()
	again, err := x.h.client.Fetch(b.ctx, x.caller(), x.ref)
	x.h.metrics.fetched(err, time.Since(begun))
	if err != nil {
		return nil, err
	}
	if !again.Storable() || upstream.Compare(again.Identity, b.identity) == upstream.Different {
		err = upstream.ErrChanged
	} else {
		err = b.skipSentLocked(again)
	}
	if err != nil {
		_ = again.Close()
		return nil, err
	}
	return again, nil
}

// skipSentLocked reads from again what comes before b.offset, and compares it with the source, which still has it.
func (b *diskBody) skipSentLocked(again io.Reader) error {
	if _, err := b.source.Seek(0, io.SeekStart); err != nil {
		return err
	}
	here, there := copyPieces.take(), copyPieces.take()
	defer here.giveBack(true)
	defer there.giveBack(true)
	for left := b.offset; left > 0; {
		n := min(left, copyPiece)
		if _, err := io.ReadFull(b.source, here.bytes[:n]); err != nil {
			return err
		}
		got, err := io.ReadFull(again, there.bytes[:n])
		b.exchange.report.bytesUpstream += int64(got)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || (err == nil && !bytes.Equal(here.bytes[:n], there.bytes[:n])) {
			return upstream.ErrChanged
		}
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// Seek implements io.Seeker, as http.ServeContent uses it: before the first byte is sent, and between ranges.
func (b *diskBody) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, os.ErrClosed
	}
	position, err := b.source.Seek(offset, whence)
	if err != nil {
		return 0, err
	}
	if position != b.offset {
		b.dropRestLocked()
	}
	b.offset = position
	return position, nil
}

// endsAfter reports whether the file ends that many bytes from here.
func (b *diskBody) endsAfter(bytes int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.offset+bytes == b.size()
}

// rewind goes back to the beginning, and begins again from there where GitLab had to help out. Nothing was sent before.
func (b *diskBody) rewind() error {
	b.mu.Lock()
	b.dropRestLocked()
	b.fromDisk, b.fromGitLab = 0, 0
	b.mu.Unlock()
	_, err := b.Seek(0, io.SeekStart)
	return err
}

func (b *diskBody) dropRestLocked() {
	if b.rest != nil {
		_ = b.rest.Close()
		b.rest = nil
	}
}

// close ends all reading. The source is its owner's to close, then.
func (b *diskBody) close() {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.exchange.report.sent[b.kind] += b.fromDisk
		b.exchange.relayed(b.fromGitLab)
	}
	b.closed = true
	b.dropRestLocked()
}
