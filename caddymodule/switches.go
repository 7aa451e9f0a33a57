package caddymodule

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// switches tell which projects the config says are on. They never change after they are made.
type switches struct {
	defaultOn bool
	// named holds what the config says of single projects, by canonical spelling. All names of a project are in it, and
	// all of them stand together in groups.
	named  map[string]bool
	groups map[string][]string
}

func newSwitches(config *Projects) (*switches, error) {
	s := &switches{defaultOn: true, named: make(map[string]bool), groups: make(map[string][]string)}
	if config == nil {
		return s, nil
	}
	switch config.Default {
	case "", "on":
	case "off":
		s.defaultOn = false
	default:
		return nil, fmt.Errorf("projects are on or off by default, not %q", config.Default)
	}
	for _, group := range []struct {
		projects [][]string
		on       bool
	}{{config.On, true}, {config.Off, false}} {
		for _, names := range group.projects {
			if err := s.name(names, group.on); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// name enters all names of one project.
func (s *switches) name(names []string, on bool) error {
	group := make([]string, 0, len(names))
	for _, spelling := range names {
		project, err := upstream.ParseProject(spelling)
		if err != nil {
			return fmt.Errorf("projects: %q is no project id or path: %w", spelling, err)
		}
		if _, repeated := s.named[project]; repeated {
			return fmt.Errorf("projects: %q is named twice", spelling)
		}
		s.named[project] = on
		group = append(group, project)
	}
	for _, project := range group {
		s.groups[project] = group
	}
	return nil
}

// Where a project's state comes from.
const (
	fromRunTime    = "run time"
	fromConfig     = "config"
	fromRunTimeAll = "run time, for all"
	fromDefault    = "config's default"
)

// switchState is whether a project is served, and why.
type switchState struct {
	on   bool
	from string
	// since is when it was said at run time; zero for the config's word.
	since time.Time
}

// isOn reports whether a project is served.
func (h *Handler) isOn(ctx context.Context, project string) bool { return h.stateOf(ctx, project).on }

// stateOf returns whether a project is served. What was said at run time wins over the config: of the project first, then
// of all. What is said of one of its names holds for all of them, as far as they are known: by the config, and by GitLab
// where an api_token is set. When GitLab can't say, the name alone counts.
func (h *Handler) stateOf(ctx context.Context, project string) switchState {
	said := h.app.switches.of(h.client.Upstream())
	if s, ok := said.Projects[project]; ok {
		return switchState{s.On, fromRunTime, s.Since}
	}
	configured, named := h.switches.named[project]
	if len(said.Projects) > 0 || (said.All == nil && !named && len(h.switches.named) > 0) {
		names := h.otherNames(ctx, project)
		if s, ok := said.latestOf(names); ok {
			return switchState{s.On, fromRunTime, s.Since}
		}
		for _, name := range names {
			if !named {
				configured, named = h.switches.named[name]
			}
		}
	}
	switch {
	case said.All != nil:
		return switchState{said.All.On, fromRunTimeAll, said.All.Since}
	case named:
		return switchState{on: configured, from: fromConfig}
	}
	return switchState{on: h.switches.defaultOn, from: fromDefault}
}

// latestOf returns what was said last of any of these names.
func (r *runtimeSwitches) latestOf(names []string) (latest runtimeSwitch, ok bool) {
	for _, name := range names {
		if s, said := r.Projects[name]; said && (!ok || s.Since.After(latest.Since)) {
			latest, ok = s, true
		}
	}
	return latest, ok
}

// otherNames returns the other names of a project that the config or GitLab knows. An id that could not be read has
// none.
func (h *Handler) otherNames(ctx context.Context, project string) (names []string) {
	for _, name := range h.switches.groups[project] {
		if name != project {
			names = append(names, name)
		}
	}
	if h.aliases == nil || project == "" {
		return names
	}
	known, err := h.aliases.Names(ctx, project)
	if err != nil {
		h.aliasTrouble.Do(func() {
			h.logger.Warn("other names of a project can't be found out; its switch counts by this name alone. Told once a minute",
				zap.String("project", project), zap.Error(err))
		})
	}
	return append(names, known...)
}

// tellSwitched tells the log and Caddy's events app what has changed.
func (a *App) tellSwitched(before, after *storedSwitches) {
	for _, change := range before.changes(after) {
		state := "config"
		if change.to != nil {
			state = onOff(change.to.On)
		}
		a.switches.logger.Info("switched at run time", zap.String("upstream", change.upstream), zap.String("project", change.project),
			zap.String("state", state))
		a.events.tell(eventSwitched, map[string]any{"upstream": change.upstream, "project": change.project, "state": state})
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
