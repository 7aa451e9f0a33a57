package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// restart stops the edge and starts it anew, with nothing left of the process but Caddy's storage and the cache.
func (e *edge) restart(t testing.TB, options string) {
	t.Helper()
	e.restartAfter(t, options, func() {})
}

func TestASwitchKeepsAllItsNamesWhateverBecomesOfTheToken(t *testing.T) {
	for name, change := range map[string]func(e *edge, gitlab *gitlabtest.Server){
		"the token is revoked and the edge restarted": func(e *edge, gitlab *gitlabtest.Server) {
			gitlab.RevokeToken(administrator)
			e.restart(t, "api_token "+administrator)
		},
		"a reload drops api_token":            func(e *edge, _ *gitlabtest.Server) { e.reload(t, "") },
		"a restart without api_token":         func(e *edge, _ *gitlabtest.Server) { e.restart(t, "") },
		"a reload with a token that may less": func(e *edge, _ *gitlabtest.Server) { e.reload(t, "api_token "+outsider) },
	} {
		for _, typed := range []string{"24", "Group/App"} {
			t.Run(name+", "+typed, func(t *testing.T) {
				e, gitlab := startSwitchable(t, "api_token "+administrator)
				other := map[string]string{"24": "group/app", "Group/App": "24"}[typed]
				out := e.expectCLI(t, 0, []string{"off", other}, "disable", typed)
				if strings.Contains(out, "Warning") {
					t.Errorf("printed\n%s", out)
				}
				change(e, gitlab)
				e.expectStatus(t, http.StatusNotFound, "24", byPath, "Group%2fApp")
				// Each of its names acts on all.
				e.expectCLI(t, 0, []string{"on", otherName(other)}, "enable", other)
				if got := runningSwitches(t).Projects; !got["24"].On || !got["group/app"].On {
					t.Errorf("after enable %s: %+v", other, got)
				}
				e.expectCLI(t, 0, []string{"off"}, "disable", typed)
				e.expectCLI(t, 0, []string{"config's default"}, "reset", other)
				if got := runningSwitches(t).Projects; len(got) != 0 {
					t.Errorf("after reset %s: %+v", other, got)
				}
			})
		}
	}
}

// otherName is the other of the project's two names.
func otherName(name string) string {
	if name == "24" {
		return "group/app"
	}
	return "24"
}

func TestASwitchIsListedOnceWithAllItsNames(t *testing.T) {
	e, _ := startSwitchable(t, "api_token "+administrator)
	e.expectCLI(t, 0, nil, "disable", "group/app")
	e.reload(t, "")
	list := mustCall[adminapi.ProjectList](t, e, http.MethodGet, "projects", "")
	if len(list.Projects) != 1 || list.Projects[0].Project != "group/app" || fmt.Sprint(list.Projects[0].Names) != "[24]" {
		t.Errorf("listed %+v", list.Projects)
	}
	answer := mustCall[adminapi.SwitchAnswer](t, e, http.MethodPost, "disable", `{"all":true}`)
	if len(answer.Kept) != 1 || answer.Kept[0].Project != "group/app" {
		t.Errorf("kept %+v", answer.Kept)
	}
	if told := strings.Count(e.log(t), `"msg":"projects were switched at run time"`); told != 2 {
		t.Errorf("told %d times", told)
	}
}

