package caddymodule

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// gitlabNames are the names of one GitLab's projects that are known without asking it, by all handlers of a config that
// stand in front of it: what one site's config or token says of names holds for the others too. They never change after
// they are made, but the memories learn.
type gitlabNames struct {
	// groups holds all names that lines of projects put together, by each of them.
	groups map[string][]string
	// told are what GitLab has told, each memory once.
	told []*upstream.AliasMemory
}

// joinNames gathers the names of each GitLab, by its URL.
func joinNames(handlers []*Handler) map[string]*gitlabNames {
	joined := make(map[string]*gitlabNames)
	for _, h := range handlers {
		names := joined[h.client.Upstream()]
		if names == nil {
			names = &gitlabNames{groups: make(map[string][]string)}
			joined[h.client.Upstream()] = names
		}
		for _, group := range h.switches.groups {
			names.join(group)
		}
		if h.aliases != nil && !slices.Contains(names.told, h.aliases.AliasMemory) {
			names.told = append(names.told, h.aliases.AliasMemory)
		}
	}
	return joined
}

// join puts names together, with all that one of them was put together with before.
func (n *gitlabNames) join(group []string) {
	var all []string
	for _, name := range group {
		all = append(append(all, name), n.groups[name]...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, name := range all {
		n.groups[name] = all
	}
}

// knownNames returns all other names of a project that are known without asking anybody, in canonical spelling: by the
// config of any handler of this GitLab, by what GitLab has told any of them, and by the run-time switch that claims the
// project. The order has no meaning. It may be called once the app has started.
func (h *Handler) knownNames(project string) (names []string) {
	add := func(others []string) {
		for _, name := range others {
			if name != project && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	known := h.names()
	told := h.lastTold(project)
	add(told.Others)
	for _, memory := range known.told {
		if other := memory.Last(project); other.ID == told.ID {
			add(other.Others)
		}
	}
	add(known.groups[project])
	// A line of projects has a path, and GitLab told the number that belongs to it. Not the other way round: what GitLab
	// says of a name in the config can be about a project that has taken the path over.
	for _, name := range told.Others {
		add(known.groups[name])
	}
	if said := h.app.switches.of(h.client.Upstream()).Projects[project]; !said.isContradicted(told) {
		add(said.Names)
	}
	return names
}

// names are those of this handler's GitLab.
func (h *Handler) names() *gitlabNames {
	if names := h.app.names[h.client.Upstream()]; names != nil {
		return names
	}
	return new(gitlabNames) // before the start
}

// lastTold returns what GitLab said last of a name: to this handler, else to another one of the same GitLab, if that heard
// which project it is.
func (h *Handler) lastTold(project string) (last upstream.ProjectNames) {
	if h.aliases != nil {
		last = h.aliases.Last(project)
	}
	if last.ID != "" {
		return last
	}
	for _, memory := range h.names().told {
		if other := memory.Last(project); other.ID != "" {
			return other
		}
	}
	return last
}

// namesOf returns all names of a project that any of these handlers knows, or GitLab tells them now, the given one first;
// none for none. The handlers are of one GitLab. The error says why GitLab could not tell them all; the names are those
// known before then.
func namesOf(ctx context.Context, handlers []*Handler, project string) (names []string, err error) {
	if project == "" {
		return nil, nil
	}
	for _, h := range handlers {
		if h.aliases == nil {
			continue
		}
		if _, failed := h.aliases.Ask(ctx, project, upstream.OfAdmin()); failed != nil {
			h.tellAliasTrouble(project, failed)
			err = errors.Join(err, failed)
		}
	}
	names = []string{project}
	for _, h := range handlers {
		for _, name := range h.knownNames(project) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names[1:])
	return names, err
}

// tellAliasTrouble tells the admin that GitLab doesn't say which names belong together, at most once a minute.
func (h *Handler) tellAliasTrouble(project string, err error) {
	h.aliasTrouble.Do(func() {
		h.logger.Warn("GitLab doesn't tell which project a name belongs to; what it said last counts, and a name of which it never "+
			"said anything isn't served while any project is off. Told once a minute", zap.String("project", project), zap.Error(err))
	})
}
