package caddymodule

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func defaultStoreSettings() storeSettings {
	settings, _, _ := new(Handler).provisionCache()
	return settings
}

func TestWhatIsNoGenericPackagePassesByteForByte(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects off")
	for _, path := range []string{
		"/", "/api/v4/version?x=%2F&y=1", "/group%2Fapp//-/x%20y;z=1", "/%67roup/../a", "/api/v4/projects/24/packages/generic/only/1.0.0",
		"/api/v4/projects/24/packages/npm/a/b/c/d", "/api%2Fv4/projects/24/packages/generic/a/1.0.0/f",
	} {
		got := e.do(t, call{path: path})
		requests := gitlab.Requests()
		if len(requests) == 0 {
			t.Fatalf("%s: %s, and GitLab heard nothing", path, got.Status)
		}
		last := requests[len(requests)-1]
		if sent, _, _ := strings.Cut(path, "?"); last.Path != sent || got.Header.Get("Cache-Status") != "" {
			t.Errorf("%s arrived as %s; Cache-Status %q", path, last.Path, got.Header.Get("Cache-Status"))
		}
	}
}

func TestASwitchedOffProjectIs404ForEverySpellingAndMethodAtOnce(t *testing.T) {
	for name, option := range map[string]string{"with reverse_proxy behind": "", "with " + forwardsOthers: forwardsOthers} {
		t.Run(name, func(t *testing.T) { aSwitchedOffProjectIs404(t, option) })
	}
}

func aSwitchedOffProjectIs404(t *testing.T, option string) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, option+"\nprojects on {\n off 24 group/app\n}")
	gitlab.Publish(project, "pkg", "1.0.0", "app.bin", []byte("x"))
	for _, spelling := range []string{
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/0024/packages/generic/pkg/1.0.0/app.bin",
		"/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/GROUP%2fApp/packages/generic/pkg/1.0.0/app.bin",
		"/api/v4/projects/%32%34/packages/generic/pkg/1.0.0/app.bin", "/api/v4/projects/24/generic/pkg/1.0.0/app.bin",
		"//api//v4/projects/24/packages/%67eneric/pkg/1.0.0/app.bin", "/%61pi/v4/projects/24/packages/generic/pkg/1.0.0/app.bin/",
		"/api/v4/projects/24/packages/generic/pkg/v1/app.bin",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions} {
			got := e.do(t, call{method: method, path: spelling, token: developer})
			if got.StatusCode != 404 || (method != http.MethodHead && string(got.body) != `{"message":"404 Not Found"}`) {
				t.Errorf("%s %s: %s %s", method, spelling, got.Status, got.body)
			}
		}
	}
	// What would be the project's number for GitLab and isn't one to read: refused, whatever it is.
	if got := e.do(t, call{path: "/api/v4/projects/24%0A/packages/generic/pkg/1.0.0/app.bin", token: developer}); got.StatusCode != 400 {
		t.Errorf("24 and a newline: %s", got.Status)
	}
	if n := len(gitlab.Requests()); n != 0 {
		t.Errorf("GitLab heard of it %d times", n)
	}
}

func TestAnAPITokenFindsTheOtherNamesOfAProject(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.AddProject(gitlabtest.Project{ID: project, Path: projectPath, FormerPaths: []string{"old/app"}})
	e := startEdge(t, gitlab.URL, "api_token "+administrator+"\nprojects on {\n off group/app\n}")
	gitlab.Publish(project, "pkg", "1.0.0", "app.bin", []byte("x"))
	for _, spelling := range []string{"24", "group%2Fapp", "old%2Fapp"} {
		got := e.do(t, call{path: "/api/v4/projects/" + spelling + "/packages/generic/pkg/1.0.0/app.bin", token: developer})
		if got.StatusCode != 404 || !strings.Contains(got.cacheStatus(), "switched-off") {
			t.Errorf("%s: %s %q", spelling, got.Status, got.cacheStatus())
		}
	}
	before := len(gitlab.Requests())
	if got := e.do(t, call{path: "/api/v4/projects/24%0A/packages/generic/pkg/1.0.0/app.bin", token: developer}); got.StatusCode != 400 || len(gitlab.Requests()) != before {
		t.Errorf("an id that is none: %s after %d requests", got.Status, len(gitlab.Requests())-before)
	}
	gitlab.Publish(otherProject, "pkg", "1.0.0", "app.bin", []byte("x"))
	if got := e.do(t, call{path: "/api/v4/projects/25/packages/generic/pkg/1.0.0/app.bin", token: developer}); got.StatusCode != 200 {
		t.Errorf("another project: %s", got.Status)
	}
}

