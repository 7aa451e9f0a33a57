package caddymodule

import (
	"context"
	"errors"
	"fmt"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// warm sees to it that one file is here, and pinned if that is wanted.
func (w *warming) warm(ctx context.Context, s *state, store *cache.Store, caller upstream.Caller, file upstream.PackageFile) error {
	h := w.handler
	if err := h.rules.Check(file.Ref); err != nil {
		return fmt.Errorf("nobody could download it: %w", err)
	}
	target := h.targetOf(file.Ref)
	entry, err := store.Lookup(target.key)
	switch {
	case err == nil && file.SHA256 != "" && entry.Digest.String() == file.SHA256:
		store.Use(entry) // or it would be evicted for the others
		w.count(&w.already)
	case err == nil || errors.Is(err, cache.ErrMiss):
		digest, _ := cache.ParseDigest(file.SHA256) // zero for none
		if !store.CanSpare(file.Size, digest, w.since) {
			return cache.ErrNoSpareRoom
		}
		if err := w.fetchPatiently(ctx, s, store, caller, target); err != nil {
			return err
		}
		w.count(&w.fetched)
	default:
		return err
	}
	if w.pinUntil.IsZero() {
		return nil
	}
	switch err := store.Pin(ctx, target.key, w.pinUntil); {
	case errors.Is(err, cache.ErrNoRoom):
		return errors.New("it is here and not pinned: max_pinned allows no more")
	case err != nil:
		return err
	}
	w.count(&w.pinned)
	return nil
}

func (w *warming) count(counter *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*counter++
}

// fetchPatiently is fetch, again and again while GitLab asks to wait.
func (w *warming) fetchPatiently(ctx context.Context, s *state, store *cache.Store, caller upstream.Caller, target target) error {
	for {
		err := w.fetch(ctx, s, store, caller, target)
		if err == nil {
			w.mu.Lock()
			w.waits = 0
			w.mu.Unlock()
			return nil
		}
		if err := w.wait(ctx, s, err); err != nil {
			return err
		}
	}
}

// fetch leads a flight for a file, or waits for the one that somebody else leads, until the file is stored.
func (w *warming) fetch(ctx context.Context, s *state, store *cache.Store, caller upstream.Caller, target target) error {
	h, key := w.handler, target.key
	who := reader{caller, upstream.GrantKey{
		Upstream: key.Upstream, Fingerprint: s.fingerprinter.Of(caller.Credential), Project: key.Project, File: upstream.FileOf(target.ref),
	}}
	// Nobody waits to be handed what can't be stored.
	nobody, leave := context.WithCancel(ctx)
	leave()
	for range maxAttempts {
		generation := store.Generation(key)
		fl := h.newFlight(s, store, target, generation, leader{
			reader: who, askKey: askKey{access: h.access, grantKey: who.grantKey, key: key, generation: generation},
			standing: upstream.Trusted, insists: true, keeps: w.since, ctx: nobody,
		})
		switch err := fl.begin(nil, nil); {
		case errors.Is(err, errOvertaken):
			if err := w.awaitOther(ctx, s.flights.running(key, generation, nil)); err != nil {
				return err
			}
			if _, err := store.Lookup(key); err == nil {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		<-fl.over // a warming that is stopped ends with the files that it fetches
		switch {
		case errors.Is(fl.unstorable, cache.ErrNoSpareRoom):
			return fl.unstorable
		case fl.err != nil:
			return fl.err
		case fl.fill == nil:
			return nil // its bytes were here, under another name
		}
		_, err := fl.fill.Result()
		if errors.Is(err, cache.ErrSuperseded) && ctx.Err() == nil {
			continue // published over meanwhile
		}
		return err
	}
	return errors.New("the file changes faster than it can be fetched")
}

// awaitOther waits for somebody else's flight to end; nil for one that has already.
func (w *warming) awaitOther(ctx context.Context, fl *flight) error {
	if fl == nil {
		return nil
	}
	if !fl.waitHead(ctx) {
		return context.Cause(ctx)
	}
	if fl.fill == nil {
		return nil
	}
	select {
	case <-fl.fill.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
