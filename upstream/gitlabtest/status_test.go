package gitlabtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const (
	jsonType       = "application/json"
	textType       = "text/plain"
	basicChallenge = `Basic realm="GitLab Packages Registry"`
)

// newPolicies is newWorld with projects that are particular about what is published.
func newPolicies(t *testing.T) *gitlabtest.Server {
	t.Helper()
	s := newWorld(t)
	s.AddProject(gitlabtest.Project{ID: 40, Path: "group/small", MaxFileSize: 4})
	s.AddProject(gitlabtest.Project{ID: 41, Path: "group/once", NoDuplicates: true, DuplicateException: "snapshot|.*-rc"})
	s.AddProject(gitlabtest.Project{ID: 42, Path: "group/often", DuplicateException: "release"})
	s.AddProject(gitlabtest.Project{ID: 43, Path: "group/guarded", ProtectedPackages: []string{"core-*"}})
	s.AddProject(gitlabtest.Project{ID: 44, Path: "group/going", PendingDeletion: true})
	for _, project := range []int{40, 41, 42, 43, 44} {
		s.SetRole("dev", project, gitlabtest.Developer)
		s.Publish(project, "pkg", "1.0.0", "f", []byte("old"))
	}
	s.Publish(41, "snapshot", "1.0.0", "f", []byte("old"))
	s.Publish(42, "release", "1.0.0", "f", []byte("old"))
	s.AddToken(gitlabtest.Token{Secret: "expired", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}, Expired: true})
	s.AddToken(gitlabtest.Token{Secret: "revoked", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}, Revoked: true})
	s.AddToken(gitlabtest.Token{Secret: "blocked", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}, Blocked: true})
	s.AddToken(gitlabtest.Token{Secret: "proving", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}, DPoP: "proof"})
	s.AddToken(gitlabtest.Token{Secret: "settled", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}, MaxAddresses: 1})
	s.AddToken(gitlabtest.Token{Secret: "keeper", Roles: map[int]gitlabtest.Role{43: gitlabtest.Maintainer}})
	s.AddToken(gitlabtest.Token{Secret: "profile", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}, Scopes: []string{"read_user"}})
	return s
}

// generic is the path of a file of a package in a project.
func generic(project, rest string) string {
	return "/api/v4/projects/" + project + "/packages/generic/" + rest
}