func TestIllegalNamesAre400WithGitLabsShapeForGETHEADAndPUT(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	base := "/api/v4/projects/24/packages/generic/"
	for path, parameter := range map[string]string{
		"pkg/1.0/app.bin": "package_version", "pkg/v1.0.0/app.bin": "package_version", "pkg/1.0.0%0A/app.bin": "package_version",
		"pkg/1.0.0-rc1/app.bin": "package_version", "p+q/1.0.0/app.bin": "package_name", "p%2Fq/1.0.0/app.bin": "package_name",
		"p%20q/1.0.0/app.bin": "package_name", "p%252Fq/1.0.0/app.bin": "package_name", "pkg/1.0.0/a+b": "file_name", "pkg/1.0.0/a%00b": "file_name",
		"pkg/1.0.0/%C3%A4": "file_name", "pkg/1.0.0/dir/file": "file_name", "pkg/1.0.0/" + strings.Repeat("a", 256): "file_name",
		"pkg/1.0.0/a;b": "file_name", "pkg/1.0.0/%2e%2e": "path",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut} {
			got := e.do(t, call{method: method, path: base + path, token: developer})
			want := `{"error":"` + parameter + ` is invalid","edge":`
			if got.StatusCode != 400 || (method != http.MethodHead && !strings.HasPrefix(string(got.body), want)) {
				t.Errorf("%s %s: %s %s, want %s", method, path, got.Status, got.body, want)
			}
		}
	}
	if n := len(gitlab.Requests()); n != 0 {
		t.Errorf("GitLab heard of it %d times", n)
	}
}

func TestRulesCurrentAndOwnPatterns(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "rules current")
	body := []byte("nested")
	for _, file := range []string{"dir/sub/app.bin", "a~b@c+d"} {
		if got := e.put(t, strings.Replace(filePath(file), "1.0.0", "v1.0-rc_1+x", 1), body); got.StatusCode != 201 {
			t.Errorf("publishing %s: %s %s", file, got.Status, got.body)
		}
		for range 2 {
			if got := e.do(t, call{path: strings.Replace(filePath(file), "1.0.0", "v1.0-rc_1+x", 1), token: developer}); !bytes.Equal(got.body, body) {
				t.Errorf("downloading %s: %s %s", file, got.Status, got.body)
			}
		}
	}
	// ?path= names another file under the same path: never served from the entry.
	gitlab.Publish(project, "pkg", "1.0.0", "f", []byte("plain"))
	gitlab.Publish(project, "pkg", "1.0.0", "dir/f", []byte("in the directory"))
	e.mustGet(t, "f", developer, []byte("plain"))
	if got := e.do(t, call{path: filePath("f") + "?path=dir", token: developer}); string(got.body) != "in the directory" {
		t.Errorf("?path=: %s %s", got.Status, got.body)
	}

	e.reload(t, "rules {\n name [a-z]+\n version v[0-9]+\n file .*[.]zip\n}")
	for path, status := range map[string]int{"pkg/v1/a.zip": 404, "pkg/v1/a.tar": 400, "pkg/1.0.0/a.zip": 400, "PKG/v1/a.zip": 400, "pkg/xv1/a.zip": 400} {
		if got := e.do(t, call{path: "/api/v4/projects/24/packages/generic/" + path, token: developer}); got.StatusCode != status {
			t.Errorf("own patterns: %s: %s, want %d", path, got.Status, status)
		}
	}
}

func TestAGitLabBelowAPathIsRecognisedByIt(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL+"/gitlab", "projects off")
	for path, status := range map[string]int{
		"/gitlab/api/v4/projects/24/packages/generic/pkg/1.0.0/a": 404, "//gitl%61b//api/v4/projects/24/packages/generic/pkg/1.0.0/a": 404,
		"/x/../gitlab/api/v4/projects/24/packages/generic/pkg/1.0.0/a": 404,
	} {
		got := e.do(t, call{path: path, token: developer})
		if got.StatusCode != status || !strings.Contains(got.cacheStatus(), "switched-off") {
			t.Errorf("%s: %s %q", path, got.Status, got.cacheStatus())
		}
	}
	if got := e.do(t, call{path: "/api/v4/projects/24/packages/generic/pkg/1.0.0/a", token: developer}); got.cacheStatus() != "" {
		t.Errorf("a path that isn't below it is the next handler's: %q", got.cacheStatus())
	}
}

