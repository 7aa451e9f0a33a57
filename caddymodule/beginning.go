package caddymodule

import (
	"context"
	"errors"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// takeBeginning takes what has arrived of the flight's file in an earlier fetch that broke off for good; nil if there is nothing.
func (f *flight) takeBeginning() *cache.Beginning { return f.store.TakeBeginning(f.key, f.generation) }

// fetchRemainder is fetch where a beginning of the file is kept: GitLab is asked for the remainder, and the flight has a fill then
// that goes on from there. Where that can't be had, all of the file is asked for.
func (f *flight) fetchRemainder(ctx context.Context, kept *cache.Beginning) (*upstream.Download, error) {
	client, caller := f.h.client, f.leader.caller
	body, err := client.FetchRemainder(ctx, caller, f.ref, kept.Progress().(upstream.Progress))
	switch {
	case errors.Is(err, upstream.ErrChanged), isAnswered(err):
		// The file is another one, or this caller is refused, or its rest alone can't be had: the whole of it tells.
		if body, err = client.Fetch(ctx, caller, f.ref); err != nil {
			kept.PutBack()
		} else {
			kept.Drop()
		}
		return body, err
	case err != nil:
		kept.PutBack() // for somebody else, or for later
		return nil, err
	case body.Offset() == 0:
		kept.Drop() // all of the file comes
		return body, nil
	}
	f.kept = body.Offset()
	f.expectSum(body) // the rest is of what the location has given before
	if f.fill, err = f.store.Continue(kept, f.generation, f.specOf(body)); err != nil {
		f.fill, f.kept = nil, 0
		_ = body.Close()
		return client.Fetch(ctx, caller, f.ref)
	}
	body.Verified = body.SHA256() != "" // by Commit
	return body, nil
}

// endFill ends the fill of a fetch that came to nothing, or of one that is committed, and reports whether what has arrived is
// kept for the next fetch to go on from. That needs a name of its content which nothing else can have; of a file that has changed
// nobody wants the rest, and one whose sum is wrong is begun anew.
func (f *flight) endFill(body *upstream.Download, err error) (kept bool) {
	progress := body.Progress()
	// What came from a shared store wasn't compared with anything yet, and the next fill mightn't know with what to compare it.
	if err == nil || body.CameFromElsewhere() || errors.Is(err, upstream.ErrChanged) || errors.Is(err, cache.ErrChecksum) ||
		!progress.IsExact() || progress.Offset() != f.fill.Written() {
		f.fill.Abort(err)
		return false
	}
	return f.fill.Leave(err, progress)
}

// isAnswered reports whether a server error was answered to who asked for a rest: all of the file may come.
func isAnswered(err error) bool {
	trouble, ok := errors.AsType[*upstream.UnreachableError](err)
	return ok && trouble.Status != 0
}