// TestStatusesAndBodies goes through the table of statuses row by row (contract, section 2).
func TestStatusesAndBodies(t *testing.T) {
	t.Parallel()
	dev := []string{"Private-Token", "dev"}
	bearer := func(kind, description string) (string, string) {
		return `{"error":"` + kind + `","error_description":"` + description + `"}`,
			`Bearer realm="Protected by OAuth 2.0", error="` + kind + `", error_description="` + description + `"`
	}
	revoked, revokedChallenge := bearer("invalid_token", "Token was revoked. You have to re-authorize from the user.")
	expired, expiredChallenge := bearer("invalid_token", "Token is expired. You can either do re-authorization or token refresh.")
	unproven, unprovenChallenge := bearer("dpop_error", "DPoP validation error: DPoP header is missing")
	scope := func(scopes string) string {
		return `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"` + scopes + `"}`
	}
	for _, test := range []struct {
		name, method, path string
		header             []string
		status             int
		body               string
		contentType        string
		challenge          string
	}{
		{"bad name", "GET", generic("24", "p%20q/1.0.0/f"), dev, 400, `{"error":"package_name is invalid"}`, jsonType, ""},
		{"bad version", "GET", generic("24", "pkg/1%200/f"), dev, 400, `{"error":"package_version is invalid"}`, jsonType, ""},
		{"bad file name", "GET", generic("24", "pkg/1.0.0/~f"), dev, 400, `{"error":"file_name is invalid"}`, jsonType, ""},
		{"all bad", "GET", generic("24", "p%20q/1%200/~f"), dev, 400, `{"error":"package_name is invalid, package_version is invalid, file_name is invalid"}`, jsonType, ""},
		{"a dot as name", "GET", generic("24", "./1.0.0/f"), dev, 400, `{"error":"package_name should be a valid file path"}`, jsonType, ""},
		{"a dot as file", "GET", generic("24", "pkg/1.0.0/%2e"), dev, 400, `{"error":"file_name should be a valid file path"}`, jsonType, ""},
		{"bad path", "GET", generic("24", "pkg/1.0.0/f?path=/etc"), dev, 400, `{"error":"path should be a valid file path"}`, jsonType, ""},
		{"path that walks up when decoded again", "GET", generic("24", "pkg/1.0.0/f?path=a/%252e%252e/b"), dev, 400, `{"error":"path should be a valid file path"}`, jsonType, ""},
		{"bad select", "PUT", generic("24", "pkg/1.0.0/f?select=id"), dev, 400, `{"error":"select does not have a valid value"}`, jsonType, ""},
		{"bad status", "PUT", generic("24", "pkg/1.0.0/f?status=error"), dev, 400, `{"error":"status does not have a valid value"}`, jsonType, ""},
		{"traversal", "GET", generic("24", "pkg/1.0.0/..%2f..%2ff"), dev, 400, "Potential path traversal attempt detected.", textType, ""},
		{"traversal elsewhere", "GET", "/-/a/../b", dev, 400, "Potential path traversal attempt detected.", textType, ""},
		{"NUL in the path", "GET", generic("24", "pkg/1.0.0/f%00"), dev, 400, "Bad Request", textType, ""},
		{"NUL in a parameter", "GET", generic("24", "pkg/1.0.0/f?x=%00"), dev, 400, "Bad Request", textType, ""},
		{"invalid UTF-8 in the path", "GET", generic("24", "pkg/1.0.0/%ff"), dev, 400, "Bad Request", textType, ""},
		{"invalid UTF-8 in a parameter", "GET", generic("24", "pkg/1.0.0/f?path=%ff"), dev, 400, "Bad Request", textType, ""},
		{"invalid UTF-8 in a credential", "GET", generic("25", "pkg/1.0.0/f"), []string{"Authorization", basic("x", "\xff")}, 400, "Bad Request", textType, ""},
		{"broken escape in a parameter", "GET", generic("24", "pkg/1.0.0/f?x=%zz"), dev, 400, "Bad Request", textType, ""},
		{
			"conflicting client addresses", "GET", generic("24", "pkg/1.0.0/f"),
			append([]string{"Client-Ip", "192.0.2.1", "X-Forwarded-For", "192.0.2.2"}, dev...), 400, "Bad Request", textType, "",
		},
		{"unknown format", "GET", generic("24", "pkg/1.0.0/f?format=exe"), dev, 406, `{"error":"The requested format 'exe' is not supported."}`, jsonType, ""},
		{"missing project", "GET", generic("99", "pkg/1.0.0/f"), dev, 404, `{"message":"404 Not Found"}`, jsonType, ""},
		{"project that is going", "GET", generic("44", "pkg/1.0.0/f"), dev, 404, `{"message":"404 Not Found"}`, jsonType, ""},
		{"invisible project", "GET", generic("24", "pkg/1.0.0/f"), []string{"Private-Token", "out"}, 404, `{"message":"404 Not Found"}`, jsonType, ""},
		{"invisible project, publishing", "PUT", generic("24", "pkg/1.0.0/f"), []string{"Private-Token", "out"}, 404, `{"message":"404 Not Found"}`, jsonType, ""},
		{"missing project, anonymous", "GET", generic("99", "pkg/1.0.0/f"), nil, 401, `{"message":"401 Unauthorized"}`, jsonType, basicChallenge},
		{"invisible project, anonymous", "GET", generic("24", "pkg/1.0.0/f"), nil, 401, `{"message":"401 Unauthorized"}`, jsonType, basicChallenge},
		{"publishing, anonymous", "PUT", generic("25", "pkg/1.0.0/f"), nil, 401, `{"message":"401 Unauthorized"}`, jsonType, basicChallenge},
		{"dead job token", "GET", generic("25", "pkg/1.0.0/f"), []string{"Job-Token", "glcbt-dead"}, 401, `{"message":"401 Unauthorized"}`, jsonType, basicChallenge},
		{"expired token", "GET", generic("24", "pkg/1.0.0/f"), []string{"Private-Token", "expired"}, 401, expired, jsonType, expiredChallenge},
		{"revoked token", "PUT", generic("24", "pkg/1.0.0/f"), []string{"Private-Token", "revoked"}, 401, revoked, jsonType, revokedChallenge},
		{"token without its proof", "GET", generic("24", "pkg/1.0.0/f"), []string{"Private-Token", "proving"}, 401, unproven, jsonType, unprovenChallenge},
		{"scope to read, publishing", "PUT", generic("24", "pkg/1.0.0/f"), []string{"Private-Token", "reader"}, 403, scope("api"), jsonType, ""},
		{"scope for neither", "GET", generic("24", "pkg/1.0.0/f"), []string{"Private-Token", "profile"}, 403, scope("api read_api"), jsonType, ""},
		{"missing package", "GET", generic("24", "other/1.0.0/f"), dev, 404, `{"message":"404 Not found"}`, jsonType, ""},
		{"missing version", "GET", generic("24", "pkg/1.0.1/f"), dev, 404, `{"message":"404 Not found"}`, jsonType, ""},
		{"missing file", "GET", generic("24", "pkg/1.0.0/g"), dev, 404, `{"message":"404 Not found"}`, jsonType, ""},
		{"name in another case", "GET", generic("24", "PKG/1.0.0/f"), dev, 404, `{"message":"404 Not found"}`, jsonType, ""},
		{"the document's short form", "GET", "/api/v4/projects/24/generic/pkg/1.0.0/f", dev, 404, `{"error":"404 Not Found"}`, jsonType, ""},
		{"unencoded slash in the project", "GET", generic("group/app", "pkg/1.0.0/f"), dev, 404, `{"error":"404 Not Found"}`, jsonType, ""},
		{"unencoded slash in the project, publishing", "PUT", generic("group/app", "pkg/1.0.0/f"), dev, 403, `{"message":"403 Forbidden"}`, jsonType, ""},
		{"escaped route, publishing past Workhorse", "PUT", "/api/v4/projects/24/packages/%67eneric/pkg/1.0.0/f", dev, 403, `{"message":"403 Forbidden"}`, jsonType, ""},
		{"Workhorse's own route", "PUT", generic("24", "pkg/1.0.0/f/authorize"), dev, 403, `{"message":"403 Forbidden"}`, jsonType, ""},
		{"guest publishes", "PUT", generic("24", "pkg/1.0.0/f"), []string{"Private-Token", "guest"}, 403, `{"message":"403 Forbidden"}`, jsonType, ""},
		{"outsider publishes to a public project", "PUT", generic("25", "pkg/1.0.0/f"), []string{"Private-Token", "out"}, 403, `{"message":"403 Forbidden"}`, jsonType, ""},
		{"registry off", "GET", generic("26", "pkg/1.0.0/f"), dev, 403, `{"message":"403 Forbidden"}`, jsonType, ""},
		{"registry off, anonymous", "GET", generic("26", "pkg/1.0.0/f"), nil, 401, `{"message":"401 Unauthorized"}`, jsonType, basicChallenge},
		{"registry off, publishing", "PUT", generic("26", "pkg/1.0.0/f"), dev, 403, `{"message":"403 Forbidden"}`, jsonType, ""},
		{"blocked user", "GET", generic("25", "pkg/1.0.0/f"), []string{"Private-Token", "blocked"}, 403, `{"message":"403 Forbidden - Your account has been blocked."}`, jsonType, ""},
		{"too large", "PUT", generic("40", "pkg/1.0.0/g"), dev, 400, `{"message":"400 Bad request - File is too large"}`, jsonType, ""},
		{"duplicate", "PUT", generic("41", "pkg/1.0.0/f"), dev, 400, `{"message":"400 Bad request - Duplicate package is not allowed"}`, jsonType, ""},
		{"another file is no duplicate", "PUT", generic("41", "pkg/1.0.0/g"), dev, 201, `{"message":"201 Created"}`, jsonType, ""},
		{"duplicate that is excepted by name", "PUT", generic("41", "snapshot/1.0.0/f"), dev, 201, `{"message":"201 Created"}`, jsonType, ""},
		{"duplicate that the exception forbids", "PUT", generic("42", "release/1.0.0/f"), dev, 400, `{"message":"400 Bad request - Duplicate package is not allowed"}`, jsonType, ""},
		{"protected", "PUT", generic("43", "core-lib/1.0.0/f"), dev, 403, `{"message":"403 Forbidden - Package protected."}`, jsonType, ""},
		{"protected, by who may", "PUT", generic("43", "core-lib/1.0.0/f"), []string{"Private-Token", "keeper"}, 201, `{"message":"201 Created"}`, jsonType, ""},
		{"published", "PUT", generic("24", "pkg/1.0.0/g"), dev, 201, `{"message":"201 Created"}`, jsonType, ""},
		{"another method", "POST", generic("24", "pkg/1.0.0/f"), dev, 405, `{"error":"405 Not Allowed"}`, jsonType, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newPolicies(t)
			body := ""
			if test.method == "PUT" {
				body = "0123456789"
			}
			response, got := ask(t, s, test.method, test.path, body, test.header...)
			if response.StatusCode != test.status || got != test.body {
				t.Errorf("got %s %s\nwant %d %s", response.Status, got, test.status, test.body)
			}
			if kind := response.Header.Get("Content-Type"); kind != test.contentType {
				t.Errorf("Content-Type %q, want %q", kind, test.contentType)
			}
			if challenge := response.Header.Get("WWW-Authenticate"); challenge != test.challenge {
				t.Errorf("WWW-Authenticate %q, want %q", challenge, test.challenge)
			}
		})
	}
}