func TestWhatOneSitesConfigSaysOfNamesHoldsForAllSitesOfThatGitLab(t *testing.T) {
	process.lastSwitches.Store(nil)
	gitlab := newGitLab(t)
	gitlab.Publish(project, "pkg", "1.0.0", "app.bin", []byte("x"))
	site := fmt.Sprintf("handle_path /other/* {\n gitlab_packages %s {\n cache %s {\n min_free 0\n }\n projects on {\n on 24 group/app\n }\n }\n}\n", gitlab.URL, t.TempDir())
	e := startEdge(t, gitlab.URL, "", withAdmin, around{site: site})
	bySite := func(spelling string) []call {
		path := strings.Replace(filePath("app.bin"), "24", spelling, 1)
		return []call{{path: path, token: developer}, {path: "/other" + path, token: developer}}
	}
	expect := func(status int) {
		t.Helper()
		for _, spelling := range []string{"24", byPath} {
			for _, c := range bySite(spelling) {
				if got := e.do(t, c); got.StatusCode != status {
					t.Errorf("%s: %s, want %d", c.path, got.Status, status)
				}
			}
		}
	}
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range app.handlers {
		if a, b := h.knownNames("24"), h.knownNames("group/app"); !slices.Equal(a, []string{"group/app"}) || !slices.Equal(b, []string{"24"}) {
			t.Errorf("known %v and %v", a, b)
		}
	}
	expect(http.StatusOK)
	for _, typed := range []string{"24", "group/app"} {
		if out := e.expectCLI(t, 0, []string{otherName(typed)}, "disable", typed); strings.Contains(out, "Warning") {
			t.Errorf("printed\n%s", out)
		}
		expect(http.StatusNotFound)
		e.expectCLI(t, 0, nil, "reset", otherName(typed))
		expect(http.StatusOK)
	}
	// What an edge without a word about names had switched holds for the others too.
	if _, _, err := otherInstance(e).change(t.Context(), gitlab.URL, func(said *runtimeSwitches) {
		said.Projects["24"] = runtimeSwitch{}
	}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := app.switches.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(http.StatusNotFound)
}

func TestASwitchSaysWhichNamesItCouldNotCover(t *testing.T) {
	e, gitlab := startSwitchable(t, "retries 0\napi_token "+administrator+"\nprojects on {\n on 24 group/app\n}")
	gitlab.SetDown(true)
	e.expectCLI(t, 0, []string{"off", "group/app", "Warning: GitLab could not be asked for the names that it alone knows"}, "disable", "24")
	e.expectStatus(t, http.StatusNotFound, "24", byPath)
	e.expectCLI(t, 0, []string{"Warning: no other name of 31 is known", "GitLab could not be asked"}, "disable", "31")
}

func TestOffHoldsForAPathThatPassesToAnotherProjectAndOnDoesNot(t *testing.T) {
	e, gitlab := startSwitchable(t, "api_token "+administrator+"\nprojects off {\n on 31\n}")
	pass := func() {
		t.Helper()
		gitlab.AddProject(gitlabtest.Project{ID: project, Path: "group/moved", Visibility: gitlabtest.Private})
		gitlab.AddProject(gitlabtest.Project{ID: otherProject, Path: projectPath, Visibility: gitlabtest.Private})
	}
	e.expectCLI(t, 0, []string{"group/app"}, "enable", "24")
	e.expectStatus(t, http.StatusOK, "24", byPath)
	pass()
	e.restart(t, "api_token "+administrator+"\nprojects off {\n on 31\n}")
	e.status(t, byPath) // tells the edge, which asks beside it
	await(t, func() bool { return e.status(t, byPath) == http.StatusNotFound })
	e.expectStatus(t, http.StatusOK, "24", "group%2Fmoved")
	e.expectStatus(t, http.StatusNotFound, "25")

	// The new owner of the path is switched by itself, and the former one stays as it was.
	e.expectCLI(t, 0, nil, "disable", "24")
	e.expectCLI(t, 0, []string{"on", "25", "Warning: GitLab says that group/app belongs to another project than 24"}, "enable", "group/app")
	e.expectStatus(t, http.StatusOK, "25", byPath)
	e.expectStatus(t, http.StatusNotFound, "24", "group%2Fmoved")
}

func TestOffHoldsForAPathUntilItIsTakenBack(t *testing.T) {
	e, gitlab := startSwitchable(t, "api_token "+administrator)
	e.expectCLI(t, 0, []string{"group/app"}, "disable", "24")
	gitlab.AddProject(gitlabtest.Project{ID: project, Path: "group/moved", Visibility: gitlabtest.Private})
	gitlab.AddProject(gitlabtest.Project{ID: otherProject, Path: projectPath, Visibility: gitlabtest.Private})
	e.restart(t, "api_token "+administrator)
	e.expectStatus(t, http.StatusNotFound, "24", byPath, "group%2Fmoved")
	e.expectCLI(t, 0, nil, "reset", "group/app")
	e.expectStatus(t, http.StatusOK, byPath, "25")
	e.expectStatus(t, http.StatusNotFound, "24", "group%2Fmoved")
}

// TestAnOlderEdgesSwitchesAreRead: they have no names.
func TestAnOlderEdgesSwitchesAreRead(t *testing.T) {
	e, gitlab := startSwitchable(t, "")
	stored := filepath.Join(filepath.Dir(e.directory), "storage", filepath.FromSlash(switchesKey))
	if err := os.MkdirAll(filepath.Dir(stored), 0o700); err != nil {
		t.Fatal(err)
	}
	old := fmt.Sprintf(`{"version":1,"upstreams":{%q:{"projects":{"24":{"on":false,"since":"2026-11-28T12:00:00Z"}}}}}`, gitlab.URL)
	if err := os.WriteFile(stored, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	e.restart(t, "")
	e.expectStatus(t, http.StatusNotFound, "24")
	e.expectStatus(t, http.StatusOK, byPath)
	// And what this one writes is all that an older one needs: each name has its own switch.
	e.reload(t, "api_token "+administrator)
	e.expectCLI(t, 0, nil, "disable", "24")
	written, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	text := string(written)
	if !strings.Contains(text, `"version": 1`) || !strings.Contains(text, `"24": {`) || !strings.Contains(text, `"group/app": {`) || strings.Contains(text, `"on": true`) {
		t.Errorf("written %s", text)
	}
}
