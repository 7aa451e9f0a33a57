package caddymodule

import (
	"cmp"
	"context"
	"errors"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// fetch asks GitLab for a flight's file. Where an earlier fetch broke off for good and what had arrived is kept, it asks for the
// rest; the flight has a fill then that goes on from there. GitLab's answer is this caller's either way: it must be a yes, and
// name the very content of what is kept.
func (h *Handler) fetch(ctx context.Context, fl *flight, store *cache.Store, caller upstream.Caller, ref upstream.Ref) (*upstream.Download, error) {
	kept := store.TakeBeginning(fl.key, fl.generation)
	if kept == nil {
		return h.client.Fetch(ctx, caller, ref)
	}
	body, err := h.client.FetchRest(ctx, caller, ref, kept.Size(), upstream.Identity(kept.Identity()))
	switch {
	case errors.Is(err, upstream.ErrChanged):
		kept.Drop()
		return h.client.Fetch(ctx, caller, ref)
	case err != nil:
		kept.PutBack() // for somebody else, or for later
		return nil, err
	}
	body.Disposition = cmp.Or(body.Disposition, kept.Disposition())
	spec := specOf(body)
	if fl.fill, err = store.Continue(kept, fl.generation, spec); err != nil {
		fl.fill = nil
		_ = body.Close()
		return h.client.Fetch(ctx, caller, ref)
	}
	body.Verified = !spec.SHA256.IsZero() // by Commit
	return body, nil
}

// endFill ends the fill of a fetch that came to nothing, or of one that is committed, and reports whether what has arrived is
// kept for the next fetch to go on from. That needs a name of its content which nothing else can have; and of a file that has
// changed nobody wants the rest.
func (f *flight) endFill(err error) (kept bool) {
	if err == nil || !f.identity.IsExact() || errors.Is(err, upstream.ErrChanged) {
		f.fill.Abort(err)
		return false
	}
	return f.fill.Leave(err)
}
