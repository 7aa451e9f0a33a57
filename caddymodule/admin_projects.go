package caddymodule

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

const (
	// maxLearntByList bounds the names of which GitLab is asked for one list; a list can have thousands.
	maxLearntByList = 100
	// namesAtOnce is how many such questions are under way at a time: GitLab has others to serve.
	namesAtOnce = 4
)

// maxListedProjects bounds the list of projects of which files are stored.
const maxListedProjects = 10_000

func (s switchState) sinceOrNil() *time.Time {
	if s.since.IsZero() {
		return nil
	}
	return &s.since
}

// switchOfOthers is the state of projects of which nothing was said.
func (h *Handler) switchOfOthers() switchState {
	if h.app.switches.reading() == switchesUnknown {
		return switchState{from: fromNowhere}
	}
	if all := h.app.switches.of(h.client.Upstream()).All; all != nil {
		return switchState{on: all.On, from: fromRunTimeAll, since: all.Since}
	}
	return switchState{on: h.switches.defaultOn, from: fromDefault}
}

// adminProjects answers GET projects: all that the config names, that were switched at run time, and of which files are
// stored.
func (a *App) adminProjects(r *http.Request) (any, error) {
	if err := readQuery(r, nil); err != nil {
		return nil, err
	}
	handlers, err := a.handlersOf("")
	if err != nil {
		return nil, err
	}
	list := adminapi.ProjectList{Others: []adminapi.ProjectStatus{}, Projects: []adminapi.ProjectStatus{}}
	seen := make(map[string]bool)
	// All questions together: a list of what is known must not wait for a GitLab that hangs, one question after another.
	asking, cancel := context.WithTimeout(r.Context(), a.process.namesPatience)
	defer cancel()
	for _, h := range handlers {
		others := h.switchOfOthers()
		row := adminapi.ProjectStatus{Upstream: h.client.Upstream(), State: others.decision(), From: others.from, Since: others.sinceOrNil()}
		if !slices.ContainsFunc(list.Others, func(other adminapi.ProjectStatus) bool {
			return other.Upstream == row.Upstream && other.State == row.State
		}) {
			list.Others = append(list.Others, row)
		}
		names, err := h.knownProjects(r.Context())
		if err != nil {
			return nil, err
		}
		if !h.learnNames(asking, names) {
			list.Warning = "GitLab could not be asked for all names, so that one project may be listed by several; run this again when it answers api_token"
		}
		for _, project := range names {
			row := h.projectStatus(project)
			// Two handlers of one GitLab can say different things of a project; then both are told.
			key := strings.Join(append(slices.Sorted(slices.Values(append(slices.Clone(row.Names), project))), row.Upstream, row.State, row.From), "\x00")
			if !seen[key] {
				seen[key] = true
				list.Projects = append(list.Projects, row)
			}
		}
	}
	slices.SortStableFunc(list.Projects, func(a, b adminapi.ProjectStatus) int {
		return cmp.Or(cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Project, b.Project))
	})
	return list, nil
}

