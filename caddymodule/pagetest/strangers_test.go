package pagetest

import (
	"net/http"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// evilPath is a project's path that the edge takes for one, as the stand-in does. GitLab itself has no such projects, and no package or
// file can be called so.
const evilPath = `"><img/src=x/onerror=window.hacked=1>/<script>window.hacked=1</script>`

// TestAProjectOfARealEdgeCanBeCalledAnything has strangers choose names that are markup: of a project that is known, stored, on its way in,
// refused and switched, and of one to which nobody held a yes.
func TestAProjectOfARealEdgeCanBeCalledAnything(t *testing.T) {
	v := visitor{openBrowser(t, desktop), startRealEdge(t, "")}
	gitlab := v.edge.gitlab
	const evil = 66
	gitlab.AddProject(gitlabtest.Project{ID: evil, Path: evilPath, Visibility: gitlabtest.Private})
	gitlab.SetRole(developer, evil, gitlabtest.Developer)
	gitlab.SetRole(jobToken, evil, gitlabtest.Developer)
	v.edge.publish(t, evilPath, published, content)
	if status, _ := v.edge.get(t, evilPath, published, developer); status != http.StatusOK {
		t.Fatal(status)
	}
	v.edge.get(t, evilPath, published, outsider)
	v.edge.get(t, evilPath+"/<b>unknown</b>", published, outsider)
	gitlab.PublishContent(evil, "large", "1.0.0", "large.bin", gitlabtest.Generated(1<<20, 1))
	release := make(chan struct{})
	defer close(release)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "large.bin", StallAfter: 1 << 19, Release: release})
	v.open(v.edge.page)
	response := v.edge.begin(t, http.MethodGet, evilPath, "large/1.0.0/large.bin", developer, nil)
	defer response.Body.Close()
	v.await("its file comes in live", `document.querySelector("[data-rows=fills] li")`)
	for place, names := range map[string]string{"": evilPath, "troubles": evilPath, "files": evilPath, "actions": "large.bin", "projects": "<script>"} {
		v.open(v.edge.page + place)
		v.isUnharmed(t, place)
		v.expect(names)
	}
	for _, said := range v.heard() {
		t.Errorf("the console says %s", said)
	}
	// No call takes such a name for a project's; the page says so, with the name in it.
	v.open(v.edge.page + "projects")
	v.click(`form:has(input[name=project][value*="<script>"]) button[value=off]`)
	v.expect("Not done", "<script>")
	v.isUnharmed(t, "switch")
	v.open(v.edge.page + "files?search=%3Cscript%3E")
	v.expect(evilPath)
	v.click(`.files tbody tr a.button`)
	v.expect("<script>")
	v.isUnharmed(t, "purge")
}

// isUnharmed fails the test if a name on the page is more than text.
func (v visitor) isUnharmed(t *testing.T, place string) {
	t.Helper()
	if read[bool](v.tab, `window.hacked === 1 || document.querySelector("img, b") !== null || document.querySelectorAll("script").length !== 1`) {
		t.Errorf("/%s: a name is markup", place)
	}
}
