package caddymodule

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

const (
	// sharedWriters is how many files are written to the shared store at a time.
	sharedWriters = 4
	// leastSharedPause is how long writing pauses after trouble; it doubles up to maxSharedPause while that goes on.
	leastSharedPause = time.Second
	maxSharedPause   = time.Minute
	// sharedLookPause is how often somebody looks whether there is something for the shared store of whom nobody told: what waited for
	// other edges to write it, or for the store to be open.
	sharedLookPause = 5 * time.Second
	// refreshPause is how long a walk over the index rests between its steps, which have refreshStep entries each; and walksPause is
	// how long it is from one walk to the next.
	refreshPause = time.Second
	refreshStep  = 512
	walksPause   = time.Hour
	// leastSharedSpread is within what time several edges that have fetched the same file begin to write it, which grows by a second
	// for so many bytes: writing takes time, too.
	leastSharedSpread = 3 * time.Second
	sharedSpreadRate  = 16 << 20
	// mostOwedForRefresh is with how many owed files a walk rests: what is new goes first.
	mostOwedForRefresh = 1000
)

// keepSharing writes to the shared store what it is owed, a few files at a time, and nobody waits for it. It ends with ctx.
func (s *state) keepSharing() {
	var writers sync.WaitGroup
	defer writers.Wait()
	slots := make(chan struct{}, sharedWriters)
	rest := sharedPause{longest: s.process.sharedPause}
	for {
		select {
		case slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		if pause(s.ctx, rest.now()) != nil {
			return
		}
		job, ok := s.nextShared()
		if !ok {
			<-slots
			if !s.awaitShared() {
				return
			}
			continue
		}
		// Ends with the file, or with ctx.
		writers.Go(func() {
			defer func() { <-slots }()
			rest.note(job.run(s.ctx))
		})
	}
}

// awaitShared waits until there may be something for the shared store. False means that the edge closes.
func (s *state) awaitShared() bool {
	var arrived <-chan struct{} // never, of a store that isn't there
	if store := s.store.Load(); store != nil && s.sharing() != nil {
		arrived = store.OwedArrived()
	}
	timer := time.NewTimer(sharedLookPause)
	defer timer.Stop()
	select {
	case <-arrived:
	case <-s.adopted:
	case <-timer.C:
	case <-s.ctx.Done():
		return false
	}
	return true
}

// sharing is the handler whose shared store is written to; nil for none.
func (s *state) sharing() *Handler {
	if h := s.shares(); h != nil && h.shared.writes {
		return h
	}
	return nil
}

// shares is a handler of the newest config with a shared store, on which all of them agree; nil for none.
func (s *state) shares() *Handler {
	s.holdersMu.Lock()
	defer s.holdersMu.Unlock()
	if len(s.holders) == 0 {
		return nil
	}
	for _, h := range s.holders[len(s.holders)-1].handlers {
		if h.shared != nil {
			return h
		}
	}
	return nil
}

// sharedSpread is how long a file that was fetched waits before it is written to the shared store: by chance, since several edges may
// have fetched it at the same time. So one of them has written it by the time the others look.
func sharedSpread(size int64) time.Duration {
	return rand.N(leastSharedSpread + time.Duration(size/sharedSpreadRate)*time.Second) //nolint:gosec // not a secret
}

// sharedJob is one file that the shared store is owed.
type sharedJob struct {
	store *cache.Store
	h     *Handler
	entry cache.Entry
}

// nextShared takes the next file that is owed.
func (s *state) nextShared() (job sharedJob, ok bool) {
	store, h := s.store.Load(), s.sharing()
	if store == nil || h == nil || h.shared.State().Condition == bucket.Slowed {
		return job, false
	}
	entry, err := store.NextOwed()
	if err != nil {
		return job, false // none, or the index can't be read now
	}
	return sharedJob{store, h, entry}, true
}

// run writes a file to the shared store, unless it is there already, and what its location is called.
func (j sharedJob) run(ctx context.Context) error {
	j.h.transports.hold()
	defer j.h.transports.release()
	shared, entry := j.h.shared, j.entry
	if !shared.takes(entry.Size) {
		j.store.SettleOwed(entry, time.Time{}) // min_size is another by now
		return nil
	}
	content := bucket.Content{SHA256: bucket.SHA256(entry.Digest), Size: entry.Size}
	if entry.SharedWrongly {
		shared.Distrust(content.SHA256) // until it is written; an earlier process may have found that
	}
	var file *cache.Blob
	wrote, written, err := shared.Put(ctx, content, func() (_ io.ReadCloser, err error) {
		file, err = j.store.OpenOwed(entry)
		return file, err
	})
	if errors.Is(err, bucket.ErrDamagedFile) && file != nil {
		file.ReportDamaged()
	}
	if err == nil {
		err = j.putLocation(ctx, content)
	}
	j.h.metrics.sharedWritten(wrote, entry.Size, err)
	if err != nil {
		j.store.ReturnOwed(entry) // what is gone isn't given out again
		return err
	}
	j.store.SettleOwed(entry, written)
	return nil
}

// putLocation says in the shared store what the file's location holds, if GitLab redirected there, and named no sum.
func (j sharedJob) putLocation(ctx context.Context, content bucket.Content) error {
	identity := j.entry.Identity
	if identity.Location == "" || identity.ETag == "" || !j.h.shared.HasSecret() {
		return nil
	}
	return j.h.shared.PutLocation(ctx, placeOf(j.entry.Key.Upstream, identity.Location), bucket.Location{Content: content, ETag: identity.ETag})
}

// sharedPause is how long writing pauses before the next file: nothing, or after trouble longer and longer.
type sharedPause struct {
	longest time.Duration

	// mu guards next.
	mu   sync.Mutex
	next time.Duration
}

// now is the pause, of which several edges take different parts.
func (p *sharedPause) now() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bucket.Jittered(p.next)
}