func TestAnInstanceWithoutPackagesKnowsNoneOfThem(t *testing.T) {
	s := newWorld(t)
	s.SetPackages(false)
	for _, method := range []string{"GET", "PUT"} {
		response, body := ask(t, s, method, generic("25", "pkg/1.0.0/f"), "")
		if response.StatusCode != 404 || body != `{"message":"404 Not Found"}` {
			t.Errorf("%s: %s %s", method, response.Status, body)
		}
	}
}

func TestARowWhoseObjectIsGoneIsNotFoundWithACapitalF(t *testing.T) {
	s := newWorld(t)
	s.LoseObject(24, "pkg", "1.0.0", "f")
	response, body := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
	if response.StatusCode != 404 || body != `{"message":"404 Not Found"}` {
		t.Errorf("%s %s", response.Status, body)
	}
}

func TestATokenUsedFromTooManyAddressesIsForbidden(t *testing.T) {
	s := newPolicies(t)
	for _, step := range []struct {
		from   string
		status int
	}{{"192.0.2.1", 200}, {"192.0.2.1", 200}, {"192.0.2.2", 403}, {"192.0.2.1", 403}} {
		if response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "settled", "X-Forwarded-For", step.from); response.StatusCode != step.status {
			t.Errorf("from %s: %s, want %d", step.from, response.Status, step.status)
		}
	}
}

