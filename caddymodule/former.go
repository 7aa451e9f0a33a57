package caddymodule

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

const (
	// replicaLag is for how long after a publish GitLab may still name what was current before: its replicas lag
	// (contract, section 7). The store knows the same time, and judges by the bytes (cache/lag.go); here it is by how GitLab names them.
	replicaLag = 10 * time.Second
	// maxFormers bounds the names that are remembered for that long.
	maxFormers = 4 << 10
)

// formers are how GitLab named files before recent publishes. Safe for concurrent use.
type formers struct {
	// mu guards names; nothing is waited for under it.
	mu    *sync.Mutex
	names *simplelru.LRU[cache.Key, former]
}

type former struct {
	identity upstream.Identity
	until    time.Time
}

func newFormers() formers { return formers{new(sync.Mutex), newLRU[cache.Key, former](maxFormers)} }

// note remembers how GitLab named a file that is published over at that time.
func (f formers) note(key cache.Key, identity upstream.Identity, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names.Add(key, former{identity, at.Add(replicaLag)})
}

// has reports whether an answer that was asked for then and names this content may come from a replica that lags. Such an
// answer is for who asked, and says nothing to others.
func (f formers) has(key cache.Key, identity upstream.Identity, asked time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, ok := f.names.Peek(key)
	return ok && asked.Before(before.until) && upstream.Compare(before.identity, identity) == upstream.Same
}
