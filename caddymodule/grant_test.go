package caddymodule

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// publicProject is open to everybody in the tests of grants.
const publicProject = 26

// pathOf is the URL path of app.bin in a project, by its number or its path.
func pathOf(project any) string {
	return fmt.Sprintf("/api/v4/projects/%s/packages/generic/pkg/1.0.0/app.bin", strings.ReplaceAll(fmt.Sprint(project), "/", "%2F"))
}

// startEdgeWithGrants starts an edge before a GitLab with a file in each of three projects, one of them public.
func startEdgeWithGrants(t *testing.T, options string) (*edge, *gitlabtest.Server) {
	t.Helper()
	gitlab := newGitLab(t)
	gitlab.AddProject(gitlabtest.Project{ID: publicProject, Path: "group/public", Visibility: gitlabtest.Public})
	gitlab.SetClock(func() time.Time { return process.clock().Add(-time.Hour) })
	for _, id := range []int{project, otherProject, publicProject} {
		gitlab.Publish(id, "pkg", "1.0.0", "app.bin", someBytes(1000, byte(id))) //nolint:gosec // ids of tests are small
	}
	gitlab.SetClock(process.clock)
	return startEdge(t, gitlab.URL, options), gitlab
}

// expectAnswer sends a call and expects a status; 500 stands for whatever says that GitLab is unreachable.
func (e *edge) expectAnswer(t *testing.T, c call, want int) {
	t.Helper()
	got := e.do(t, c).StatusCode
	if got != want && (want != http.StatusInternalServerError || got < want) {
		t.Errorf("%s %s: got %d, want %d", c.method, c.path, got, want)
	}
}

func TestRaisingGrantTTLInAReloadRevivesNoGrant(t *testing.T) {
	e, gitlab := startEdgeWithGrants(t, "grant_ttl 2s\nmax_age 1h\noffline_grace 2s")
	download := call{path: pathOf(project), token: developer}
	e.expectAnswer(t, download, 200)
	gitlab.RevokeToken(developer)
	putForward(5 * time.Second)
	e.reload(t, "grant_ttl 10m\nmax_age 1h\noffline_grace 1h")
	gitlab.Inject(gitlabtest.Fault{Status: http.StatusTooManyRequests})
	e.expectAnswer(t, download, 429) // nor is it young enough for that
	gitlab.ClearFaults()
	e.expectAnswer(t, download, 401)
}

func TestRaisingOfflineGraceFromZeroRevivesNoGrant(t *testing.T) {
	e, gitlab := startEdgeWithGrants(t, "grant_ttl 2s\nmax_age 1h\noffline_grace 0")
	download := call{path: pathOf(project), token: developer}
	e.expectAnswer(t, download, 200)
	putForward(3 * time.Second)
	e.reload(t, "grant_ttl 2s\nmax_age 1h\noffline_grace 1h")
	gitlab.SetDown(true)
	e.expectAnswer(t, download, 500)
}

func TestLoweringGrantTTLOrOfflineGraceInAReloadTakesEffectAtOnce(t *testing.T) {
	e, gitlab := startEdgeWithGrants(t, "grant_ttl 1h\nmax_age 1h\noffline_grace 2h")
	download := call{path: pathOf(project), token: developer}
	e.expectAnswer(t, download, 200)
	putForward(time.Minute)
	e.reload(t, "grant_ttl 2s\nmax_age 1h\noffline_grace 2h")
	gitlab.Inject(gitlabtest.Fault{Status: http.StatusBadGateway, Times: -1})
	gitlab.ResetRequests()
	e.expectAnswer(t, download, 200)
	if len(gitlab.Requests()) == 0 {
		t.Error("GitLab wasn't asked")
	}
	e.reload(t, "grant_ttl 2s\nmax_age 1h\noffline_grace 10s")
	e.expectAnswer(t, download, 500)
}

// TestA401EndsAGrantByEverySpelling: GitLab is down afterwards, and the dead token is served nothing, by any spelling, from
// any address.
func TestA401EndsAGrantByEverySpelling(t *testing.T) {
	spellings := []any{project, projectPath, "0024", otherProject, "group/other"}
	for asked, spelling := range map[string]any{"by number": project, "by path": projectPath, "about another project": otherProject} {
		t.Run(asked, func(t *testing.T) {
			e, gitlab := startEdgeWithGrants(t, "")
			elsewhere := http.Header{"X-Forwarded-For": {"198.51.100.7"}}
			for _, spelling := range spellings {
				e.expectAnswer(t, call{path: pathOf(spelling), token: developer}, 200)
				e.expectAnswer(t, call{path: pathOf(spelling), token: developer, header: elsewhere}, 200)
				e.expectAnswer(t, call{path: pathOf(spelling), token: colleague}, 200)
			}
			putForward(2 * time.Minute)
			gitlab.RevokeToken(developer)
			e.expectAnswer(t, call{path: pathOf(spelling), token: developer}, 401)
			gitlab.SetDown(true)
			for _, spelling := range spellings {
				e.expectAnswer(t, call{path: pathOf(spelling), token: developer}, 500)
				e.expectAnswer(t, call{path: pathOf(spelling), token: developer, header: elsewhere}, 500)
				e.expectAnswer(t, call{path: pathOf(spelling), token: colleague}, 200)
			}
		})
	}
}

