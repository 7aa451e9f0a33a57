package gitlabtest_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// newWorld starts a GitLab with a project of each kind and a token of each.
//
//nolint:gosec // tokens of a stand-in
func newWorld(t *testing.T) *gitlabtest.Server {
	t.Helper()
	s := gitlabtest.New()
	t.Cleanup(s.Close)
	s.AddProject(gitlabtest.Project{ID: 24, Path: "group/app", FormerPaths: []string{"old/app"}})
	s.AddProject(gitlabtest.Project{ID: 25, Path: "group/public", Visibility: gitlabtest.Public})
	s.AddProject(gitlabtest.Project{ID: 26, Path: "group/off", RegistryOff: true})
	s.AddProject(gitlabtest.Project{ID: 27, Path: "group/near", AllowedIPs: []string{"192.0.2.1"}})
	everywhere := func(role gitlabtest.Role) map[int]gitlabtest.Role {
		return map[int]gitlabtest.Role{24: role, 25: role, 26: role, 27: role}
	}
	for _, token := range []gitlabtest.Token{
		{Secret: "dev", Username: "dev", Roles: everywhere(gitlabtest.Developer)},
		{Secret: "guest", Username: "guest", Roles: everywhere(gitlabtest.Guest)},
		{Secret: "reader", Username: "reader", Roles: everywhere(gitlabtest.Developer), Scopes: []string{"read_api"}},
		{Secret: "out", Username: "out"},
		{Secret: "admin", Username: "root", Admin: true},
		{Kind: gitlabtest.JobToken, Secret: "glcbt-job", Username: "ci", Roles: everywhere(gitlabtest.Developer)},
		{Kind: gitlabtest.DeployToken, Secret: "deploy", Username: "deploy", Roles: everywhere(gitlabtest.Developer)},
		{Kind: gitlabtest.OAuthToken, Secret: "oauth", Username: "oauth", Roles: everywhere(gitlabtest.Developer)},
		{Kind: gitlabtest.SessionCookie, Secret: "session", Username: "web", Roles: everywhere(gitlabtest.Developer)},
	} {
		s.AddToken(token)
	}
	for _, project := range []int{24, 25, 26, 27} {
		s.Publish(project, "pkg", "1.0.0", "f", []byte("0123456789"))
	}
	return s
}

// answer is the head of what came back.
type answer struct {
	Status     string
	StatusCode int
	Header     http.Header
}

func ask(t *testing.T, s *gitlabtest.Server, method, path, body string, header ...string) (answer, string) {
	t.Helper()
	return askAt(t, s.URL, method, path, body, header...)
}

func askAt(t *testing.T, origin, method, path, body string, header ...string) (answer, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, origin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.Status, response.StatusCode, response.Header}, string(text)
}

