package caddymodule

import (
	"context"
	"io"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
)

// sharedParts are the parts of an object in the shared store, which caps its connections as other storages do.
type sharedParts struct {
	shared  *sharedStore
	content bucket.Content
}

// Part implements partSource.
func (s sharedParts) Part(ctx context.Context, from, until int64) io.ReadCloser {
	return &sharedPart{ctx: ctx, of: s, from: from, until: until}
}

// sharedPart is one part, which isn't asked for before it is read.
type sharedPart struct {
	ctx         context.Context
	of          sharedParts
	from, until int64
	object      *bucket.Object
}

// Read implements io.Reader.
func (p *sharedPart) Read(into []byte) (int, error) {
	if p.object == nil {
		object, err := p.of.shared.OpenPart(p.ctx, p.of.content, p.from, p.until, p.of.shared.FirstByte())
		if err != nil {
			return 0, err
		}
		p.object = object
	}
	return p.object.Read(into)
}

// Close implements io.Closer.
func (p *sharedPart) Close() error {
	if p.object == nil {
		return nil
	}
	return p.object.Close()
}