// TestSecretsReachNeitherLogsNorStorageNorErrors sends every carrier through downloads, refusals and failures, and
// looks for it wherever it must not be.
func TestSecretsReachNeitherLogsNorStorageNorErrors(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	e := startEdge(t, gitlab.URL, "retries 1")
	publishOld(gitlab, "app.bin", someBytes(300_000, 1))
	const secret = "s3cr3t-value"
	gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: secret, Username: "s", Roles: map[int]gitlabtest.Role{project: gitlabtest.Developer}})
	calls := []call{
		{path: filePath("app.bin"), header: http.Header{"Authorization": {"Bearer " + secret}}},
		{path: filePath("app.bin"), header: http.Header{"Cookie": {"_gitlab_session=" + secret}}},
		{path: filePath("app.bin") + "?private_token=" + secret},
		{path: filePath("app.bin") + "?job_token=" + secret},
		{path: filePath("missing.bin") + "?access_token=" + secret},
		{path: filePath("app.bin"), token: secret},
		{path: filePath("app.bin"), header: http.Header{"Job-Token": {secret}}},
		{path: filePath("app.bin"), header: http.Header{"Deploy-Token": {secret}}},
		{path: filePath("app.bin"), token: secret, header: http.Header{"Range": {"bytes=5-9"}, "Sudo": {secret}}},
		{path: filePath("app.bin") + "?path=x&private_token=" + secret},
	}
	faults := []*gitlabtest.Fault{
		nil,
		{Status: 503, Times: -1},
		{Status: 429, Times: -1},
		{CutAfter: 1000, Times: -1},
		{LoginRedirect302: true, Times: -1},
		{Storage: true, Status: 500, Times: -1},
	}
	for _, fault := range faults {
		gitlab.ClearFaults()
		if fault != nil {
			gitlab.Inject(*fault)
		}
		putForward(caddyDay)
		for _, c := range calls {
			response, err := e.begin(c)
			if err != nil {
				continue // broken off before its head, which is an answer too
			}
			var seen bytes.Buffer
			_ = response.Header.Write(&seen)
			_, _ = seen.ReadFrom(response.Body)
			_ = response.Body.Close()
			if bytes.Contains(seen.Bytes(), []byte(secret)) || bytes.Contains(seen.Bytes(), []byte("X-Amz-Signature")) {
				t.Errorf("%s: the answer shows a secret: %.300s", c.path, seen.String())
			}
		}
	}
	for _, request := range gitlab.Requests() {
		if !request.Storage {
			continue
		}
		for name, values := range request.Header {
			if strings.Contains(strings.Join(values, " "), secret) || name == "Cookie" || name == "Referer" || name == "Authorization" {
				t.Errorf("the storage got %s: %s", name, values)
			}
		}
		if strings.Contains(request.Query, secret) {
			t.Errorf("the storage got the query %s", request.Query)
		}
	}
	for line := range strings.Lines(e.log(t)) {
		// Caddy's own access log prints requests as they are unless it is told otherwise (Caddyfile.example does).
		if strings.Contains(line, "http.log.access") {
			continue
		}
		if strings.Contains(line, secret) || strings.Contains(line, "X-Amz-Signature") {
			t.Errorf("the log shows a secret: %s", line)
		}
	}
}

// caddyDay is long enough for every grant and entry to be stale.
const caddyDay = 24 * 60 * 60 * 1e9

func TestOverHTTP3ARequestWithoutALengthIsADownloadUnlessItHasABody(t *testing.T) {
	for body, want := range map[string]bool{"": true, "private_token=x": false} {
		request := httptest.NewRequestWithContext(context.Background(), http.MethodGet, filePath("app.bin"), io.NopCloser(strings.NewReader(body)))
		request.ProtoMajor, request.ProtoMinor, request.ContentLength = 3, 0, -1
		recorder := httptest.NewRecorder()
		x := &exchange{h: &Handler{process: process}, w: recorder, r: request, body: guardBody(recorder, request)}
		if got := x.gatherBody() && x.isPlainDownload(); got != want {
			t.Errorf("with the body %q: %v", body, got)
		}
		if left, err := io.ReadAll(request.Body); err != nil || string(left) != body {
			t.Errorf("%q is left of %q, %v", left, body, err)
		}
	}
}
