package gitlabtest_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestNames tries what a name, a version and a file may be, in 13.5 and today (contract, section 3).
func TestNames(t *testing.T) {
	type verdict struct{ old, today bool }
	for field, values := range map[string]map[string]verdict{
		"package_name": {
			"a": {true, true}, "A.b-c_9": {true, true}, "a+b": {true, true}, "a~b": {}, "a@b": {}, "a b": {}, "ä": {}, "a\n": {}, "a/b": {}, "a%2Fb": {},
			".": {}, "...": {true, true},
		},
		"package_version": {
			"1.2.3": {true, true}, "1.2": {false, true}, "v1.2.3": {false, true}, "1.2.3-rc1": {false, true}, "1.2.3+x_y": {false, true}, "0.0.0": {true, true},
			"a1b2c3": {false, true}, ".": {false, true}, ".1": {false, true}, "1.": {false, true}, "1..2": {}, "1 2": {}, "1.2.3\n": {}, "1/2": {}, "1~2": {},
		},
		"file_name": {
			"a.tar.gz": {true, true}, "a+b": {true, true}, "a~b": {false, true}, "a@b": {false, true}, "~a": {}, "a~": {}, "@a": {}, "a@": {}, "a b": {},
			"a/b": {}, "a%2Fb": {}, ".": {}, ".a": {true, true}, "é": {}, "a\n": {},
		},
	} {
		for value, want := range values {
			for release, legal := range map[gitlabtest.Release]bool{gitlabtest.Release135: want.old, gitlabtest.Today: want.today} {
				s := gitlabtest.New(gitlabtest.WithRelease(release))
				s.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
				s.AddToken(gitlabtest.Token{Secret: "dev", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
				parts := map[string]string{"package_name": "pkg", "package_version": "1.0.0", "file_name": "f"}
				parts[field] = value
				path := generic("24", url.PathEscape(parts["package_name"])+"/"+url.PathEscape(parts["package_version"])+"/"+url.PathEscape(parts["file_name"]))
				response, body := ask(t, s, "PUT", path, "x", "Private-Token", "dev")
				if legal != (response.StatusCode == 201) || (!legal && (response.StatusCode != 400 || !strings.Contains(body, field))) {
					t.Errorf("release %d, %s %q: %s %s, want legal %v", release, field, value, response.Status, body, legal)
				}
				if legal {
					if response, _ := ask(t, s, "GET", path, "", "Private-Token", "dev"); response.StatusCode != 200 {
						t.Errorf("release %d, %s %q can't be downloaded: %s", release, field, value, response.Status)
					}
				}
				s.Close()
			}
		}
	}
}

// TestDirectories tries nested paths and the parameter path (contract, sections 3 and 1).
func TestDirectories(t *testing.T) {
	s := newWorld(t)
	dev := []string{"Private-Token", "dev"}
	if response, body := ask(t, s, "PUT", generic("24", "pkg/1.0.0/dir/s%20p/~ü/g"), "nested", dev...); response.StatusCode != 201 {
		t.Fatalf("%s %s", response.Status, body)
	}
	if response, body := ask(t, s, "PUT", generic("24", "pkg/1.0.0/h?path=by/query"), "by query", dev...); response.StatusCode != 201 {
		t.Fatalf("%s %s", response.Status, body)
	}
	if response, body := ask(t, s, "PUT", generic("24", "pkg/1.0.0/both/i?path=other"), "both", dev...); response.StatusCode != 201 {
		t.Fatalf("%s %s", response.Status, body)
	}
	for path, want := range map[string]string{
		"both/i":                              "both",
		"dir/s%20p/~ü/g":                      "nested",
		"dir/s%20p/%7E%C3%BC/g":               "nested", // another spelling
		"dir//s%20p/~ü/g/":                    "nested", // empty segments don't count
		"g?path=dir/s+p/~%C3%BC":              "nested",
		"by/query/h":                          "by query",
		"h?path=by/query":                     "by query",
		"h?path=by%2Fquery":                   "by query",
		"f":                                   "0123456789",
		"g":                                   "404",      // without its directory
		"f?path=":                             "404",      // an empty directory is another name than none
		"by/query/h?path=other":               "by query", // the URL's own directory goes first
		"dir%2Fs%20p%2F~%C3%BC%2Fg":           "400",      // slashes in one segment
		"dir%252Fs%2520p%252F~%25C3%25BC%2Fg": "400",
	} {
		response, body := ask(t, s, "GET", generic("24", "pkg/1.0.0/"+path), "", dev...)
		if response.StatusCode != 200 {
			body = response.Status[:3]
		}
		if body != want {
			t.Errorf("%s: got %s, want %s", path, body, want)
		}
	}
	// The header and the list have the stored name, encoded.
	response, _ := ask(t, s, "GET", generic("24", "pkg/1.0.0/by/query/h"), "", dev...)
	if got := response.Header.Get("Content-Disposition"); got != `attachment; filename="by%252Fquery%252Fh"; filename*=UTF-8''by%252Fquery%252Fh` {
		t.Errorf("Content-Disposition %s", got)
	}
}

// TestTheFirstRelease is what 13.5 did otherwise.
func TestTheFirstRelease(t *testing.T) {
	s := gitlabtest.New(gitlabtest.WithRelease(gitlabtest.Release135))
	t.Cleanup(s.Close)
	roles := map[int]gitlabtest.Role{24: gitlabtest.Developer, 25: gitlabtest.Developer}
	s.AddProject(gitlabtest.Project{ID: 24, Path: "group/app", FormerPaths: []string{"old/app"}})
	s.AddProject(gitlabtest.Project{ID: 25, Path: "group/public", Visibility: gitlabtest.Public})
	s.AddToken(gitlabtest.Token{Secret: "dev", Roles: roles})
	s.AddToken(gitlabtest.Token{Kind: gitlabtest.DeployToken, Secret: "deploy", Roles: roles})
	s.AddToken(gitlabtest.Token{Kind: gitlabtest.JobToken, Secret: "glcbt-job", Roles: roles}) //nolint:gosec // nobody's
	s.Publish(24, "pkg", "1.0.0", "f", []byte("x"))
	s.Publish(25, "pkg", "1.0.0", "f", []byte("x"))
	s.SetChecksums(true)
	for _, test := range []struct {
		name, method, path string
		header             []string
		status             int
		body               string
	}{
		{"anonymous, public", "GET", file(25), nil, 401, `{"message":"401 Unauthorized"}`},
		{"who asks before a bad name", "GET", generic("25", "pkg/1/f"), nil, 401, `{"message":"401 Unauthorized"}`},
		{"bad name", "GET", generic("25", "pkg/1/f"), []string{"Private-Token", "dev"}, 400, `{"error":"package_version is invalid"}`},
		{"token", "GET", file(24), []string{"Private-Token", "dev"}, 200, "x"},
		{"job token", "GET", file(24), []string{"Job-Token", "glcbt-job"}, 200, "x"},
		{"Basic", "GET", file(24), []string{"Authorization", basic("x", "dev")}, 401, `{"message":"401 Unauthorized"}`},
		{"Basic job token", "GET", file(24), []string{"Authorization", basic("gitlab-ci-token", "glcbt-job")}, 401, `{"message":"401 Unauthorized"}`},
		{"deploy token", "GET", file(24), []string{"Deploy-Token", "deploy"}, 401, `{"message":"401 Unauthorized"}`},
		{"former path", "GET", file("old%2Fapp"), []string{"Private-Token", "dev"}, 404, `{"message":"404 Not Found"}`},
		{"negative number", "GET", file("-24"), []string{"Private-Token", "dev"}, 404, `{"message":"404 Not Found"}`},
		{"directory", "GET", generic("24", "pkg/1.0.0/d/f"), []string{"Private-Token", "dev"}, 404, `{"error":"404 Not Found"}`},
		{"path", "GET", file(24) + "?path=d", []string{"Private-Token", "dev"}, 200, "x"},
		{"status and select are nothing", "PUT", file(24) + "?status=odd&select=odd", []string{"Private-Token", "dev"}, 201, `{"message":"201 Created"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, body := ask(t, s, test.method, test.path, "x", test.header...)
			if response.StatusCode != test.status || body != test.body {
				t.Errorf("got %s %s, want %d %s", response.Status, body, test.status, test.body)
			}
			if response.Header.Get("WWW-Authenticate") != "" || response.Header.Get("X-Checksum-Sha256") != "" {
				t.Errorf("headers of a later release: %v", response.Header)
			}
			if response.StatusCode == 200 && response.Header.Get("Content-Disposition") != "attachment; filename=f" {
				t.Errorf("Content-Disposition %q", response.Header.Get("Content-Disposition"))
			}
		})
	}
}
