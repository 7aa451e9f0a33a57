package page

import (
	"net/http"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// projectsPage is which projects are served, and why.
type projectsPage struct {
	frame
	Others, Projects []projectView
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

// showProjects lists which projects are served.
func (p *Page) showProjects(w http.ResponseWriter, r *http.Request) {
	content := projectsPage{frame: p.frame(r, "Projects", "projects"), Upstreams: p.upstreams(r)}
	status := http.StatusOK
	list, err := ask[adminapi.ProjectList](r.Context(), p.edge, http.MethodGet, adminapi.CallProjects, nil, nil)
	if err != nil {
		status, content.Trouble = told(err)
	}
	for _, other := range list.Others {
		content.Others = append(content.Others, projectViewOf(other))
	}
	for _, project := range list.Projects {
		content.Projects = append(content.Projects, projectViewOf(project))
	}
	if list.Warning != "" {
		content.Warning = sentenceOf(list.Warning)
	}
	p.show(w, r, status, "projects", content)
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
