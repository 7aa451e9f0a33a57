package caddymodule

import (
	"sync"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// askKey is what makes two questions alike: GitLab's answer to the first is that to the second. The generation is part of
// it, since an answer to a question from before a publish says nothing about what came after it.
type askKey struct {
	access     access
	grantKey   upstream.GrantKey
	key        cache.Key
	generation cache.Generation
	// again says that an answer is there already, which didn't tell enough.
	again bool
}

// ask is one question that is under way, by a check or by a fetch.
type ask struct {
	// over is closed when answer is there, which is fixed from then on.
	over   chan struct{}
	answer upstream.Answer
}

// asks are the questions under way. One question by a check or by the fetch of a file that isn't stored serves all callers
// who are alike: how often GitLab hears of a caller must not tell whether a file is stored (design, "Questions").
type asks struct {
	// mu guards running; nothing is waited for under it.
	mu      sync.Mutex
	running map[askKey]*ask
}

// begin returns the question that is under way, or else a new one, which is the caller's to answer.
func (a *asks) begin(key askKey) (one *ask, mine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.running[key]; one != nil {
		return one, false
	}
	if a.running == nil {
		a.running = make(map[askKey]*ask)
	}
	one = &ask{over: make(chan struct{})}
	a.running[key] = one
	return one, true
}

// isRunning reports whether a question is under way.
func (a *asks) isRunning(key askKey) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running[key] != nil
}

// end answers a question that begin has given to the caller.
func (a *asks) end(key askKey, one *ask, answer upstream.Answer) {
	one.answer = answer
	a.mu.Lock()
	delete(a.running, key)
	a.mu.Unlock()
	close(one.over)
}
