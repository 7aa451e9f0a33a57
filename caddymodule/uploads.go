package caddymodule

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// passingUploads are the uploads under way, of one cache directory. The zero value has none. Safe for concurrent use.
type passingUploads struct {
	// mu guards passing; nothing is waited for under it.
	mu      sync.Mutex
	passing map[*upload]struct{}
}

// upload is one of them.
type upload struct {
	upstream string
	ref      upstream.Ref
	// size is what the caller announced, -1 for nothing.
	size  int64
	begun time.Time
	// passed is how many bytes GitLab was given.
	passed atomic.Int64
}

// begin notes an upload, which end takes back.
func (u *passingUploads) begin(x *exchange) *upload {
	begun := &upload{upstream: x.key.Upstream, ref: x.ref, size: x.r.ContentLength, begun: x.state.now()}
	u.add(begun)
	return begun
}

func (u *passingUploads) add(begun *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.passing == nil {
		u.passing = make(map[*upload]struct{})
	}
	u.passing[begun] = struct{}{}
}

func (u *passingUploads) end(ended *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.passing, ended)
}

// all are those that pass now, in no order.
func (u *passingUploads) all() []*upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.passing))
}

// saw counts a piece of the body.
func (u *upload) saw(piece []byte) { u.passed.Add(int64(len(piece))) }
