package caddymodule

import (
	"net/http"
	"strings"
	"testing"
)

// sendTarget sends a GET whose target may have bytes that clients encode.
func (e *edge) sendTarget(t *testing.T, target string) rawAnswer {
	t.Helper()
	answers := raw(t, e.url, "GET "+target+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(e.url, "http://")+"\r\nConnection: close\r\n"+goodLine+"\r\n\r\n")
	if len(answers) != 1 {
		t.Fatalf("%s: %d answers", target, len(answers))
	}
	return answers[0]
}

// TestAPathWithBytesThatMayNotStandInOneKeepsItsSlashes asks by the edge's own forwarding, and by reverse_proxy behind the edge.
func TestAPathWithBytesThatMayNotStandInOneKeepsItsSlashes(t *testing.T) {
	for _, option := range []string{forwardsOthers, ""} {
		gitlab := newGitLab(t)
		e := startEdge(t, gitlab.URL, option)
		for sent, arrives := range map[string]string{
			"/api/v4/projects/group%2Fapp/repository/files/a%2F{b}":         "/api/v4/projects/group%2Fapp/repository/files/a%2F%7Bb%7D",
			"/api/v4/projects/group%2Fapp/repository/files/\xc3\xa9%2F%7C|": "/api/v4/projects/group%2Fapp/repository/files/%C3%A9%2F%7C%7C",
			"/o/{/api%2Fv4/projects%2F24/packages%2Fgeneric/p/1.0.0/f":      "/o/%7B/api%2Fv4/projects%2F24/packages%2Fgeneric/p/1.0.0/f",
		} {
			e.sendTarget(t, sent)
			if asked := lastRequest(t, gitlab); asked.Path != arrives {
				t.Errorf("with %q, %s arrived as %s", option, sent, asked.Path)
			}
		}
	}
}

// TestNamesAreJudgedAsGitLabReadsThem has names with bytes that may not stand in a path: a project by its path stays one segment.
func TestNamesAreJudgedAsGitLabReadsThem(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, forwardsOthers+"\nprojects on {\n off group/off\n}")
	for target, want := range map[string]int{
		"/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/{": http.StatusBadRequest,
		"/api/v4/projects/group%2Foff/packages/generic/pkg/1.0.0/{": http.StatusNotFound,
	} {
		if got := e.sendTarget(t, target); got.status != want {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	if asked := gitlab.Requests(); len(asked) != 0 {
		t.Errorf("GitLab is asked: %+v", asked)
	}
}

// TestNoByteThatIsEncodedOnTheWayLeadsToASwitchedOffProject: what isn't a package's path to the edge mustn't become one on its way.
func TestNoByteThatIsEncodedOnTheWayLeadsToASwitchedOffProject(t *testing.T) {
	for _, option := range []string{forwardsOthers, ""} {
		gitlab := newGitLab(t)
		e := startEdge(t, gitlab.URL, option+"\nprojects on {\n off 24 group/app\n}")
		publishOld(gitlab, "app.bin", []byte("secret"))
		for _, target := range []string{
			"/o/{/api%2Fv4/projects/24/packages/generic/pkg/1.0.0/app.bin",
			"/o/{/api/v4%2Fprojects%2F24/packages/generic/pkg/1.0.0/app.bin",
			"/o/\xc3\xa9/api/v4/projects/24%2Fpackages%2Fgeneric/pkg/1.0.0/app.bin",
			"/o/{%2Fapi/v4/projects/24/packages/generic/pkg/1.0.0/app.bin",
		} {
			if got := e.sendTarget(t, target); string(got.body) == "secret" {
				t.Errorf("with %q, %s is served", option, target)
			}
		}
	}
}
