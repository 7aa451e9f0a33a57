package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// status asks for a file of a project, by a spelling of it, and returns the answer's status.
func (e *edge) status(t testing.TB, spelling string) int {
	t.Helper()
	return e.do(t, call{path: "/api/v4/projects/" + spelling + "/packages/generic/pkg/1.0.0/app.bin", token: developer}).StatusCode
}

func (e *edge) expectStatus(t testing.TB, want int, spellings ...string) {
	t.Helper()
	for _, spelling := range spellings {
		if got := e.status(t, spelling); got != want {
			t.Errorf("%s: %d, want %d", spelling, got, want)
		}
	}
}

// startSwitchable starts an edge in front of two projects with a file each, and forgets what other tests switched.
func startSwitchable(t *testing.T, options string) (*edge, *gitlabtest.Server) {
	t.Helper()
	process.lastSwitches.Store(nil)
	gitlab := newGitLab(t)
	for _, id := range []int{project, otherProject} {
		gitlab.Publish(id, "pkg", "1.0.0", "app.bin", []byte("x"))
	}
	return startEdge(t, gitlab.URL, options, withAdmin), gitlab
}

func TestWhatIsSwitchedAtRunTimeWinsOverTheConfigAndOutlivesIt(t *testing.T) {
	e, gitlab := startSwitchable(t, "projects on {\n off 24 group/app\n}")
	e.expectStatus(t, http.StatusNotFound, "24", "group%2Fapp")
	e.expectCLI(t, 0, []string{"on", "run time"}, "enable", "Group/App")
	e.expectStatus(t, http.StatusOK, "24", "group%2Fapp", "25")
	e.expectCLI(t, 0, []string{"off", "run time"}, "disable", "25")
	e.expectStatus(t, http.StatusNotFound, "25")

	e.reload(t, "projects on {\n off 24 group/app\n}\nmax_age 2m")
	e.expectStatus(t, http.StatusOK, "24", "group%2Fapp")
	e.expectStatus(t, http.StatusNotFound, "25")
	// A new process knows nothing but what the storage says.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	process.lastSwitches.Store(nil)
	e.reload(t, "projects on {\n off 24 group/app\n}")
	e.expectStatus(t, http.StatusOK, "24", "group%2Fapp")
	before := len(gitlab.Requests())
	e.expectStatus(t, http.StatusNotFound, "25")
	if after := len(gitlab.Requests()); after != before {
		t.Error("GitLab was asked about a project that is off")
	}

	e.expectCLI(t, 0, []string{"off", "config"}, "reset", "24") // by another name than it was switched by
	e.expectStatus(t, http.StatusNotFound, "24", "group%2Fapp")
	e.expectCLI(t, 0, []string{"on", "config's default"}, "reset", "25")
	e.expectStatus(t, http.StatusOK, "25")
}

func TestTheWholeInstanceIsSwitchedExceptWhatWasSwitchedByItself(t *testing.T) {
	e, _ := startSwitchable(t, "projects on {\n on 24 group/app\n}")
	e.expectCLI(t, 0, []string{"(all others)", "off", "run time, for all"}, "disable", "--all")
	e.expectStatus(t, http.StatusNotFound, "24", "group%2Fapp", "25")
	e.expectCLI(t, 0, nil, "enable", "24")
	e.expectStatus(t, http.StatusOK, "24", "group%2Fapp")
	e.expectStatus(t, http.StatusNotFound, "25")
	out := e.expectCLI(t, 0, []string{"(all others)", "24"}, "disable", "--all")
	if !strings.Contains(out, "on     run time") {
		t.Errorf("it isn't told that a project stays on:\n%s", out)
	}
	e.expectCLI(t, 0, []string{`"from":"config's default"`}, "reset", "--all", "--json")
	e.expectStatus(t, http.StatusOK, "24", "25")
}

func TestProjectsAreListedWithTheirStateAndWhereItWasSaid(t *testing.T) {
	e, _ := startSwitchable(t, "projects on {\n off 31 group/tools\n}")
	e.expectStatus(t, http.StatusOK, "25") // now one of its files is stored
	awaitNoFlight(t)
	e.expectCLI(t, 0, nil, "disable", "24")
	list := mustCall[adminapi.ProjectList](t, e, http.MethodGet, "projects", "")
	if len(list.Others) != 1 || list.Others[0].State != "on" || list.Others[0].From != fromDefault {
		t.Errorf("others: %+v", list.Others)
	}
	rows := make([]string, 0, len(list.Projects))
	for _, p := range list.Projects {
		rows = append(rows, fmt.Sprintf("%s %v %s %s %v", p.Project, p.Names, p.State, p.From, p.Since != nil && time.Since(*p.Since) < time.Minute))
	}
	want := "24 [] off run time true; 25 [] on config's default false; 31 [group/tools] off config false"
	if got := strings.Join(rows, "; "); got != want {
		t.Errorf("listed %s", got)
	}
	e.expectCLI(t, 0, []string{"(all others)", "group/tools"}, "projects")
}

