package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// usageStep is how many entries are read of a store at a time. The store's lock, which requests take, is held no longer than it takes
// to look those up in memory.
const usageStep = 500

// usageReport is the last usage that was put together. Safe for concurrent use.
type usageReport struct {
	// mu guards all below; nothing is waited for under it.
	mu   sync.Mutex
	last *adminapi.Usage
	// walking is what is under way; nil for nothing.
	walking *usageWalk
}

// usageWalk is one putting together, in the name of the first who asked for it.
type usageWalk struct {
	over chan struct{}
	// usage and err are set before over is closed; left says that who asked has left, and that somebody else must begin anew.
	usage *adminapi.Usage
	err   error
	left  bool
}

// of returns the last usage if it is younger than adminapi.UsagePause, or else puts one together. Who asks while that is under way
// waits for it. It ends with the context of who began it; then the next of those who wait begins anew. The answer is shared, and nobody
// may change it.
func (u *usageReport) of(ctx context.Context, now func() time.Time, walk func(context.Context) (adminapi.Usage, error)) (*adminapi.Usage, error) {
	for {
		u.mu.Lock()
		if u.last != nil && now().Sub(u.last.At) < adminapi.UsagePause {
			defer u.mu.Unlock()
			return u.last, nil
		}
		others := u.walking
		if others == nil {
			mine := &usageWalk{over: make(chan struct{}), left: true}
			u.walking = mine
			u.mu.Unlock()
			return u.lead(ctx, mine, walk)
		}
		u.mu.Unlock()
		select {
		case <-others.over:
			if !others.left {
				return others.usage, others.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// lead puts a usage together for all who wait.
func (u *usageReport) lead(ctx context.Context, mine *usageWalk, walk func(context.Context) (adminapi.Usage, error)) (*adminapi.Usage, error) {
	defer func() { // also if it panics
		u.mu.Lock()
		u.walking = nil
		if mine.usage != nil {
			u.last = mine.usage
		}
		u.mu.Unlock()
		close(mine.over)
	}()
	usage, err := walk(ctx)
	mine.left = ctx.Err() != nil
	if mine.err = err; err == nil {
		mine.usage, mine.left = &usage, false
	}
	return mine.usage, mine.err
}

// usageSource is a store whose entries are gone through, a step at a time.
type usageSource struct {
	directory string
	store     *cache.Store
	// step are the entries that were read and not looked at yet, after the last key that was read.
	step  []cache.Taken
	after *cache.Key
	over  bool
}

// next returns the source's next entry, which it reads if need be; nil if there is none any more.
func (s *usageSource) next(ctx context.Context) (*cache.Taken, error) {
	for len(s.step) == 0 && !s.over {
		var err error
		if s.step, s.after, err = s.store.Taken(ctx, s.after, usageStep); err != nil {
			return nil, err
		}
		s.over = s.after == nil
	}
	if len(s.step) == 0 {
		return nil, nil
	}
	return &s.step[0], nil
}

// sumUsage goes through the entries of all sources in the order of their keys, and adds them up.
func sumUsage(ctx context.Context, sources []*usageSource) (adminapi.Usage, error) {
	sums := newUsageSums()
	for {
		var first *usageSource
		for _, source := range sources {
			entry, err := source.next(ctx)
			if err != nil {
				return adminapi.Usage{}, err
			}
			if entry != nil && (first == nil || entry.Key.Compare(first.step[0].Key) < 0) {
				first = source
			}
		}
		if first == nil {
			return sums.end(ctx)
		}
		sums.add(usedFile{first, first.step[0]})
		first.step = first.step[1:]
	}
}
