package caddymodule

import (
	"context"
	"net/http"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// purgeRequest is the body of POST purge. It names a project, and from the left to the right as much more as it is to be
// about; or all. A field that is missing at the right end means all of it; an empty one, or null, is refused (readJSON).
type purgeRequest struct {
	// Upstream restricts the purge to one GitLab; all if it is left out.
	Upstream string `json:"upstream,omitempty"`
	Project  string `json:"project,omitempty"`
	Package  string `json:"package,omitempty"`
	Version  string `json:"version,omitempty"`
	File     string `json:"file,omitempty"`
	// All purges everything. It must be said, so that a forgotten field doesn't.
	All bool `json:"all,omitempty"`
	// Soft marks files as stale instead of removing them: GitLab is asked before they are served again.
	Soft bool `json:"soft,omitempty"`
	// Grants forgets whom GitLab allowed what, of a project or of all, instead of removing files: each caller is asked
	// about anew.
	Grants bool `json:"grants,omitempty"`
}

// purgeAnswer is the answer: how many entries were removed or marked, how many bytes became free, and how many grants
// were forgotten.
type purgeAnswer struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"`
	Grants  int   `json:"grants"`
}

func (p purgeRequest) check() error {
	switch {
	case p.All && p.Project+p.Package+p.Version+p.File != "":
		return badRequest("either all, or a project; not both")
	case !p.All && p.Project == "":
		return badRequest("what is to be purged? Name a project, and its package, version and file if you like; or say all")
	case p.Package == "" && p.Version+p.File != "", p.Version == "" && p.File != "":
		return badRequest("a version needs its package, and a file its version")
	case p.Grants && (p.Soft || p.Package != ""):
		return badRequest("grants are those of a project or of all, and can't be soft")
	}
	return nil
}

// adminPurge answers POST purge. All names of the project count, as far as they are known.
func (a *App) adminPurge(r *http.Request) (any, error) {
	var request purgeRequest
	if err := readJSON(r, &request); err != nil {
		return nil, err
	}
	if err := request.check(); err != nil {
		return nil, err
	}
	var answer purgeAnswer
	if request.Grants {
		return a.forgetGrants(r.Context(), request)
	}
	sources, err := a.entrySources(r, cache.Selector{
		Upstream: request.Upstream, Project: request.Project, Package: request.Package, Version: request.Version, File: request.File,
	})
	if err != nil {
		return nil, err
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
		purged, err := source.store.Purge(r.Context(), source.selector)
		answer.Entries += purged.Entries
		answer.Bytes += purged.Bytes
		if err != nil {
			return nil, err
		}
	}
	a.switches.logger.Info("purged", zap.String("project", request.Project), zap.String("package", request.Package),
		zap.String("version", request.Version), zap.String("file", request.File), zap.Bool("soft", request.Soft),
		zap.Int("entries", answer.Entries), zap.Int64("bytes", answer.Bytes))
	return answer, nil
}

// soften marks a source's entries as stale, those on their way in too: these first, since they are entries by the time
// that they aren't on their way any more.
func (s entrySource) soften(ctx context.Context) (int, error) {
	for _, state := range statesInUse() {
		if state.store.Load() != s.store {
			continue
		}
		for _, key := range state.flights.keys() {
			if s.selector.Matches(key) {
				s.store.Raise(key, cache.SoftPurged)
			}
		}
	}
	return s.store.Soften(ctx, s.selector)
}

// forgetGrants forgets whom GitLab allowed what.
func (a *App) forgetGrants(ctx context.Context, request purgeRequest) (any, error) {
	handlers, err := a.handlersOf(request.Upstream)
	if err != nil {
		return nil, err
	}
	project, err := projectOf(request.Project)
	if err != nil {
		return nil, err
	}
	var answer purgeAnswer
	for _, known := range upstreamsOf(handlers) {
		names, _ := namesOf(ctx, handlersFor(handlers, known), project)
		if project == "" {
			names = []string{""}
		}
		for _, state := range statesOf(handlersFor(handlers, known)) {
			for _, name := range names {
				answer.Grants += state.grants.Forget(known, name, state.now())
			}
		}
	}
	a.switches.logger.Info("grants were forgotten", zap.String("project", project), zap.Int("grants", answer.Grants))
	return answer, nil
}

// keys are those of the running flights.
func (f *flights) keys() []cache.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := make([]cache.Key, 0, len(f.byKey))
	for key := range f.byKey {
		keys = append(keys, key)
	}
	return keys
}