func TestASwitchHoldsForAllNamesThatGitLabKnows(t *testing.T) {
	e, _ := startSwitchable(t, "api_token "+administrator)
	e.expectCLI(t, 0, []string{"off", "24"}, "disable", "group/app")
	e.expectStatus(t, http.StatusNotFound, "24", "group%2Fapp", "Group%2fApp", "024")
	e.expectStatus(t, http.StatusOK, "25")
	// The other name is the same project: what was said by the first is out of date.
	e.expectCLI(t, 0, nil, "enable", "24")
	e.expectStatus(t, http.StatusOK, "24", "group%2Fapp")
	if said := runningSwitches(t).Projects["group/app"]; !said.On {
		t.Error("what was said by the other name is still there")
	}
}

func TestASwitchWarnsWhereNoOtherNameOfTheProjectIsKnown(t *testing.T) {
	e, gitlab := startSwitchable(t, "")
	for _, verb := range []string{"disable", "enable"} {
		e.expectCLI(t, 0, []string{"Warning: no other name of group/app is known"}, verb, "Group/App")
	}
	e.expectCLI(t, 0, []string{`"warning":"no other name`}, "disable", "group/app", "--json")
	e.expectStatus(t, http.StatusOK, "24") // as the warning says
	e.expectCLI(t, 0, nil, "disable", "24")
	e.expectStatus(t, http.StatusNotFound, "24", "group%2Fapp")

	expectNone := func(args ...string) {
		t.Helper()
		if out := e.expectCLI(t, 0, nil, args...); strings.Contains(out, "Warning") {
			t.Errorf("%v:\n%s", args, out)
		}
	}
	expectNone("disable", "--all")
	e.reload(t, "projects on {\n on 24 group/app\n}")
	expectNone("enable", "24")
	e.reload(t, "api_token "+administrator)
	expectNone("disable", "25")
	gitlab.SetDown(true)
	e.reload(t, "retries 0\napi_token "+developer) // of which nothing is known yet
	e.expectCLI(t, 0, []string{"Warning: no other name of 31 is known", "GitLab could not be asked"}, "disable", "31")
}

func TestAResetWarnsIfThereWasNothingToTakeBackOrSomethingMayBeLeft(t *testing.T) {
	e, _ := startSwitchable(t, "")
	for _, step := range []struct {
		args    []string
		warning string // empty for none
	}{
		{[]string{"reset", "24"}, "Warning: nothing was said of 24 at run time, so nothing has changed.\n"},
		{[]string{"reset", "--all"}, "Warning: nothing was said of all projects at run time, so nothing has changed.\n"},
		{[]string{"disable", "24"}, "Warning: no other name of 24 is known"},
		{[]string{"reset", "24"}, ""},
		{[]string{"disable", "group/app"}, "Warning: no other name of group/app is known"},
		// It is the same project, and stays off by its path.
		{[]string{"reset", "24"}, "Warning: nothing was said of 24 at run time, so nothing has changed; not all names of 24 are known; if it was switched by another one, reset that too (see projects).\n"},
		{[]string{"reset", "group/app"}, ""},
		{[]string{"disable", "--all"}, ""},
		{[]string{"reset", "--all"}, ""},
	} {
		out := e.expectCLI(t, 0, []string{step.warning}, step.args...)
		if step.warning == "" && strings.Contains(out, "Warning") {
			t.Errorf("%v:\n%s", step.args, out)
		}
	}
}

// runningSwitches are the run-time switches of the running edge's only GitLab.
func runningSwitches(t testing.TB) *runtimeSwitches {
	t.Helper()
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	return app.switches.of(app.handlers[0].client.Upstream())
}

// otherInstance is the switches of an edge elsewhere that shares the storage.
func otherInstance(e *edge) *switchStore {
	storage := &certmagic.FileStorage{Path: filepath.Join(filepath.Dir(e.directory), "storage")}
	return newSwitchStore(process, storage, zap.NewNop())
}

func TestWhatAnotherInstanceSwitchesArrives(t *testing.T) {
	if process.switchesPoll+switchesTimeout > 10*time.Second {
		t.Errorf("it may take %s to arrive", process.switchesPoll+switchesTimeout)
	}
	setForTest(t, &process.switchesPoll, 5*time.Millisecond)
	e, gitlab := startSwitchable(t, "")
	e.expectStatus(t, http.StatusOK, "24")
	_, _, err := otherInstance(e).change(t.Context(), gitlab.URL, func(said *runtimeSwitches) {
		said.Projects["24"] = runtimeSwitch{On: false, Since: time.Now()}
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return e.status(t, "24") == http.StatusNotFound })
	if !strings.Contains(e.log(t), "switched at run time") {
		t.Error("the log doesn't tell")
	}
}