// knownProjects are the names to list, those that admins used first.
func (h *Handler) knownProjects(ctx context.Context) (names []string, err error) {
	for name, said := range h.app.switches.of(h.client.Upstream()).Projects {
		if said.isFirst(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for name, group := range h.switches.groups {
		if group[0] == name {
			names = append(names, name)
		}
	}
	if store := h.attachment.state.store.Load(); store != nil {
		stored, err := store.Projects(ctx, maxListedProjects)
		if err != nil {
			return nil, err
		}
		for _, project := range stored {
			if project.Upstream == h.client.Upstream() {
				names = append(names, project.Project)
			}
		}
	}
	return names, nil
}

// learnNames asks GitLab about names of which it never said anything, a bounded number of them and a few at a time, as long as it
// answers and ctx lasts. False means that it didn't.
func (h *Handler) learnNames(ctx context.Context, names []string) bool {
	if h.aliases == nil {
		return true
	}
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(namesAtOnce)
	asked := 0
	for _, name := range names {
		if asked == maxLearntByList {
			break
		}
		if h.aliases.Last(name).Answered {
			continue
		}
		asked++
		group.Go(func() error {
			if asking.Err() != nil {
				return asking.Err() // it was in vain for others, or took too long
			}
			_, err := h.aliases.Ask(asking, name, upstream.OfAdmin())
			if err != nil {
				h.tellAliasTrouble(name, err)
			}
			return err
		})
	}
	return group.Wait() == nil
}

// projectStatus tells what is known of a project, and asks nobody.
func (h *Handler) projectStatus(project string) adminapi.ProjectStatus {
	state := h.switchOf(project)
	return adminapi.ProjectStatus{
		Upstream: h.client.Upstream(), Project: project, Names: slices.Sorted(slices.Values(h.knownNames(project))),
		State: state.decision(), From: state.from, Since: state.sinceOrNil(),
	}
}

func (a *App) adminEnable(r *http.Request) (any, error)  { return a.adminSwitch(r, true, false) }
func (a *App) adminDisable(r *http.Request) (any, error) { return a.adminSwitch(r, false, false) }
func (a *App) adminReset(r *http.Request) (any, error)   { return a.adminSwitch(r, false, true) }

// adminSwitch switches a project, or all, on or off, or takes back what was said at run time.
func (a *App) adminSwitch(r *http.Request, on, reset bool) (any, error) {
	var request adminapi.SwitchRequest
	if err := readJSON(r, &request); err != nil {
		return nil, err
	}
	if err := request.Check(); err != nil {
		return nil, badRequest("%w", err)
	}
	handlers, err := a.handlersOfOne(request.Upstream)
	if err != nil {
		return nil, err
	}
	project, err := projectOf(request.Project)
	if _, said := a.switches.of(handlers[0].client.Upstream()).Projects[strings.ToLower(request.Project)]; err != nil && reset && said {
		project, err = strings.ToLower(request.Project), nil // an earlier build took it for a project
	}
	if err != nil {
		return nil, err
	}
	to := &runtimeSwitch{On: on, Since: time.Now().UTC().Truncate(time.Second)}
	if reset {
		to = nil
	}
	if project == "" {
		return a.switchAll(r.Context(), handlers, to)
	}
	return a.switchProject(r.Context(), handlers, project, to)
}

// switchProject switches a project by all its names, or takes back what was said of it if to is nil.
func (a *App) switchProject(ctx context.Context, handlers []*Handler, project string, to *runtimeSwitch) (any, error) {
	h := handlers[0]
	names, notTold := namesOf(ctx, handlers, project)
	if to != nil {
		to.Names = names
	}
	before, after, err := a.switches.change(ctx, h.client.Upstream(), func(said *runtimeSwitches) { said.say(names, to) })
	if err != nil {
		return nil, err
	}
	a.tellSwitched(before, after)
	answer := adminapi.SwitchAnswer{ProjectStatus: h.projectStatus(project)}
	answer.Names = names[1:]
	was := before.Upstreams[h.client.Upstream()]
	warnings := switchWarnings(project, names, notTold)
	if to == nil {
		warnings = resetWarnings(was, names, notTold)
	}
	for _, name := range passedOn(was, project, names) {
		warnings = append(warnings, "GitLab says that "+project+" belongs to another project than "+name+", of which this was said before; "+
			name+" stays as it was")
	}
	answer.Warning = strings.Join(warnings, "; ")
	return answer, nil
}

// switchWarnings tell an admin who switched a project for which of its names that may not hold.
func switchWarnings(project string, names []string, notTold error) (warnings []string) {
	if len(names) == 1 {
		warnings = append(warnings, "no other name of "+project+" is known, so this holds for no other; say it of each of its names, "+
			"or let api_token or a line of projects tell which belong together")
	}
	if notTold != nil {
		warnings = append(warnings, "GitLab could not be asked for the names that it alone knows, and they aren't covered; "+
			"run this again when it answers api_token")
	}
	return warnings
}

// resetWarnings tell an admin who took back what was said of a project, by these of its names, that there was nothing to take
// back, or that something may be left. If nothing was said of other projects, nothing is left, however few names are known.
func resetWarnings(was *runtimeSwitches, names []string, notTold error) (warnings []string) {
	said, left := 0, 0
	if was != nil {
		for name := range was.Projects {
			if slices.Contains(names, name) {
				said++
			} else {
				left++
			}
		}
	}
	if said == 0 {
		warnings = append(warnings, "nothing was said of "+names[0]+" at run time, so nothing has changed")
	}
	if left > 0 && (len(names) == 1 || notTold != nil) {
		warnings = append(warnings, "not all names of "+names[0]+" are known; if it was switched by another one, reset that too (see projects)")
	}
	return warnings
}

// passedOn are the other names that a switch claimed together with a project's, and that aren't this project's any more.
func passedOn(before *runtimeSwitches, project string, names []string) (left []string) {
	if before == nil {
		return nil
	}
	for _, name := range before.Projects[project].Names {
		if !slices.Contains(names, name) {
			left = append(left, name)
		}
	}
	return left
}

// switchAll switches all projects of which nothing else was said at run time, or takes back what was said of all if to is
// nil.
func (a *App) switchAll(ctx context.Context, handlers []*Handler, to *runtimeSwitch) (any, error) {
	h := handlers[0]
	known := h.client.Upstream()
	before, after, err := a.switches.change(ctx, known, func(said *runtimeSwitches) { said.All = to })
	if err != nil {
		return nil, err
	}
	a.tellSwitched(before, after)
	others := h.switchOfOthers()
	answer := adminapi.SwitchAnswer{ProjectStatus: adminapi.ProjectStatus{Upstream: known, State: others.decision(), From: others.from, Since: others.sinceOrNil()}}
	if was := before.Upstreams[known]; to == nil && (was == nil || was.All == nil) {
		answer.Warning = "nothing was said of all projects at run time, so nothing has changed"
	}
	for name, said := range a.switches.of(known).Projects {
		if said.isFirst(name) {
			answer.Kept = append(answer.Kept, h.projectStatus(name))
		}
	}
	slices.SortFunc(answer.Kept, func(a, b adminapi.ProjectStatus) int { return cmp.Compare(a.Project, b.Project) })
	return answer, nil
}

// projectOf reads a project as admins spell it; empty for none.
func projectOf(spelling string) (string, error) {
	if spelling == "" {
		return "", nil
	}
	project, err := upstream.ParseProject(spelling)
	if err != nil {
		return "", badRequest("%q is no project; write its id or its path, such as 24 or group/app", spelling)
	}
	return project, nil
}
