package caddymodule

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// maxPublishers bounds those who are remembered. Only GitLab's 2xx adds to them.
const maxPublishers = 10_000

// publisher is a credential that uploads to a project.
type publisher struct {
	upstream    string
	fingerprint upstream.Fingerprint
	project     string
}

// publishers are those from whom GitLab has taken an upload lately: copies of their next ones may take the store's room
// before GitLab has answered. Safe for concurrent use.
type publishers struct {
	// mu guards until; nothing is waited for under it.
	mu    sync.Mutex
	until *simplelru.LRU[publisher, time.Time]
}

func newPublishers() *publishers {
	return &publishers{until: newLRU[publisher, time.Time](maxPublishers)}
}

// note remembers that GitLab has said 2xx to an upload, for that long: its life is fixed now.
func (p *publishers) note(who publisher, now time.Time, life time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until.Add(who, now.Add(life))
}

// isProven reports whether GitLab has taken an upload of theirs lately.
func (p *publishers) isProven(who publisher, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.until.Get(who)
	return ok && now.Before(until)
}

const (
	// maxAnswerWaits bounds the uploads whose callers have left and whose answers are waited for, maxAnswerWaitsOfOne those of
	// one address.
	maxAnswerWaits, maxAnswerWaitsOfOne = 64, 4
)

// answerWaits counts them. The zero value counts none. Safe for concurrent use.
type answerWaits struct {
	// mu guards all below; nothing is waited for under it.
	mu        sync.Mutex
	all       int
	byAddress map[string]int
}

// begin takes a place to wait in, if there is one, which release gives back.
func (a *answerWaits) begin(address string) (release func(), ok bool) {
	address = upstream.Neighbourhood(address)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all >= maxAnswerWaits || a.byAddress[address] >= maxAnswerWaitsOfOne {
		return nil, false
	}
	if a.byAddress == nil {
		a.byAddress = make(map[string]int)
	}
	a.all++
	a.byAddress[address]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.all--
		if a.byAddress[address]--; a.byAddress[address] == 0 {
			delete(a.byAddress, address)
		}
	}, true
}