// TestWhenAPublishIsRefused tells the refusals that come before the body from those that come after it: a body is asked
// for only by 100 Continue.
func TestWhenAPublishIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path, token string
		status            int
		reads             bool
	}{
		{"anonymous", generic("24", "pkg/1.0.0/g"), "", 401, false},
		{"bad name", generic("24", "p%20q/1.0.0/g"), "dev", 400, false},
		{"bad status", generic("24", "pkg/1.0.0/g?status=x"), "dev", 400, false},
		{"invisible", generic("24", "pkg/1.0.0/g"), "out", 404, false},
		{"no right", generic("24", "pkg/1.0.0/g"), "guest", 403, false},
		{"protected", generic("43", "core-lib/1.0.0/g"), "dev", 403, false},
		{"former path", generic("old%2Fapp", "pkg/1.0.0/g"), "dev", 405, false},
		{"bad select", generic("24", "pkg/1.0.0/g?select=x"), "dev", 400, true},
		{"bad path", generic("24", "pkg/1.0.0/g?path=/x"), "dev", 400, true},
		{"too large", generic("40", "pkg/1.0.0/g"), "dev", 400, true},
		{"duplicate", generic("41", "pkg/1.0.0/f"), "dev", 400, true},
		{"let in", generic("24", "pkg/1.0.0/g"), "dev", 201, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newPolicies(t)
			const body = "0123456789"
			response, _ := ask(t, s, http.MethodPut, test.path, body, "Private-Token", test.token, "Expect", "100-continue")
			if response.StatusCode != test.status {
				t.Errorf("got %s, want %d", response.Status, test.status)
			}
			received := s.Requests()[0].Received
			if want := int64(len(body)); test.reads && received != want || !test.reads && received != 0 {
				t.Errorf("%d bytes of the body were read", received)
			}
		})
	}
}

