package gitlabtest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestEventsOfAPackage is the table of section 7: what a GET by name gives after each event.
func TestEventsOfAPackage(t *testing.T) {
	t.Parallel()
	publish := func(body, query string) func(*testing.T, *gitlabtest.Server) {
		return func(t *testing.T, s *gitlabtest.Server) {
			if response, _ := ask(t, s, "PUT", file(24)+query, body, "Private-Token", "dev"); response.StatusCode != 201 {
				t.Errorf("publishing %s: %s", body, response.Status)
			}
		}
	}
	deleteNewest := func(t *testing.T, s *gitlabtest.Server) {
		if !s.DeleteNewest(24, "pkg", "1.0.0", "f") {
			t.Error("there is nothing to delete")
		}
	}
	deletePackage := func(_ *testing.T, s *gitlabtest.Server) { s.DeletePackage(24, "pkg", "1.0.0") }
	status := func(status gitlabtest.PackageStatus) func(*testing.T, *gitlabtest.Server) {
		return func(_ *testing.T, s *gitlabtest.Server) { s.SetPackageStatus(24, "pkg", "1.0.0", status) }
	}
	type event = func(*testing.T, *gitlabtest.Server)
	const first, gone = "0123456789", "404"
	for name, test := range map[string]struct {
		events []event
		want   string
	}{
		"nothing":                            {nil, first},
		"published again":                    {[]event{publish("second", "")}, "second"},
		"published thrice":                   {[]event{publish("second", ""), publish("third", "")}, "third"},
		"newest deleted":                     {[]event{publish("second", ""), deleteNewest}, first},
		"both deleted":                       {[]event{publish("second", ""), deleteNewest, deleteNewest}, gone},
		"deleted and published anew":         {[]event{deletePackage, publish("second", "")}, "second"},
		"deleted":                            {[]event{deletePackage}, gone},
		"deleted anew has no older rows":     {[]event{deletePackage, publish("second", ""), deleteNewest}, gone},
		"hidden":                             {[]event{status(gitlabtest.PackageHidden)}, first},
		"hidden by a publish":                {[]event{publish("second", "?status=hidden")}, "second"},
		"deprecated":                         {[]event{status(gitlabtest.PackageDeprecated)}, first},
		"processing":                         {[]event{status(gitlabtest.PackageProcessing)}, gone},
		"error":                              {[]event{status(gitlabtest.PackageError)}, gone},
		"error, then published with default": {[]event{status(gitlabtest.PackageError), publish("second", "?status=default")}, "second"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t)
			for _, happen := range test.events {
				happen(t, s)
			}
			response, body := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
			if response.StatusCode != 200 {
				body = response.Status[:3]
			}
			if body != test.want {
				t.Errorf("got %s, want %s", body, test.want)
			}
		})
	}
}

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(body), &value); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return value
}

type listed struct {
	ID           int
	Name         string
	Version      string
	PackageType  string `json:"package_type"`
	Status       string
	FileName     string  `json:"file_name"`
	FileSHA256   string  `json:"file_sha256"`
	LastDownload *string `json:"last_downloaded_at"`
}

