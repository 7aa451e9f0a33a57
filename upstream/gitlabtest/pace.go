package gitlabtest

import (
	"context"
	"sync"
	"time"
)

// pacer spreads bytes over time. The zero value lets all through at once.
type pacer struct {
	mu        sync.Mutex
	perSecond int64 // 0: no bound
	next      time.Time
	changed   chan struct{} // closed by set, so that nobody waits for what an older rate promised
}

func (p *pacer) set(perSecond int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.perSecond, p.next = max(perSecond, 0), time.Time{}
	if p.changed != nil {
		close(p.changed)
	}
	p.changed = make(chan struct{})
}

// begin sets the rate, unless it is that already.
func (p *pacer) begin(perSecond int64) {
	p.mu.Lock()
	same := p.perSecond == perSecond
	p.mu.Unlock()
	if !same {
		p.set(perSecond)
	}
}

// pieceSize is how much of a body goes through at once: small enough for even rates and exact faults.
const pieceSize = 32 << 10

// catchUp is how much lost time is made up for. Timers ring late, by as much as a piece takes at high rates: without it the
// real rate would be far below the one that was asked for.
const catchUp = 20 * time.Millisecond

// take waits until n more bytes may go; false if ctx ends first, when none may.
func (p *pacer) take(ctx context.Context, n int) bool {
	p.mu.Lock()
	if p.perSecond == 0 {
		p.mu.Unlock()
		return true
	}
	now := time.Now()
	if earliest := now.Add(-catchUp); p.next.Before(earliest) {
		p.next = earliest
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(int64(n) * int64(time.Second) / p.perSecond))
	changed := p.changed
	p.mu.Unlock()
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}
