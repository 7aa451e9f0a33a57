package caddymodule

import (
	"context"
	"net/http"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// adminPurge answers POST purge. All names of the project count, as far as they are known.
func (a *App) adminPurge(r *http.Request) (any, error) {
	var request adminapi.PurgeRequest
	if err := readJSON(r, &request); err != nil {
		return nil, err
	}
	if err := request.Check(); err != nil {
		return nil, badRequest("%w", err)
	}
	var answer adminapi.PurgeAnswer
	if request.Grants {
		return a.forgetGrants(r.Context(), request)
	}
	sources, names, err := a.entrySources(r, cache.Selector{
		Upstream: request.Upstream, Project: request.Project, Package: request.Package, Version: request.Version, File: request.File,
	})
	if err != nil {
		return nil, err
	}
	answer.Names, answer.Warning = names.others, names.warning
	if request.DryRun {
		return previewPurge(r.Context(), request, sources, answer)
	}
	for _, source := range sources {
		if request.Soft {
			softened, err := source.soften(r.Context())
			answer.Entries += softened
			if err != nil {
				return nil, err
			}
			continue
		}
		purged, err := source.store.PurgeTelling(r.Context(), source.selector, source.sharedObjectsInto(&answer))
		answer.Entries += purged.Entries
		answer.Bytes += purged.Bytes
		answer.HeldBytes += purged.Held
		if err != nil {
			return nil, err
		}
	}
	a.switches.logger.Info("files were purged", zap.String("project", request.Project), zap.String("package", request.Package),
		zap.String("version", request.Version), zap.String("file", request.File), zap.Bool("soft", request.Soft),
		zap.Int("entries", answer.Entries), zap.Int64("bytes", answer.Bytes))
	return answer, nil
}

// previewPurge is the answer of a purge that removes nothing.
func previewPurge(ctx context.Context, request adminapi.PurgeRequest, sources []entrySource, answer adminapi.PurgeAnswer) (any, error) {
	if request.Soft {
		for _, source := range sources {
			entries, err := source.store.CountSelected(ctx, source.selector)
			if err != nil {
				return nil, err
			}
			answer.Entries += entries
		}
		return answer, nil
	}
	// A store's selections together: a content may be named by several, and goes with the last.
	for len(sources) > 0 {
		first := sources[0]
		var selectors []cache.Selector
		for len(sources) > 0 && sources[0].state == first.state {
			selectors = append(selectors, sources[0].selector)
			sources = sources[1:]
		}
		found, err := first.store.PreviewPurge(ctx, selectors, first.sharedObjectsInto(&answer))
		if err != nil {
			return nil, err
		}
		answer.Entries += found.Entries
		answer.Bytes += found.Bytes
		answer.HeldBytes += found.Held
	}
	return answer, nil
}

// maxSharedObjects bounds the objects that an answer names.
const maxSharedObjects = 10_000

// sharedObjectsInto returns a function that names the objects of the shared store with bytes that were purged here, for those who
// must have them gone.
func (s entrySource) sharedObjectsInto(answer *adminapi.PurgeAnswer) func(cache.Digest, int64) {
	h := s.state.shares()
	return func(digest cache.Digest, size int64) {
		switch {
		case h == nil || !h.shared.takes(size):
		case len(answer.SharedObjects) == maxSharedObjects:
			answer.FurtherSharedObjects++
		default:
			answer.SharedObjects = append(answer.SharedObjects, h.shared.ObjectURL(bucket.SHA256(digest)))
		}
	}
}

// soften marks a source's entries as stale, those on their way in too: these first, since they are entries by the time
// that they aren't on their way any more. A fetch that is under way goes on for its callers, and isn't kept (cache/generation.go).
func (s entrySource) soften(ctx context.Context) (int, error) {
	for _, key := range s.state.flights.keys() {
		if s.selector.Matches(key) {
			s.store.Raise(key, cache.SoftPurged)
		}
	}
	return s.store.Soften(ctx, s.selector)
}

// forgetGrants forgets whom GitLab allowed what, or only counts that.
func (a *App) forgetGrants(ctx context.Context, request adminapi.PurgeRequest) (any, error) {
	handlers, err := a.handlersOf(request.Upstream)
	if err != nil {
		return nil, err
	}
	project, err := projectOf(request.Project)
	if err != nil {
		return nil, err
	}
	drop := func(s *state, upstream, name string) int { return s.grants.Forget(upstream, name, s.now()) }
	if request.DryRun {
		drop = func(s *state, upstream, name string) int { return s.grants.Count(upstream, name) }
	}
	var answer adminapi.PurgeAnswer
	for _, known := range upstreamsOf(handlers) {
		names, _ := namesOf(ctx, handlersFor(handlers, known), project)
		if project == "" {
			names = []string{""}
		}
		for _, state := range statesOf(handlersFor(handlers, known)) {
			for _, name := range names {
				answer.Grants += drop(state, known, name)
			}
		}
	}
	if request.DryRun {
		return answer, nil
	}
	a.switches.logger.Info("grants were forgotten", zap.String("project", project), zap.Int("grants", answer.Grants))
	return answer, nil
}
