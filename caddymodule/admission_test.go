package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// byPath is the path of the tests' project as callers write it; its number is 24.
const byPath = "group%2Fapp"

// nameQuestions are the names that GitLab was asked about with the admin's token, in order.
func nameQuestions(gitlab *gitlabtest.Server) (asked []string) {
	for _, request := range gitlab.Requests() {
		name, ok := strings.CutPrefix(request.Path, "/api/v4/projects/")
		if ok && !strings.Contains(name, "/") && request.Header.Get("Private-Token") == administrator {
			asked = append(asked, name)
		}
	}
	return asked
}

// expectDecided looks at an answer that the edge gave by itself: of a project that is off (404), or of a name of which
// GitLab doesn't say whose it is (503).
func expectDecided(t testing.TB, what string, got answer, status int) {
	t.Helper()
	if got.StatusCode != status {
		t.Errorf("%s: %s %s, want %d", what, got.Status, got.cacheStatus(), status)
		return
	}
	for _, name := range []string{"Etag", "X-Checksum-Sha256", "Repr-Digest", "Last-Modified", "Content-Disposition", "Content-Range"} {
		if got.Header.Get(name) != "" {
			t.Errorf("%s: the answer has %s of the file", what, name)
		}
	}
	switch {
	case got.Request.Method == http.MethodHead:
	case !strings.HasPrefix(string(got.body), `{"message":"`+fmt.Sprint(status)):
		t.Errorf("%s: the answer is %s", what, got.body)
	case status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") == "":
		t.Errorf("%s: no Retry-After", what)
	}
}

// projectIsOff are the ways to say that project 24 is off while nothing was said of its path.
var projectIsOff = map[string]string{
	"by the config":          "projects on {\n off 24\n}",
	"by the default":         "projects off {\n on 25 group/other\n}",
	"by the default for all": "projects off {\n on 31\n}",
}

func TestAFloodOfMadeUpNamesLeavesAProjectOffByANameThatNobodyAskedAbout(t *testing.T) {
	for how, options := range projectIsOff {
		t.Run(how, func(t *testing.T) {
			e, _ := startSwitchable(t, "api_token "+administrator+"\n"+options)
			for i := range 150 {
				name := fmt.Sprintf("made%%2Fup%d", i)
				for _, method := range []string{http.MethodGet, http.MethodPut, "BREW"} {
					e.do(t, call{method: method, path: "/api/v4/projects/" + name + "/packages/generic/pkg/1.0.0/app.bin", token: outsider})
				}
			}
			got := e.do(t, call{path: "/api/v4/projects/" + byPath + "/packages/generic/pkg/1.0.0/app.bin", token: developer})
			expectDecided(t, "by its path", got, http.StatusNotFound)
			e.expectStatus(t, http.StatusNotFound, "24")
		})
	}
}

// everyDownload is every way in which GitLab's yes leads to bytes or headers of a file.
func everyDownload() map[string]call {
	path := func(file string) string { return "/api/v4/projects/" + byPath + "/packages/generic/pkg/1.0.0/" + file }
	calls := map[string]call{
		"stored":             {path: path("stored.bin")},
		"stored, HEAD":       {path: path("stored.bin"), method: http.MethodHead},
		"stored, a range":    {path: path("stored.bin"), header: http.Header{"Range": {"bytes=1-2"}}},
		"stored, no range":   {path: path("stored.bin"), header: http.Header{"Range": {"bytes=100-"}}},
		"stored, condition":  {path: path("stored.bin"), header: http.Header{"If-None-Match": {`"` + hexSHA256([]byte("stored")) + `"`}}},
		"cold":               {path: path("cold.bin")},
		"cold, HEAD":         {path: path("cold.bin"), method: http.MethodHead},
		"cold, a range":      {path: path("cold.bin"), header: http.Header{"Range": {"bytes=1-2"}}},
		"not kept":           {path: path("large.bin")},
		"not kept, a range":  {path: path("large.bin"), header: http.Header{"Range": {"bytes=1-2"}}},
		"with a query":       {path: path("stored.bin") + "?x=1"},
		"with a query, HEAD": {path: path("stored.bin") + "?x=1", method: http.MethodHead},
		"with an Origin":     {path: path("stored.bin"), header: http.Header{"Origin": {"https://elsewhere.example"}}},
	}
	for name, c := range calls {
		c.token = developer
		calls[name] = c
	}
	return calls
}

