package caddymodule

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// switches tell which projects are on. They never change after they are made; a request sees one set of them whole.
type switches struct {
	defaultOn bool
	// named holds what the config says of single projects, by canonical spelling. All names of a project are in it.
	named map[string]bool
}

func newSwitches(config *Projects) (*switches, error) {
	s := &switches{defaultOn: true, named: make(map[string]bool)}
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
	for _, spelling := range names {
		project, err := upstream.ParseProject(spelling)
		if err != nil {
			return fmt.Errorf("projects: %q is no project id or path: %w", spelling, err)
		}
		if _, repeated := s.named[project]; repeated {
			return fmt.Errorf("projects: %q is named twice", spelling)
		}
		s.named[project] = on
	}
	return nil
}

// of returns what the config says of a project by this very name.
func (s *switches) of(project string) (on, named bool) {
	on, named = s.named[project]
	return on, named
}

// isOn reports whether a project is served. What is said of one of its names holds for all of them, as far as they
// are known: by the config, and by GitLab where an api_token is set. When GitLab can't say, the name alone counts.
func (h *Handler) isOn(ctx context.Context, project string) bool {
	if on, named := h.switches.of(project); named {
		return on
	}
	// An id that could not be read has no other names, and is refused as soon as we are back.
	if h.aliases != nil && len(h.switches.named) > 0 && project != "" {
		names, err := h.aliases.Names(ctx, project)
		if err != nil {
			h.aliasTrouble.Do(func() {
				h.logger.Warn("other names of a project can't be found out; its switch counts by this name alone. Told once a minute",
					zap.String("project", project), zap.Error(err))
			})
		}
		for _, name := range names {
			if on, named := h.switches.of(name); named {
				return on
			}
		}
	}
	return h.switches.defaultOn
}