func file(project any) string {
	return fmt.Sprintf("/api/v4/projects/%v/packages/generic/pkg/1.0.0/f", project)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// TestWhoGetsIn goes through statuses and credentials (contract, sections 2 and 5).
func TestWhoGetsIn(t *testing.T) {
	s := newWorld(t)
	for _, test := range []struct {
		name, method, path string
		header             []string
		status             int
		body               string
	}{
		{"anonymous, private", "GET", file(24), nil, 401, `{"message":"401 Unauthorized"}`},
		{"anonymous, public", "GET", file(25), nil, 200, ""},
		{"anonymous, missing", "GET", file(99), nil, 401, ""},
		{"outsider", "GET", file(24), []string{"Private-Token", "out"}, 404, `{"message":"404 Not Found"}`},
		{"guest", "GET", file(24), []string{"Private-Token", "guest"}, 200, ""},
		{"guest publishes", "PUT", file(24), []string{"Private-Token", "guest"}, 403, `{"message":"403 Forbidden"}`},
		{"reader publishes", "PUT", file(24), []string{"Private-Token", "reader"}, 403, "insufficient_scope"},
		{"registry off", "GET", file(26), []string{"Private-Token", "dev"}, 403, `{"message":"403 Forbidden"}`},
		{"no such file", "GET", file(24) + "x", []string{"Private-Token", "dev"}, 404, `{"message":"404 Not found"}`},
		{"bad token", "GET", file(24), []string{"Private-Token", "bad"}, 401, `{"message":"401 Unauthorized"}`},
		{"bad token, public", "GET", file(25), []string{"Private-Token", "bad"}, 401, ""},
		{"bad Basic, public", "GET", file(25), []string{"Authorization", basic("x", "bad")}, 200, ""},
		{"bad deploy token, public", "GET", file(25), []string{"Deploy-Token", "bad"}, 200, ""},
		{"token in the query", "GET", file(24) + "?private_token=dev", nil, 200, ""},
		{"bad query beats good header", "GET", file(24) + "?private_token=bad", []string{"Private-Token", "dev"}, 401, ""},
		{"token as Bearer", "GET", file(24), []string{"Authorization", "Bearer dev"}, 200, ""},
		{"OAuth", "GET", file(24) + "?access_token=oauth", nil, 200, ""},
		{"Basic", "GET", file(24), []string{"Authorization", basic("any", "dev")}, 200, ""},
		{"deploy token", "GET", file(24), []string{"Deploy-Token", "deploy"}, 200, ""},
		{"Basic beats the deploy token", "GET", file(24), []string{"Deploy-Token", "deploy", "Authorization", basic("x", "bad")}, 401, ""},
		{"job token", "GET", file(24), []string{"Job-Token", "glcbt-job"}, 200, ""},
		{"job token in the query", "GET", file(24) + "?job_token=glcbt-job", nil, 200, ""},
		{"job token as token", "GET", file(24) + "?token=glcbt-job", nil, 200, ""},
		{"job token, Basic", "GET", file(24), []string{"Authorization", basic("gitlab-ci-token", "glcbt-job")}, 200, ""},
		{"job token, Basic, PUT", "PUT", file(24), []string{"Authorization", basic("gitlab-ci-token", "glcbt-job")}, 401, ""},
		{"job token publishes", "PUT", file(24), []string{"Job-Token", "glcbt-job"}, 201, `{"message":"201 Created"}`},
		{"dead job token", "GET", file(25), []string{"Job-Token", "glcbt-dead"}, 401, ""},
		{"dead job token as Bearer, public", "GET", file(25), []string{"Authorization", "Bearer glcbt-dead"}, 200, ""},
		{"dead job token as Bearer, private", "GET", file(24), []string{"Authorization", "Bearer glcbt-dead"}, 401, ""},
		{"bad PAT beats good job token", "GET", file(24), []string{"Private-Token", "bad", "Job-Token", "glcbt-job"}, 401, ""},
		{"session", "GET", file(24), []string{"Cookie", "_gitlab_session=session"}, 200, ""},
		{"session publishes", "PUT", file(24), []string{"Cookie", "_gitlab_session=session"}, 401, ""},
		{"Sudo without rights", "GET", file(24), []string{"Private-Token", "dev", "Sudo", "root"}, 403, "Must be admin"},
		{"Sudo to an outsider", "GET", file(24) + "?sudo=out", []string{"Private-Token", "admin"}, 404, ""},
		{"Sudo, anonymous", "GET", file(25), []string{"Sudo", "root"}, 401, ""},
		{"from an allowed address", "GET", file(27), []string{"Private-Token", "dev", "X-Forwarded-For", "192.0.2.1"}, 200, ""},
		{"from another address", "GET", file(27), []string{"Private-Token", "dev", "X-Forwarded-For", "192.0.2.2"}, 404, ""},
		{"bad name before who asks", "GET", strings.Replace(file(24), "1.0.0", "1..0", 1), nil, 400, `{"error":"package_version is invalid"}`},
		{"who asks before a bad name, PUT", "PUT", strings.Replace(file(24), "1.0.0", "1..0", 1), nil, 401, ""},
		{"traversal", "GET", strings.Replace(file(24), "pkg", "%2e%2e", 1), []string{"Private-Token", "dev"}, 400, "traversal"},
		{"NUL", "GET", file(24) + "%00", []string{"Private-Token", "dev"}, 400, "Bad Request"},
		{"another method", "DELETE", file(24), []string{"Private-Token", "dev"}, 405, `{"error":"405 Not Allowed"}`},
		{"no route", "GET", "/api/v4/projects/24/generic/pkg/1.0.0/f", nil, 404, `{"error":"404 Not Found"}`},
		{"bad status", "PUT", file(24) + "?status=x", []string{"Private-Token", "dev"}, 400, "status does not have a valid value"},
		{"bad select", "PUT", file(24) + "?select=x", []string{"Private-Token", "dev"}, 400, "select does not have a valid value"},
		{"select", "PUT", file(24) + "?select=package_file", []string{"Private-Token", "dev"}, 200, `"file_sha256"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, body := ask(t, s, test.method, test.path, "", test.header...)
			if response.StatusCode != test.status || !strings.Contains(body, test.body) {
				t.Errorf("got %s %s, want %d %s", response.Status, body, test.status, test.body)
			}
		})
	}
}

// TestWhichProjectAnIDNames goes through the forms of an id (contract, section 6).
func TestWhichProjectAnIDNames(t *testing.T) {
	s := newWorld(t)
	s.AddProject(gitlabtest.Project{ID: 30, Path: "group/new"})
	for id, status := range map[string]int{
		"24": 200, "0024": 200, "group%2Fapp": 200, "GROUP%2fApp": 200, "%67roup%2Fapp": 200, "old%2Fapp": 200, "24%0Ax%2Fy": 200,
		"myproj": 404, "group%252Fapp": 404, "99": 404,
	} {
		if response, _ := ask(t, s, "GET", file(id), "", "Private-Token", "dev"); response.StatusCode != status {
			t.Errorf("%s: %s, want %d", id, response.Status, status)
		}
	}
	// A live path wins over a former one.
	s.AddProject(gitlabtest.Project{ID: 31, Path: "old/app"})
	if response, _ := ask(t, s, "GET", file("old%2Fapp"), "", "Private-Token", "dev"); response.StatusCode != 404 {
		t.Errorf("a former path that is another project's now: %s", response.Status)
	}
}

// TestHowFilesAreGivenOut goes through methods and headers (contract, sections 1 and 4).
func TestHowFilesAreGivenOut(t *testing.T) {
	s := newWorld(t)
	for _, test := range []struct {
		name       string
		mode       gitlabtest.Mode
		get, head  int
		tag        bool
		sum, place bool
	}{
		{"local", gitlabtest.LocalDisk, 200, 200, false, true, false},
		{"proxied", gitlabtest.Proxied, 200, 200, true, true, false},
		{"redirect", gitlabtest.Redirect, 302, 303, false, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.SetMode(test.mode)
			s.SetChecksums(true)
			for method, status := range map[string]int{"GET": test.get, "HEAD": test.head} {
				response, _ := ask(t, s, method, file(24), "", "Private-Token", "dev")
				header := response.Header
				if response.StatusCode != status || (header.Get("Etag") != "") != test.tag || (header.Get("X-Checksum-Sha256") != "") != test.sum ||
					(header.Get("Location") != "") != test.place || header.Get("X-Request-ID") == "" {
					t.Errorf("%s: %s %v", method, response.Status, header)
				}
				if !test.place && !strings.HasPrefix(header.Get("Content-Disposition"), `attachment; filename="f"`) {
					t.Errorf("%s: Content-Disposition %q", method, header.Get("Content-Disposition"))
				}
			}
		})
	}
	s.SetMode(gitlabtest.LocalDisk)
	first, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
	modified := first.Header.Get("Last-Modified")
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"range": {[]string{"Range", "bytes=2-4"}, 206}, "past the end": {[]string{"Range", "bytes=10-"}, 416},
		"not modified": {[]string{"If-Modified-Since", modified}, 304}, "a made-up tag disables that": {[]string{"If-Modified-Since", modified, "If-None-Match", `"x"`}, 200},
		"any tag is none and yet matches": {[]string{"If-None-Match", "*"}, 304},
	} {
		response, _ := ask(t, s, "GET", file(24), "", append(test.header, "Private-Token", "dev")...)
		if response.StatusCode != test.status || response.Header.Get("X-Checksum-Sha256") == "" {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
}

// TestTheNewestUploadIsGivenOut publishes, deletes and hides (contract, section 7).
func TestTheNewestUploadIsGivenOut(t *testing.T) {
	s := newWorld(t)
	if response, _ := ask(t, s, "PUT", file(24), "newer", "Private-Token", "dev"); response.StatusCode != 201 {
		t.Fatal(response.Status)
	}
	if _, body := ask(t, s, "GET", file(24), "", "Private-Token", "dev"); body != "newer" {
		t.Errorf("got %q", body)
	}
	s.DeleteNewest(24, "pkg", "1.0.0", "f")
	if _, body := ask(t, s, "GET", file(24), "", "Private-Token", "dev"); body != "0123456789" {
		t.Errorf("after deleting the newest: %q", body)
	}
	s.DeletePackage(24, "pkg", "1.0.0")
	if response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev"); response.StatusCode != 404 {
		t.Errorf("after deleting the package: %s", response.Status)
	}
	nested := strings.Replace(file(24), "/f", "/d/e/f", 1)
	if response, _ := ask(t, s, "PUT", nested, "nested", "Private-Token", "dev"); response.StatusCode != 201 {
		t.Fatal(response.Status)
	}
	if _, body := ask(t, s, "GET", file(24)+"?path=d/e", "", "Private-Token", "dev"); body != "nested" {
		t.Errorf("?path=: %q", body)
	}
}

func TestStorageKnowsSignaturesAndNothingElse(t *testing.T) {
	s := newWorld(t)
	s.SetMode(gitlabtest.Redirect)
	redirect, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
	location := strings.TrimPrefix(redirect.Header.Get("Location"), s.StorageURL)
	for name, test := range map[string]struct {
		method, path string
		header       []string
		status       int
	}{
		"signed": {"GET", location, nil, 200}, "signed for another method": {"HEAD", location, nil, 403},
		"a second authorization": {"GET", location, []string{"Authorization", "Bearer dev"}, 400},
		"without a signature":    {"GET", strings.SplitN(location, "?", 2)[0], nil, 403},
		"a range":                {"GET", location, []string{"Range", "bytes=0-1"}, 206},
	} {
		if response, _ := askAt(t, s.StorageURL, test.method, test.path, "", test.header...); response.StatusCode != test.status {
			t.Errorf("%s: %s, want %d", name, response.Status, test.status)
		}
	}
}

func TestAClosedServerLeavesNothingRunning(t *testing.T) {
	ignored := goleak.IgnoreCurrent()
	s := gitlabtest.New()
	s.Inject(gitlabtest.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	if response, err := transport.RoundTrip(request); err == nil {
		_ = response.Body.Close()
		t.Error("the fault did nothing")
	}
	transport.CloseIdleConnections()
	s.Close()
	goleak.VerifyNone(t, ignored)
}

func Example() {
	gitlab := gitlabtest.New()
	defer gitlab.Close()
	gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
	gitlab.Publish(24, "pkg", "1.0.0", "app.bin", []byte("bytes"))
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, gitlab.URL+"/api/v4/projects/24/packages/generic/pkg/1.0.0/app.bin", nil)
	if err != nil {
		return
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	fmt.Println(response.Status, gitlab.Count(http.MethodGet))
	// Output: 401 Unauthorized 1
}