func startWithFiles(t *testing.T) (*edge, *gitlabtest.Server, func(options string) string) {
	t.Helper()
	directory := t.TempDir()
	settings := func(options string) string {
		return options + "\nretries 0\ncache " + directory + " {\n min_free 0\n max_object 1MiB\n}"
	}
	e, gitlab := startSwitchable(t, settings(""))
	gitlab.SetChecksums(true)
	publishOld(gitlab, "stored.bin", []byte("stored"))
	publishOld(gitlab, "cold.bin", []byte("cold"))
	publishOld(gitlab, "large.bin", someBytes(2<<20, 1))
	if got := e.do(t, call{path: everyDownload()["stored"].path, token: developer}); got.StatusCode != http.StatusOK {
		t.Fatal(got.Status)
	}
	awaitNoFlight(t)
	return e, gitlab, settings
}

func TestOffByANameThatNobodyAskedAboutHoldsForEveryDownload(t *testing.T) {
	for how, options := range projectIsOff {
		for name, c := range everyDownload() {
			t.Run(how+", "+name, func(t *testing.T) {
				e, gitlab, settings := startWithFiles(t)
				e.reload(t, settings("api_token "+administrator+"\n"+options))
				expectDecided(t, name, e.do(t, c), http.StatusNotFound)
				asked := len(nameQuestions(gitlab))
				expectDecided(t, "again", e.do(t, c), http.StatusNotFound)
				if asked != 1 || len(nameQuestions(gitlab)) != 1 {
					t.Errorf("asked %v", nameQuestions(gitlab))
				}
				awaitNoFlight(t)
			})
		}
	}
}

func TestAFailedQuestionOpensNothing(t *testing.T) {
	for name, c := range everyDownload() {
		t.Run(name, func(t *testing.T) {
			e, gitlab, settings := startWithFiles(t)
			gitlab.AddToken(gitlabtest.Token{Secret: "glpat-of-another-admin", Username: "admin", Admin: true})
			e.reload(t, settings("api_token glpat-of-another-admin\nprojects on {\n off 24\n}"))
			gitlab.RevokeToken("glpat-of-another-admin")
			for range 2 {
				expectDecided(t, name, e.do(t, c), http.StatusServiceUnavailable)
			}
			// Nor of another project, and nor an upload.
			expectDecided(t, "another", e.do(t, call{path: "/api/v4/projects/25/packages/generic/pkg/1.0.0/app.bin", token: developer}), http.StatusServiceUnavailable)
			expectDecided(t, "an upload", e.put(t, strings.Replace(filePath("new.bin"), "24", byPath, 1), []byte("x")), http.StatusServiceUnavailable)
			expectDecided(t, "by its number", e.do(t, call{path: filePath("stored.bin"), token: developer}), http.StatusNotFound)
			if puts := gitlab.Count(http.MethodPut); puts != 0 {
				t.Errorf("%d uploads reached GitLab", puts)
			}
			if !strings.Contains(e.log(t), "GitLab doesn't tell which project a name belongs to") {
				t.Error("the log doesn't tell")
			}
			awaitNoFlight(t)
		})
	}
}

func TestDownloadsOfStrangersCostNoQuestion(t *testing.T) {
	e, gitlab, settings := startWithFiles(t)
	e.reload(t, settings("api_token "+administrator+"\nprojects on {\n off 31\n}"))
	for _, token := range []string{outsider, "glpat-wrong", ""} {
		for name, c := range everyDownload() {
			c.token = token
			if got := e.do(t, c); got.StatusCode != http.StatusNotFound && got.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %s", name, got.Status)
			}
		}
		for i := range 20 {
			e.do(t, call{path: fmt.Sprintf("/api/v4/projects/made%%2Fup%d/packages/generic/pkg/1.0.0/app.bin", i), token: token})
		}
	}
	if asked := nameQuestions(gitlab); len(asked) != 0 {
		t.Errorf("asked about %v", asked)
	}
	e.expectStatus(t, http.StatusOK, byPath, byPath, "25", "24")
	if asked := nameQuestions(gitlab); len(asked) != 2 { // by the answer about its path the number is known
		t.Errorf("asked about %v", asked)
	}
}

