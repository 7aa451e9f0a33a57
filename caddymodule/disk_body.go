package caddymodule

import (
	"errors"
	"io"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// diskBody is a file that comes from the disk, stored or on its way in. When the disk fails under it, it goes on from
// GitLab at its own place, with this caller's own credential: a broken disk breaks no download.
type diskBody struct {
	exchange *exchange
	source   diskSource
	// size returns the file's length, -1 while it isn't known.
	size func() int64
	// identity is how GitLab names the content; what comes from GitLab must have the same.
	identity upstream.Identity

	offset int64
	// rest is what GitLab sends instead, from offset on.
	rest *upstream.Download
}

// diskSource is a *cache.Blob or a *cache.FillReader. Its cache.ErrDisk says that the rest must come from elsewhere.
type diskSource interface {
	io.ReadSeeker
	io.WriterTo
}

// Read implements io.Reader.
func (b *diskBody) Read(p []byte) (int, error) {
	if b.rest == nil {
		n, err := b.source.Read(p)
		b.offset += int64(n)
		if !errors.Is(err, cache.ErrDisk) {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		if err := b.goOnFromGitLab(); err != nil {
			return 0, err
		}
	}
	n, err := b.rest.Read(p)
	b.offset += int64(n)
	return n, err
}

// WriteTo implements io.WriterTo: it sends from the present place to the file's end, out of the file itself where the
// kernel can.
func (b *diskBody) WriteTo(w io.Writer) (total int64, err error) {
	if b.rest == nil {
		total, err = b.source.WriteTo(w)
		b.offset += total
		if !errors.Is(err, cache.ErrDisk) {
			return total, err
		}
		if err := b.goOnFromGitLab(); err != nil {
			return total, err
		}
	}
	n, err := io.Copy(w, b.rest)
	b.offset += n
	return total + n, err
}

func (b *diskBody) goOnFromGitLab() error {
	x := b.exchange
	rest, err := x.h.client.FetchFrom(x.r.Context(), x.caller(), x.ref, b.offset, b.identity)
	if err != nil {
		if refused, ok := errors.AsType[*upstream.RefusedError](err); ok {
			_ = refused.Response.Body.Close()
		}
		return err
	}
	x.h.logger.Debug("a download goes on from GitLab", zap.Stringer("ref", x.ref), zap.Int64("offset", b.offset))
	b.rest = rest
	return nil
}

// Seek implements io.Seeker, as http.ServeContent uses it: before the first byte is sent, and between ranges.
func (b *diskBody) Seek(offset int64, whence int) (int64, error) {
	position, err := b.source.Seek(offset, whence)
	if err != nil {
		return 0, err
	}
	if position != b.offset {
		b.close()
	}
	b.offset = position
	return position, nil
}

// close ends what GitLab sends. The source is its owner's to close.
func (b *diskBody) close() {
	if b.rest != nil {
		_ = b.rest.Close()
		b.rest = nil
	}
}
