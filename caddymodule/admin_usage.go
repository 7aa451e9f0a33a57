package caddymodule

import (
	"context"
	"net/http"
	"slices"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// adminUsage answers GET usage.
func (a *App) adminUsage(r *http.Request) (any, error) {
	if err := readQuery(r, nil); err != nil {
		return nil, err
	}
	usage, err := a.usage.of(r.Context(), a.process.clock, a.sumUsage)
	if err != nil {
		return nil, err
	}
	// The lists are everybody's who asks within the pause.
	answer := *usage
	answer.Projects, answer.MostUsed, answer.Largest = slices.Clone(usage.Projects), slices.Clone(usage.MostUsed), slices.Clone(usage.Largest)
	for i := range answer.Projects {
		answer.Projects[i].Packages = slices.Clone(answer.Projects[i].Packages)
	}
	return answer, nil
}

// sumUsage puts the usage of all directories together.
func (a *App) sumUsage(ctx context.Context) (adminapi.Usage, error) {
	handlers, err := a.handlersOf("")
	if err != nil {
		return adminapi.Usage{}, err
	}
	var sources []*usageSource
	for _, state := range statesOf(handlers) {
		store, err := storeOf(state)
		if err != nil {
			return adminapi.Usage{}, err
		}
		sources = append(sources, &usageSource{directory: state.directory, store: store})
	}
	usage, err := sumUsage(ctx, sources)
	usage.At = a.process.clock().UTC()
	return usage, err
}