func (p *sharedPause) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.next = 0
		return
	}
	p.next = min(max(2*p.next, leastSharedPause), p.longest)
}

// keepRefreshing marks as owed what the shared store should have and may have lost, or never had: files that were used lately, and
// weren't written, or found there, for longer than refresh. It goes over the index now and then, slowly. It ends with ctx.
func (s *state) keepRefreshing() {
	for pause(s.ctx, s.process.sharedWalksPause) == nil {
		store, h := s.store.Load(), s.sharing()
		if store == nil || h == nil {
			continue
		}
		if err := s.refreshShared(store, h.shared); err != nil && s.ctx.Err() == nil {
			s.logger.Warn("looking for files that the shared store should have failed; it is tried again in an hour", zap.Error(err))
		}
	}
}

// refreshShared goes over the index once.
func (s *state) refreshShared(store *cache.Store, shared *sharedStore) error {
	old := s.now().Add(-shared.Refresh())
	which := cache.Unshared{Least: max(shared.minSize, 1), Shared: old, Used: old}
	for after, more := []byte(nil), true; more; {
		next, err := store.OweUnshared(s.ctx, after, refreshStep, which)
		if err != nil {
			return err
		}
		after, more = next, next != nil
		for wait := refreshPause; more; wait = sharedLookPause {
			if err := pause(s.ctx, wait); err != nil {
				return err
			}
			if s.store.Load() != store {
				return nil // another one by now
			}
			if store.Stats().Owed < mostOwedForRefresh {
				break
			}
		}
	}
	return nil
}

// tellShared tells that the shared store can't be used, or can be used again.
func (s *state) tellShared(settings sharedSettings, up bool, reason string) {
	about := map[string]any{"store": settings.url}
	if up {
		s.tell(eventSharedUp, about)
		s.logger.Info("the shared store can be used again", zap.String("store", settings.url))
		return
	}
	about["reason"] = reason
	s.tell(eventSharedDown, about)
	s.tellTrouble(trouble{
		what: "the shared store can't be used", consequence: "files come from GitLab, and are written there later; it is tried every ten seconds",
		where: zap.String("store", settings.url), further: []zap.Field{zap.String("reason", reason)},
	})
}

// sharedMemory returns what is known of a bucket: what one config has found out, the next needn't learn anew.
func (s *state) sharedMemory(settings sharedSettings) *bucket.Memory {
	s.sharedMu.Lock()
	defer s.sharedMu.Unlock()
	if s.sharedKnown == nil || s.sharedOf != settings {
		s.sharedKnown, s.sharedOf = bucket.NewMemory(), settings
		s.sharedKnown.OnChange(func(up bool, reason string) { s.later(func() { s.tellShared(settings, up, reason) }) })
	}
	return s.sharedKnown
}
