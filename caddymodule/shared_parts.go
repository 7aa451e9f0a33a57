package caddymodule

import (
	"context"
	"errors"
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
	// came is how many bytes did, and cameBefore how many had before the object was asked for last.
	came, cameBefore int64
}

// Read implements io.Reader. A part that breaks off is asked for again, as long as each time something has come.
func (p *sharedPart) Read(into []byte) (int, error) {
	for {
		if p.object == nil {
			object, err := p.of.shared.OpenPart(p.ctx, p.of.content, p.from+p.came, p.until, p.of.shared.FirstByte())
			if err != nil {
				return 0, err
			}
			p.object, p.cameBefore = object, p.came
		}
		n, err := p.object.Read(into)
		p.came += int64(n)
		if err == nil || errors.Is(err, io.EOF) || p.ctx.Err() != nil || isSlowDown(err) || p.came == p.cameBefore {
			return n, err
		}
		_ = p.object.Close() // its end is known
		p.object = nil
		if n > 0 {
			return n, nil
		}
	}
}

// Close implements io.Closer.
func (p *sharedPart) Close() error {
	if p.object == nil {
		return nil
	}
	return p.object.Close()
}