func TestAPublisherWhoLosesTheRightMeanwhileIsRefusedAfterTheBody(t *testing.T) {
	s := newWorld(t)
	release := make(chan struct{})
	s.Inject(gitlabtest.Fault{StallUploadAfter: 2, Release: release, Reached: func() {
		s.RevokeToken("dev")
		close(release)
	}})
	response, _ := ask(t, s, "PUT", generic("24", "pkg/1.0.0/g"), "0123456789", "Private-Token", "dev")
	if response.StatusCode != 401 {
		t.Errorf("got %s", response.Status)
	}
	s.AddToken(gitlabtest.Token{Secret: "dev", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
	if response, _ := ask(t, s, "GET", generic("24", "pkg/1.0.0/g"), "", "Private-Token", "dev"); response.StatusCode != 404 {
		t.Errorf("it is published all the same: %s", response.Status)
	}
}

func TestProtectionIsJudgedAgainAfterTheBody(t *testing.T) {
	s := newPolicies(t)
	release := make(chan struct{})
	s.Inject(gitlabtest.Fault{StallUploadAfter: 2, Release: release, Reached: func() {
		s.SetRole("keeper", 43, gitlabtest.Developer)
		close(release)
	}})
	response, body := ask(t, s, "PUT", generic("43", "core-lib/1.0.0/f"), "0123456789", "Private-Token", "keeper")
	if response.StatusCode != 403 || body != `{"message":"403 Forbidden - Package protected."}` {
		t.Errorf("got %s %s", response.Status, body)
	}
}

func TestSelectShowsTheRow(t *testing.T) {
	for _, mode := range []gitlabtest.Mode{gitlabtest.LocalDisk, gitlabtest.Redirect} {
		s := newWorld(t)
		s.SetMode(mode)
		response, body := ask(t, s, "PUT", generic("24", "pkg/1.0.0/d/g?select=package_file&status=hidden"), "0123456789", "Private-Token", "dev")
		if response.StatusCode != 200 {
			t.Fatal(response.Status)
		}
		for _, part := range []string{
			`"id":`, `"package_id":`, `"created_at":`, `"updated_at":`, `"size":10`, `"file_store":`, `"file_md5":null`, `"file_sha1":null`,
			`"file_sha256":"84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"`, `"file_name":"d%2Fg"`, `"file":{"url":"`,
			`"verification_checksum":null`, `"new_file_path":null`,
		} {
			if !strings.Contains(body, part) {
				t.Errorf("no %s in %s", part, body)
			}
		}
		if strings.Contains(body, s.StorageURL) != (mode == gitlabtest.Redirect) {
			t.Errorf("the file's address: %s", body)
		}
	}
}
