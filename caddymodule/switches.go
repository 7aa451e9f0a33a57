package caddymodule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// configSwitches tell which projects the config says are on. They never change after they are made.
type configSwitches struct {
	defaultOn bool
	// named holds what the config says of single projects, by canonical spelling. All names of a project are in it, and
	// all of them stand together in groups.
	named  map[string]bool
	groups map[string][]string
}

func newConfigSwitches(config *Projects) (*configSwitches, error) {
	s := &configSwitches{defaultOn: true, named: make(map[string]bool), groups: make(map[string][]string)}
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
func (s *configSwitches) name(names []string, on bool) error {
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
	// fromNowhere: the run-time switches can't be read, and nobody knows what they said.
	fromNowhere = "run-time switches can't be read"
)

// switchState is whether a project is served, and why.
type switchState struct {
	on   bool
	from string
	// since is when it was said at run time; zero for the config's word.
	since time.Time
	// certainty is whether GitLab has yet to say something before this can be relied on.
	certainty nameCertainty
}

// nameCertainty is whether GitLab is to be asked which project a name belongs to.
type nameCertainty int

const (
	// nothingToAsk: what is known decides.
	nothingToAsk nameCertainty = iota
	// askAnew: what GitLab said last decides, and is old.
	askAnew
	// undecided: GitLab never said to which project the name belongs, and its answer could make of on off, or of off on.
	undecided
)

// decision is the state as a word: on, off, or undecided.
func (s switchState) decision() string {
	if s.certainty == undecided || s.from == fromNowhere {
		return "undecided"
	}
	return onOff(s.on)
}

// isOff reports whether a project is off, whatever GitLab may say yet.
func (s switchState) isOff() bool { return !s.on && s.certainty != undecided }

// switchOf returns whether a project is served, as far as that is known without asking anybody. What was said at run time
// wins over the config: of the project first, then of all. What is said of one of its names holds for all of them, as far
// as they are known (knownNames).
func (h *Handler) switchOf(project string) switchState {
	if h.app.switches.reading() == switchesUnknown {
		return switchState{from: fromNowhere}
	}
	said := h.app.switches.of(h.client.Upstream())
	if len(said.Projects) == 0 && (said.All != nil || len(h.switches.named) == 0) {
		return h.switchOfOthers() // all are alike, so names don't matter
	}
	told := h.lastTold(project)
	if s, ok := said.Projects[project]; ok && !s.hasPassedOn(told) {
		state := switchState{on: s.On, from: fromRunTime, since: s.Since}
		if h.couldHavePassedOn(project, said, s) {
			state.certainty = askAnew
		}
		return state
	}
	names := h.knownNames(project)
	state, named := h.switchOfOthers(), false
	if s, ok := said.latestOf(names, told); ok {
		state, named = switchState{on: s.On, from: fromRunTime, since: s.Since}, true
	} else if said.All == nil {
		var on bool
		if on, named = h.switches.of(project, names); named {
			state = switchState{on: on, from: fromConfig}
		}
	}
	if h.aliases == nil || project == "" || !h.couldDiffer(said, state.on, named) {
		return state
	}
	switch {
	case !told.Answered:
		state.certainty = undecided
	case h.aliases.IsDue(project):
		state.certainty = askAnew
	}
	return state
}

// of returns what the config says of a project: of this name, else of the others.
func (s *configSwitches) of(project string, others []string) (on, named bool) {
	if on, named = s.named[project]; named {
		return on, true
	}
	for _, name := range others {
		if on, named = s.named[name]; named {
			return on, true
		}
	}
	return false, false
}

// couldDiffer reports whether a further name of a project could make its state another one. What is said of the project at
// run time can't be outdone by the config's word.
func (h *Handler) couldDiffer(said *runtimeSwitches, on, named bool) bool {
	for _, s := range said.Projects {
		if s.On != on {
			return true
		}
	}
	if said.All != nil || named {
		return false
	}
	for _, other := range h.switches.named {
		if other != on {
			return true
		}
	}
	return false
}

// latestOf returns what was said last of any of these names. Of two that were said in one second, off wins.
func (r *runtimeSwitches) latestOf(names []string, told upstream.ProjectNames) (latest runtimeSwitch, ok bool) {
	for _, name := range names {
		s, said := r.Projects[name]
		if !said || s.hasPassedOn(told) {
			continue
		}
		if !ok || s.Since.After(latest.Since) || (s.Since.Equal(latest.Since) && !s.On) {
			latest, ok = s, true
		}
	}
	return latest, ok
}

// isContradicted reports whether GitLab says that a name belongs to another project than a switch was said of: a path has
// passed from one project to another.
func (r runtimeSwitch) isContradicted(told upstream.ProjectNames) bool {
	return told.ID != "" && slices.ContainsFunc(r.Names, isProjectNumber) && !slices.Contains(r.Names, told.ID)
}

// hasPassedOn reports whether a switch doesn't hold for a name any more. Off holds until it is taken back, whoever has the
// path now. On doesn't: nobody has switched on the project that has it now.
func (r runtimeSwitch) hasPassedOn(told upstream.ProjectNames) bool {
	return r.On && r.isContradicted(told)
}

// couldHavePassedOn reports whether GitLab is to be asked if a path that was switched on still belongs to that project. The
// switch holds until GitLab says that it doesn't.
func (h *Handler) couldHavePassedOn(project string, said *runtimeSwitches, s runtimeSwitch) bool {
	return s.On && h.aliases != nil && !isProjectNumber(project) &&
		(!h.switchOfOthers().on || h.couldDiffer(said, true, false)) && h.aliases.IsDue(project)
}

// isProjectNumber reports whether a canonical name is a project's number.
func isProjectNumber(name string) bool { return strings.Trim(name, "0123456789") == "" }

// tellSwitched tells the log and Caddy's events app what has changed.
func (a *App) tellSwitched(before, after *storedSwitches) {
	for _, change := range before.changes(after) {
		state := "config"
		if change.to != nil {
			state = onOff(change.to.On)
		}
		a.switches.logger.Info("projects were switched at run time", zap.String("upstream", change.upstream), zap.String("project", change.project),
			zap.Strings("names", change.names), zap.String("state", state))
		a.events.tell(eventSwitched, map[string]any{"upstream": change.upstream, "project": change.project, "state": state})
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
