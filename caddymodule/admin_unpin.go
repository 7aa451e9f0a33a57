package caddymodule

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// adminUnpin answers POST unpin. All names of the project count, as far as they are known.
func (a *App) adminUnpin(r *http.Request) (any, error) {
	var request adminapi.UnpinRequest
	if err := readJSON(r, &request); err != nil {
		return nil, err
	}
	if err := request.Check(); err != nil {
		return nil, badRequest("%w", err)
	}
	sources, names, err := a.entrySources(r, cache.Selector{
		Upstream: request.Upstream, Project: request.Project, Package: request.Package, Version: request.Version, File: request.File,
	})
	if err != nil {
		return nil, err
	}
	answer := adminapi.UnpinAnswer{Names: names.others, Warning: names.warning}
	for _, source := range sources {
		pins, err := source.store.Unpin(r.Context(), source.selector)
		answer.Pins += pins
		if err != nil {
			return nil, err
		}
	}
	a.switches.logger.Info("files were unpinned", zap.String("project", request.Project), zap.String("package", request.Package),
		zap.String("version", request.Version), zap.String("file", request.File), zap.Int("pins", answer.Pins))
	return answer, nil
}