func TestWhereNothingIsOffNothingIsAsked(t *testing.T) {
	for _, options := range []string{"", "projects on {\n on 25 group/other\n}", "projects off"} {
		e, gitlab := startSwitchable(t, "api_token "+administrator+"\n"+options)
		if options == "" {
			e.expectCLI(t, 0, nil, "enable", "31") // says nothing of others
		}
		gitlab.ResetRequests()
		want := http.StatusOK
		if options == "projects off" {
			want = http.StatusNotFound
		}
		gitlab.RevokeToken(administrator)
		e.expectStatus(t, want, byPath, "24", "25")
		if want == http.StatusOK {
			if got := e.put(t, strings.Replace(filePath("new.bin"), "24", byPath, 1), []byte("x")); got.StatusCode != http.StatusCreated {
				t.Errorf("an upload: %s", got.Status)
			}
		}
		if asked := nameQuestions(gitlab); len(asked) != 0 {
			t.Errorf("%q: asked about %v", options, asked)
		}
	}
}

func TestAnUploadIsAskedAboutBeforeItIsSent(t *testing.T) {
	e, gitlab := startSwitchable(t, "api_token "+administrator+"\nprojects on {\n off 24\n}")
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPost, "BREW"} {
		got := e.do(t, call{method: method, path: strings.Replace(filePath("new.bin"), "24", byPath, 1), token: developer, body: strings.NewReader("x")})
		expectDecided(t, method, got, http.StatusNotFound)
	}
	if got := e.put(t, "/api/v4/projects/group%2Fother/packages/generic/pkg/1.0.0/new.bin", []byte("x")); got.StatusCode != http.StatusCreated {
		t.Errorf("into another project: %s", got.Status)
	}
	if puts := gitlab.Count(http.MethodPut); puts != 1 {
		t.Errorf("%d uploads reached GitLab", puts)
	}
	// What the rules refuse costs no question.
	asked := len(nameQuestions(gitlab))
	if got := e.put(t, "/api/v4/projects/made%2Fup/packages/generic/pkg/v1/new.bin", []byte("x")); got.StatusCode != http.StatusBadRequest {
		t.Errorf("an illegal version: %s", got.Status)
	}
	if asked != 2 || len(nameQuestions(gitlab)) != 2 {
		t.Errorf("asked about %v", nameQuestions(gitlab))
	}
}

func TestAnAddressCanNotUseUpTheQuestionsOfOthersUploads(t *testing.T) {
	e, gitlab := startSwitchable(t, "api_token "+administrator+"\nprojects on {\n off 24\n}")
	upload := func(address, project, token string) answer {
		return e.do(t, call{
			method: http.MethodPut, path: "/api/v4/projects/" + project + "/packages/generic/pkg/1.0.0/new.bin", token: token,
			header: http.Header{"X-Forwarded-For": {address}}, body: strings.NewReader("x"),
		})
	}
	begun, refused := time.Now(), 0
	for i := range 60 {
		got := upload("192.0.2.1", fmt.Sprintf("made%%2Fup%d", i), outsider)
		if got.StatusCode == http.StatusServiceUnavailable {
			expectDecided(t, "over the budget", got, http.StatusServiceUnavailable)
			refused++
		}
	}
	if asked, most := len(nameQuestions(gitlab)), 21+int(time.Since(begun)/time.Second); asked > most || refused != 60-asked || asked < 20 {
		t.Errorf("asked %d times, at most %d; refused %d times", asked, most, refused)
	}
	if got := upload("192.0.2.2", "group%2Fother", developer); got.StatusCode != http.StatusCreated {
		t.Errorf("another address: %s %s", got.Status, got.body)
	}
	// A name that was answered costs nothing any more, and one's own downloads are counted elsewhere.
	if got := upload("192.0.2.1", "group%2Fother", developer); got.StatusCode != http.StatusCreated {
		t.Errorf("a name that is known: %s", got.Status)
	}
	got := e.do(t, call{path: strings.Replace(filePath("app.bin"), "24", byPath, 1), token: developer, header: http.Header{"X-Forwarded-For": {"192.0.2.1"}}})
	expectDecided(t, "its download", got, http.StatusNotFound)
}

func TestTheLastAnswerCountsUntilANewerOne(t *testing.T) {
	e, gitlab := startSwitchable(t, "retries 0\noffline_grace 24h\napi_token "+administrator+"\nprojects on {\n off 24\n}")
	e.expectStatus(t, http.StatusNotFound, byPath)
	e.expectStatus(t, http.StatusOK, "group%2Fother")
	awaitNoFlight(t)
	gitlab.SetDown(true)
	for _, later := range []time.Duration{time.Minute, 10 * time.Minute, 10 * time.Hour} {
		putForward(later)
		e.expectStatus(t, http.StatusNotFound, byPath)
		e.expectStatus(t, http.StatusOK, "group%2Fother") // from the store
	}
	gitlab.SetDown(false)
	putForward(time.Minute)
	asked := len(nameQuestions(gitlab))
	e.expectStatus(t, http.StatusNotFound, byPath) // decided without a question, since nobody knows the caller
	await(t, func() bool {                         // the edge may hold GitLab to be down for some seconds
		e.expectStatus(t, http.StatusOK, "group%2Fother")
		return len(nameQuestions(gitlab)) == asked+1
	})
}