func TestListingPackages(t *testing.T) {
	s := newWorld(t)
	for i := range 45 {
		s.Publish(24, fmt.Sprintf("tool-%02d", i), "1.0.0", "f", []byte("x"))
	}
	s.Publish(24, "TOOL-03-doc", "1.0.0", "f", []byte("x"))
	s.Publish(24, "tool-03", "2.0.0", "f", []byte("x"))
	s.Publish(24, "hidden", "1.0.0", "f", []byte("x"))
	s.SetPackageStatus(24, "hidden", "1.0.0", gitlabtest.PackageHidden)
	const packages = "/api/v4/projects/24/packages"
	names := func(query string) string {
		_, body := ask(t, s, "GET", packages+query, "", "Private-Token", "dev")
		packages := decode[[]listed](t, body)
		found := make([]string, 0, len(packages))
		for _, p := range packages {
			found = append(found, p.Name+"/"+p.Version)
		}
		return strings.Join(found, " ")
	}
	for query, want := range map[string]string{
		"?package_type=generic&package_name=tool-03":                       "tool-03/1.0.0 TOOL-03-doc/1.0.0 tool-03/2.0.0", // by parts, in any case
		"?package_type=generic&package_name=tool-03&package_version=1.0.0": "tool-03/1.0.0 TOOL-03-doc/1.0.0",
		"?package_name=tool-03&sort=desc":                                  "tool-03/2.0.0 TOOL-03-doc/1.0.0 tool-03/1.0.0",
		"?package_name=tool-03&package_version=1":                          "",
		"?package_type=npm":                                                "",
		"?package_name=hidden":                                             "",
		"?status=hidden":                                                   "hidden/1.0.0",
	} {
		if got := names(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	var seen []string
	next := packages + "?per_page=20&package_name=tool"
	for pages := 0; next != ""; pages++ {
		response, body := ask(t, s, "GET", next, "", "Private-Token", "dev")
		for _, p := range decode[[]listed](t, body) {
			seen = append(seen, p.Name)
		}
		links := response.Header.Get("Link")
		next = ""
		if number := response.Header.Get("X-Next-Page"); number != "" {
			next = fmt.Sprintf("%s?per_page=20&package_name=tool&page=%s", packages, number)
			if !strings.Contains(links, "page="+number) || !strings.Contains(links, `rel="next"`) {
				t.Errorf("Link: %s", links)
			}
		} else if strings.Contains(links, `rel="next"`) {
			t.Errorf("Link after the last page: %s", links)
		}
		if total := response.Header.Get("X-Total"); total != "47" || response.Header.Get("X-Total-Pages") != "3" || pages > 2 {
			t.Fatalf("page %d: %v", pages, response.Header)
		}
	}
	if len(seen) != 47 || seen[0] != "tool-00" {
		t.Errorf("the pages have %d: %v", len(seen), seen)
	}
	if response, body := ask(t, s, "GET", packages+"?page=99", "", "Private-Token", "dev"); body != "[]\n" || response.Header.Get("X-Next-Page") != "" {
		t.Errorf("past the end: %s", body)
	}
}

func TestFilesOfAPackageAndDeletingByID(t *testing.T) {
	s := newWorld(t)
	s.AddToken(gitlabtest.Token{Secret: "keeper", Roles: map[int]gitlabtest.Role{24: gitlabtest.Maintainer}})
	s.Publish(24, "pkg", "1.0.0", "f", []byte("second"))
	s.Publish(24, "pkg", "1.0.0", "dir/g", []byte("other"))
	if response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev"); response.StatusCode != 200 {
		t.Fatal(response.Status)
	}
	_, body := ask(t, s, "GET", "/api/v4/projects/group%2Fapp/packages?package_name=pkg", "", "Private-Token", "dev")
	found := decode[[]listed](t, body)
	if len(found) != 1 || found[0].PackageType != "generic" || found[0].Status != "default" || found[0].LastDownload == nil {
		t.Fatalf("%s", body)
	}
	one := fmt.Sprintf("/api/v4/projects/24/packages/%d", found[0].ID)
	if _, body := ask(t, s, "GET", one, "", "Private-Token", "dev"); decode[listed](t, body).Name != "pkg" {
		t.Errorf("one package: %s", body)
	}
	files := func() []listed {
		_, body := ask(t, s, "GET", one+"/package_files", "", "Private-Token", "dev")
		return decode[[]listed](t, body)
	}
	rows := files()
	if len(rows) != 3 || rows[0].FileName != "f" || rows[0].FileSHA256 != sumOfDigits || rows[1].FileName != "f" ||
		rows[1].ID <= rows[0].ID || rows[2].FileName != "dir%2Fg" {
		t.Fatalf("rows: %+v", rows)
	}
	newest := fmt.Sprintf("%s/package_files/%d", one, rows[1].ID)
	for _, step := range []struct {
		method, path, token string
		status              int
	}{
		{"DELETE", newest, "dev", 403},
		{"DELETE", newest, "out", 404},
		{"GET", newest, "keeper", 405}, // there is no such route to read one
		{"DELETE", one + "/package_files/9999", "keeper", 404},
		{"DELETE", strings.Replace(newest, "/24/", "/old%2Fapp/", 1), "keeper", 405}, // a former path
		{"DELETE", newest, "keeper", 204},
		{"DELETE", newest, "keeper", 404},
	} {
		if response, _ := ask(t, s, step.method, step.path, "", "Private-Token", step.token); response.StatusCode != step.status {
			t.Errorf("%s %s by %s: %s, want %d", step.method, step.path, step.token, response.Status, step.status)
		}
	}
	if _, body := ask(t, s, "GET", file(24), "", "Private-Token", "dev"); body != "0123456789" {
		t.Errorf("after deleting the newest row: %q", body)
	}
	if rows := files(); len(rows) != 2 {
		t.Errorf("rows left: %+v", rows)
	}
	if response, _ := ask(t, s, "DELETE", one, "", "Private-Token", "keeper"); response.StatusCode != 204 {
		t.Errorf("deleting the package: %s", response.Status)
	}
	for _, path := range []string{one, one + "/package_files", file(24)} {
		if response, _ := ask(t, s, "GET", path, "", "Private-Token", "dev"); response.StatusCode != 404 {
			t.Errorf("%s after deleting the package: %s", path, response.Status)
		}
	}
}

func TestTheProjectsAPI(t *testing.T) {
	s := newWorld(t)
	for path, want := range map[string]string{
		"24": "24 group/app", "024": "24 group/app", "group%2Fapp": "24 group/app", "GROUP%2Fapp": "24 group/app", "99": "404", "app": "404", "24%2Fx": "404",
	} {
		response, body := ask(t, s, "GET", "/api/v4/projects/"+path, "", "Private-Token", "dev")
		got := response.Status[:3]
		if response.StatusCode == 200 {
			p := decode[struct {
				ID   int
				Path string `json:"path_with_namespace"`
			}](t, body)
			got = fmt.Sprintf("%d %s", p.ID, p.Path)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	// Former paths lead on, with the rest of the URL, but only those who may see the project.
	for path, want := range map[string]string{
		"old%2Fapp":                      "/api/v4/projects/24",
		"old%2Fapp/packages?per_page=50": "/api/v4/projects/24/packages?per_page=50",
	} {
		response, body := ask(t, s, "GET", "/api/v4/projects/"+path, "", "Private-Token", "dev")
		if response.StatusCode != 301 || response.Header.Get("Location") != s.URL+want || !strings.Contains(body, want) {
			t.Errorf("%s: %s %s", path, response.Status, response.Header.Get("Location"))
		}
	}
	for _, header := range [][]string{{"Private-Token", "out"}, nil} {
		response, body := ask(t, s, "GET", "/api/v4/projects/old%2Fapp", "", header...)
		if response.StatusCode != 404 || body != `{"message":"404 Project Not Found"}` {
			t.Errorf("%v: %s %s", header, response.Status, body)
		}
	}
	for path, status := range map[string]int{"": 405, "/packages": 405, "/issues": 404, "/packages/x": 404} {
		if response, _ := ask(t, s, "POST", "/api/v4/projects/24"+path, "", "Private-Token", "dev"); response.StatusCode != status {
			t.Errorf("POST %s: %s, want %d", path, response.Status, status)
		}
	}
}

func TestOtherPathsAreEchoed(t *testing.T) {
	s := newWorld(t)
	for _, path := range []string{"/-/health", "/api/v4/version", "/group/app?a=%20b&c", "/"} {
		response, body := ask(t, s, "POST", path, "x")
		if want := "POST " + path + "\n"; response.StatusCode != 200 || body != want || response.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: %s %q", path, response.Status, body)
		}
	}
	if _, body := ask(t, s, "GET", "/users/sign_in", ""); !strings.Contains(body, "<html") {
		t.Errorf("the log-in page is %q", body)
	}
}