func TestSwitchesOfTwoInstancesAtOnceAllCount(t *testing.T) {
	e, gitlab := startSwitchable(t, "")
	var instances sync.WaitGroup
	for instance := range 4 {
		instances.Go(func() {
			store := otherInstance(e)
			for i := range 5 {
				_, _, err := store.change(t.Context(), gitlab.URL, func(said *runtimeSwitches) {
					said.Projects[fmt.Sprint(100+instance*10+i)] = runtimeSwitch{Since: time.Now()}
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	instances.Wait()
	store := otherInstance(e)
	if _, _, err := store.look(t.Context()); err != nil || len(store.of(gitlab.URL).Projects) != 20 {
		t.Errorf("%d switches, %v", len(store.of(gitlab.URL).Projects), err)
	}
}

func TestSwitchesThatCannotBeReadStayAsTheyWereUntilACommandWritesThemAnew(t *testing.T) {
	setForTest(t, &process.switchesPoll, 5*time.Millisecond)
	e, _ := startSwitchable(t, "")
	e.expectCLI(t, 0, nil, "disable", "24")
	stored := storedFile(e, switchesKey)
	good, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"nonsense", "null", `{"version":2,"upstreams":{}}`, `{"version":1,"upstreams":{"https://gitlab.example.com":null}}`} {
		if err := os.WriteFile(stored, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		e.reload(t, "max_age 2m")
		await(t, func() bool { return strings.Contains(e.log(t), "can't be read from Caddy's storage") })
		e.expectStatus(t, http.StatusNotFound, "24")
		if got, err := os.ReadFile(stored); err != nil || string(got) != bad {
			t.Errorf("%s was overwritten: %s %v", bad, got, err)
		}
		e.expectCLI(t, 1, []string{"can't be read from Caddy's storage"}, "status", "--check")
		e.expectCLI(t, 0, nil, "disable", "25")
		e.expectStatus(t, http.StatusNotFound, "24", "25") // what was known stays
		e.expectCLI(t, 0, nil, "enable", "25")
		e.expectCLI(t, 0, nil, "status", "--check")
		e.expectStatus(t, http.StatusNotFound, "24")
	}
	if err := os.WriteFile(stored, good, 0o600); err != nil {
		t.Fatal(err)
	}
	e.expectCLI(t, 0, nil, "enable", "24")
	e.expectStatus(t, http.StatusOK, "24")
}

// slowStorage does something between reading and returning what was read.
type slowStorage struct {
	certmagic.Storage
	meanwhile func()
}

func (s slowStorage) Load(ctx context.Context, key string) ([]byte, error) {
	data, err := s.Storage.Load(ctx, key)
	s.meanwhile()
	return data, err
}

func TestALookThatIsOvertakenByAChangeLeavesWhatIsKnownLast(t *testing.T) {
	t.Cleanup(func() { process.lastSwitches.Store(nil) })
	process.lastSwitches.Store(nil)
	const gitlab = "https://gitlab.example.com"
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	disable := func(project string) {
		_, _, err := newSwitchStore(process, storage, zap.NewNop()).change(t.Context(), gitlab, func(said *runtimeSwitches) {
			said.Projects[project] = runtimeSwitch{Since: time.Now()}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	disable("24")
	// As the former config's look does during a reload.
	slow := newSwitchStore(process, slowStorage{storage, func() { disable("25") }}, zap.NewNop())
	if _, _, err := slow.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, off := process.lastSwitches.Load().Upstreams[gitlab].Projects["25"]; !off {
		t.Error("a reload while the storage can't be read would switch a project on that is off")
	}
	// And what another instance says is known after a look, whatever this config knows already.
	process.lastSwitches.Store(nil)
	look := newSwitchStore(process, storage, zap.NewNop())
	for range 2 {
		if _, _, err := look.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if last := process.lastSwitches.Load(); last == nil || len(last.Upstreams[gitlab].Projects) != 2 {
			t.Errorf("known last: %+v", last)
		}
		process.lastSwitches.Store(nil)
	}
}

func TestWithSeveralGitLabsTheOneMustBeNamed(t *testing.T) {
	process.lastSwitches.Store(nil)
	gitlab, other := newGitLab(t), newGitLab(t)
	site := fmt.Sprintf("handle_path /other/* {\n gitlab_packages %s {\n cache %s {\n min_free 0\n }\n }\n}\n", other.URL, t.TempDir())
	e := startEdge(t, gitlab.URL, "", withAdmin, around{site: site})
	e.expectCLI(t, 1, []string{"which GitLab?", gitlab.URL, other.URL}, "disable", "24")
	e.expectCLI(t, 0, nil, "disable", "24", "--upstream", other.URL+"/")
	gitlab.Publish(project, "pkg", "1.0.0", "app.bin", []byte("x"))
	other.Publish(project, "pkg", "1.0.0", "app.bin", []byte("y"))
	e.expectStatus(t, http.StatusOK, "24")
	if got := e.do(t, call{path: "/other" + filePath("app.bin"), token: developer}); got.StatusCode != http.StatusNotFound {
		t.Errorf("the other: %s", got.Status)
	}
}