// TestAProjectThatTakesANameThatGitLabDidNotKnowIsOffByIt: the note that there is no such project is from before.
func TestAProjectThatTakesANameThatGitLabDidNotKnowIsOffByIt(t *testing.T) {
	e, gitlab := startSwitchable(t, "api_token "+administrator+"\nprojects on {\n off 24\n}")
	moved := strings.Replace(filePath("app.bin"), "24", "group%2Fmoved", 1)
	if got := e.do(t, call{method: http.MethodPut, path: moved, token: outsider, body: strings.NewReader("x")}); got.StatusCode != http.StatusNotFound {
		t.Fatalf("an upload into nothing: %s", got.Status)
	}
	gitlab.AddProject(gitlabtest.Project{ID: project, Path: "group/moved", FormerPaths: []string{projectPath}})
	putForward(10 * time.Minute)
	expectDecided(t, "by its new path", e.do(t, call{path: moved, token: developer}), http.StatusNotFound)
	expectDecided(t, "by its former path", e.do(t, call{path: strings.Replace(filePath("app.bin"), "24", byPath, 1), token: developer}), http.StatusNotFound)
}

// TestALoginPageBeforeGitLabCostsNoMoreQuestionsThanUploads: what stands in front of GitLab sends strangers elsewhere
// instead of refusing them.
func TestALoginPageBeforeGitLabCostsNoMoreQuestionsThanUploads(t *testing.T) {
	e, gitlab := startSwitchable(t, "api_token "+administrator+"\nprojects on {\n off 24\n}")
	gitlab.Inject(gitlabtest.Fault{PathContains: "/packages/", LoginRedirect302: true, Times: -1})
	begun := time.Now()
	for i := range 60 {
		e.do(t, call{path: fmt.Sprintf("/api/v4/projects/made%%2Fup%d/packages/generic/pkg/1.0.0/app.bin?x=1", i)})
	}
	if asked, most := len(nameQuestions(gitlab)), 21+int(time.Since(begun)/time.Second); asked > most {
		t.Errorf("asked %d times, at most %d", asked, most)
	}
}

func TestAListTellsOfWhichNamesGitLabSaidNothing(t *testing.T) {
	e, gitlab, settings := startWithFiles(t)
	e.reload(t, settings("api_token "+administrator+"\nprojects on {\n off 24\n}"))
	stateOf := func(name string) string {
		for _, p := range mustCall[adminapi.ProjectList](t, e, http.MethodGet, "projects", "").Projects {
			if p.Project == name {
				return p.State + " " + fmt.Sprint(p.Names)
			}
		}
		return "not listed"
	}
	if got := stateOf("24"); got != "off [group/app]" { // one row for both
		t.Errorf("once GitLab has told: %s", got)
	}
	gitlab.RevokeToken(colleague)
	e.reload(t, settings("api_token "+colleague+"\nprojects on {\n off 24\n}"))
	if got := stateOf("group/app"); got != "undecided []" {
		t.Errorf("while GitLab doesn't say: %s", got)
	}
	e.expectCLI(t, 1, []string{"GitLab doesn't tell whether the project group/app is one that is switched off"}, "warm", "group/app", "pkg")
}

// TestAProjectIsOffByANameThatWasNobodysAMomentAgo: who may rename a project asks about its next name before it has it.
func TestAProjectIsOffByANameThatWasNobodysAMomentAgo(t *testing.T) {
	e, gitlab := startSwitchable(t, "api_token "+administrator+"\nprojects on {\n off 24\n}")
	publishOld(gitlab, "app.bin", []byte("of a project that is off"))
	path := "/api/v4/projects/group%2Fnew/packages/generic/pkg/1.0.0/app.bin"
	if got := e.do(t, call{method: http.MethodPut, path: path, token: developer, body: strings.NewReader("x")}); got.StatusCode != http.StatusNotFound {
		t.Fatal(got.Status)
	}
	gitlab.AddProject(gitlabtest.Project{ID: project, Path: "group/new", FormerPaths: []string{projectPath}})
	putForward(5 * time.Second)
	expectDecided(t, "by its new name", e.do(t, call{path: path, token: developer}), http.StatusNotFound)
}