// TestA401ToACredentialThatGitLabIgnoresWhenWrongLeavesGrantsElsewhere: a wrong Basic password is an anonymous caller, who
// may read public projects. So is nobody, and the empty token of a job whose variable is unset.
func TestA401ToACredentialThatGitLabIgnoresWhenWrongLeavesGrantsElsewhere(t *testing.T) {
	for name, header := range map[string]http.Header{
		"wrong Basic":        {"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("me:wrong"))}},
		"wrong DEPLOY-TOKEN": {"Deploy-Token": {"gldt-wrong"}},
		"an ended session":   {"Cookie": {"_gitlab_session=ended"}},
		"an empty token":     {"Private-Token": {""}},
		"anonymous":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			e, gitlab := startEdgeWithGrants(t, "")
			e.expectAnswer(t, call{path: pathOf(publicProject), header: header}, 200)
			e.expectAnswer(t, call{path: pathOf(project), token: developer}, 200)
			e.expectAnswer(t, call{path: pathOf(project), header: header}, 401)
			putForward(2 * time.Minute)
			gitlab.SetDown(true)
			e.expectAnswer(t, call{path: pathOf(publicProject), header: header}, 200)
			e.expectAnswer(t, call{path: pathOf(project), header: header}, 500)
		})
	}
}

// TestA401ToADeployTokenThatHeldTheProjectEndsAllOfItsGrants: there it can only be dead.
func TestA401ToADeployTokenThatHeldTheProjectEndsAllOfItsGrants(t *testing.T) {
	e, gitlab := startEdgeWithGrants(t, "")
	const secret = "gldt-deploy" //nolint:gosec // G101: a token of the stand-in
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.DeployToken, Secret: secret, Roles: map[int]gitlabtest.Role{project: gitlabtest.Reporter}})
	header := http.Header{"Deploy-Token": {secret}}
	e.expectAnswer(t, call{path: pathOf(project), header: header}, 200)
	e.expectAnswer(t, call{path: pathOf(projectPath), header: header}, 200)
	putForward(2 * time.Minute)
	gitlab.RevokeToken(secret)
	e.expectAnswer(t, call{path: pathOf(projectPath), header: header}, 401)
	gitlab.SetDown(true)
	e.expectAnswer(t, call{path: pathOf(project), header: header}, 500)
}

func TestA403EndsOnlyItsProject(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			e, gitlab := startEdgeWithGrants(t, "")
			for _, id := range []int{project, otherProject} {
				e.expectAnswer(t, call{path: pathOf(id), token: developer}, 200)
			}
			putForward(2 * time.Minute)
			gitlab.Inject(gitlabtest.Fault{Status: status, Times: -1})
			e.expectAnswer(t, call{path: pathOf(project), token: developer}, status)
			gitlab.SetDown(true)
			e.expectAnswer(t, call{path: pathOf(project), token: developer}, 500)
			e.expectAnswer(t, call{path: pathOf(otherProject), token: developer}, 200)
		})
	}
}

// TestRefusalsOfOtherMethodsEndNothing: GitLab refuses uploads for many reasons.
func TestRefusalsOfOtherMethodsEndNothing(t *testing.T) {
	e, gitlab := startEdgeWithGrants(t, "max_age 1h\ngrant_ttl 1h")
	e.expectAnswer(t, call{path: pathOf(project), token: developer}, 200)
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete} { // the edge itself refuses POST
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
			gitlab.Inject(gitlabtest.Fault{Method: method, Status: status})
			c := call{method: method, path: strings.Replace(pathOf(project), "app.bin", "new.bin", 1), token: developer}
			if method != http.MethodDelete {
				c.body = strings.NewReader("x")
			}
			e.expectAnswer(t, c, status)
		}
	}
	gitlab.ResetRequests()
	e.expectAnswer(t, call{path: pathOf(project), token: developer}, 200)
	if asked := len(gitlab.Requests()); asked != 0 {
		t.Errorf("the grant is gone: GitLab was asked %d times", asked)
	}
}

// TestRandomCookiesPushOutNobodyElse has one address ask for a public file with ever new cookies.
func TestRandomCookiesPushOutNobodyElse(t *testing.T) {
	setForTest(t, &process.maxGrants, 32)
	e, gitlab := startEdgeWithGrants(t, "max_age 1h\ngrant_ttl 1h")
	honest := call{path: pathOf(project), token: developer, header: http.Header{"X-Forwarded-For": {"198.51.100.7"}}}
	e.expectAnswer(t, honest, 200)
	for i := range 40 {
		e.expectAnswer(t, call{path: pathOf(publicProject), header: http.Header{"Cookie": {fmt.Sprintf("a=%d", i)}}}, 200)
	}
	gitlab.ResetRequests()
	e.expectAnswer(t, honest, 200)
	if asked := len(gitlab.Requests()); asked != 0 {
		t.Errorf("the grant is gone: GitLab was asked %d times", asked)
	}
}
