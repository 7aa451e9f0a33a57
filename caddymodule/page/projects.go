package page

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// projectsPage is which projects are served, and why.
type projectsPage struct {
	frame
	// Asked is a part of the names of the projects that are meant; empty for all.
	Asked            string
	Others, Projects []projectView
	// More says how many further projects there are.
	More             string
	Upstreams        []string
	Warning, Trouble string
}

// projectView is a project, or all others of a GitLab, as a page shows it.
type projectView struct {
	adminapi.ProjectStatus
	Mood  string
	Since moment
}

// IsOff and IsSet say whether the project is off, and whether an admin said so at run time.
func (v projectView) IsOff() bool { return v.State == "off" }

func (v projectView) IsSet() bool { return v.From == "run time" || v.From == "run time, for all" }

func projectViewOf(project adminapi.ProjectStatus) projectView {
	mood := map[string]string{"on": moodGood, "off": moodIdle}[project.State]
	if mood == "" {
		mood = moodWarn
	}
	return projectView{project, mood, momentOf(project.Since)}
}

// listedProjects is how many projects the page lists; whoever looks for another one searches.
const listedProjects = 200

// showProjects lists which projects are served.
func (p *Page) showProjects(w http.ResponseWriter, r *http.Request) {
	content := projectsPage{frame: p.frame(r, "Projects", "projects"), Upstreams: p.upstreams(r), Asked: strings.TrimSpace(r.URL.Query().Get(parameterSearch))}
	status := http.StatusOK
	list, err := ask[adminapi.ProjectList](r.Context(), p.edge, http.MethodGet, adminapi.CallProjects, nil, nil)
	if err != nil {
		status, content.Trouble = told(err)
	}
	for _, other := range list.Others {
		content.Others = append(content.Others, projectViewOf(other))
	}
	meant := slices.DeleteFunc(list.Projects, func(project adminapi.ProjectStatus) bool { return !isCalled(project, content.Asked) })
	// What somebody has switched comes before what is as the config says.
	slices.SortStableFunc(meant, func(a, b adminapi.ProjectStatus) int { return cmp.Compare(rankOf(a), rankOf(b)) })
	for _, project := range meant[:min(len(meant), listedProjects)] {
		content.Projects = append(content.Projects, projectViewOf(project))
	}
	content.More = moreText(len(meant)-len(content.Projects), "project", "projects")
	if list.Warning != "" {
		content.Warning = sentenceOf(list.Warning)
	}
	p.show(w, r, status, "projects", content)
}

// isCalled reports whether a text is a part of one of a project's names, whatever its case.
func isCalled(project adminapi.ProjectStatus, text string) bool {
	return slices.ContainsFunc(append([]string{project.Project}, project.Names...), func(name string) bool {
		return strings.Contains(strings.ToLower(name), strings.ToLower(text))
	})
}

func rankOf(project adminapi.ProjectStatus) int {
	if projectViewOf(project).IsSet() {
		return 0
	}
	return 1
}

// actionsPage has a form for each thing that can be done by hand.
type actionsPage struct {
	frame
	Upstreams []string
	Activity  activityView
	Trouble   string
}

// showActions shows the forms.
func (p *Page) showActions(w http.ResponseWriter, r *http.Request) {
	content := actionsPage{frame: p.frame(r, "What to do", "actions"), Upstreams: p.upstreams(r)}
	activity, err := p.askActivity(r.Context())
	if err != nil {
		_, content.Trouble = told(err)
	}
	content.Activity = activityOf(activity, p.now())
	p.show(w, r, http.StatusOK, "actions", content)
}
