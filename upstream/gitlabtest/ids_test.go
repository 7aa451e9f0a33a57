package gitlabtest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestSpellingsOfAProject is the table of section 6.
func TestSpellingsOfAProject(t *testing.T) {
	s := newWorld(t)
	s.AddProject(gitlabtest.Project{ID: 70, Path: "group/sub/sub/dotted.name"})
	s.AddProject(gitlabtest.Project{ID: 71, Path: "group/123"})
	s.AddProject(gitlabtest.Project{ID: 123, Path: "group/number"})
	for _, id := range []int{70, 71, 123} {
		s.SetRole("dev", id, gitlabtest.Developer)
		s.Publish(id, "pkg", "1.0.0", "f", fmt.Append(nil, id))
	}
	for id, want := range map[string]string{
		"24": "0123456789", "024": "0123456789", "000000000000000000024": "0123456789", "%32%34": "0123456789",
		"group%2Fapp": "0123456789", "group%2fapp": "0123456789", "GROUP%2FApp": "0123456789", "%67%72oup%2Fapp": "0123456789",
		"old%2Fapp": "0123456789", "OLD%2Fapp": "0123456789",
		"group%2Fsub%2Fsub%2Fdotted.name": "70", "group%2Fsub%2Fsub%2Fdotted%2Ename": "70",
		"group%2F123": "71", "123": "123",
		"24%0A": "0123456789", "24%0Ax%2Fy": "0123456789", "24%0A25": "0123456789", "%0A24": "0123456789", "24%0Dx%2Fy%0A24": "0123456789",
		"app": "404", "group": "404", "group%252Fapp": "404", "-24": "404", "+24": "404", "24x": "404", "x%0A24": "404", "24.0": "404",
		"99999999999999999999999": "404", "group%2F": "404", "%2Fgroup%2Fapp": "404",
	} {
		response, body := ask(t, s, "GET", file(id), "", "Private-Token", "dev")
		if response.StatusCode != 200 {
			body = response.Status[:3]
		}
		if body != want {
			t.Errorf("%s: got %s, want %s", id, body, want)
		}
	}
}

func TestFormerPaths(t *testing.T) {
	s := newWorld(t)
	if response, body := ask(t, s, "PUT", file("old%2Fapp"), "x", "Private-Token", "dev"); response.StatusCode != 405 ||
		body != `{"message":"Non GET methods are not allowed for moved projects"}` {
		t.Errorf("publishing by a former path: %s %s", response.Status, body)
	}
	if response, _ := ask(t, s, "PUT", file("old%2Fapp"), "x", "Private-Token", "out"); response.StatusCode != 404 {
		t.Errorf("publishing by a former path, a stranger: %s", response.Status)
	}
	if response, _ := ask(t, s, "GET", file("old%2Fapp"), "", "Private-Token", "dev"); response.StatusCode != 200 || response.Header.Get("Location") != "" {
		t.Errorf("downloading by a former path: %s", response.Status)
	}
	// A project that takes the path over is what it means from then on.
	s.AddProject(gitlabtest.Project{ID: 80, Path: "Old/App"})
	s.SetRole("dev", 80, gitlabtest.Developer)
	if response, _ := ask(t, s, "PUT", file("old%2Fapp"), "the new one's", "Private-Token", "dev"); response.StatusCode != 201 {
		t.Errorf("publishing by a path that was taken over: %s", response.Status)
	}
	if _, body := ask(t, s, "GET", file("old%2Fapp"), "", "Private-Token", "dev"); body != "the new one's" {
		t.Errorf("downloading by a path that was taken over: %q", body)
	}
}

// TestSpellingsOfARoute is the end of section 11, sent byte for byte.
func TestSpellingsOfARoute(t *testing.T) {
	s := newWorld(t)
	for target, status := range map[string]int{
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/f":                         200,
		"//api///v4/projects//24/packages/generic//pkg/1.0.0//f":                   200,
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/f/":                        200,
		"/%61pi/v%34/p%72ojects/24/pack%61ges/%67eneric/p%6bg/1%2e0%2E0/%66":       200,
		"/api/v4/projects/5%0A/packages/generic/pkg/1.0.0/f":                       404,
		"/api/v4/projects/24%0A/packages/generic/pkg/1.0.0/f":                      200,
		"http://elsewhere.example/api/v4/projects/24/packages/generic/pkg/1.0.0/f": 200,
		"/API/v4/projects/24/packages/generic/pkg/1.0.0/f":                         200, // no route of the API: the echo
		"/api/v4/projects/24/packages/Generic/pkg/1.0.0/f":                         404,
		"/api/v4/projects/24/./packages/generic/pkg/1.0.0/f":                       404,
		"/api/v4/projects/24/packages/generic/pkg/1.0.0":                           404,
		"/api/v4/projects/24/packages%2Fgeneric/pkg/1.0.0/f":                       404,
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/f;x":                       400,
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/..":                        400,
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/%2e%2e/f":                  400,
	} {
		got, line := askRaw(t, s, target)
		if got != status {
			t.Errorf("%s: %s, want %d", target, line, status)
		}
		last := s.Requests()[len(s.Requests())-1]
		if want := strings.TrimPrefix(target, "http://elsewhere.example"); last.Path != want {
			t.Errorf("%s is in the log as %s", target, last.Path)
		}
	}
}

// TestWorkhorseSeesSpellingsOfItsRoute is the way of a PUT: doubled slashes don't matter to it, escapes do.
func TestWorkhorseSeesSpellingsOfItsRoute(t *testing.T) {
	s := newWorld(t)
	for path, status := range map[string]int{
		"//api/v4///projects/24/packages//generic/pkg/1.0.0/f":        201,
		"/api/v4/projects/24/packages/generic/pkg/1.0.0/f/":           201,
		"/api/v4/projects/GROUP%2fapp/packages/generic/p%6bg/1.0.0/f": 201,
		"/api/v4/projects/24/packages/g%65neric/pkg/1.0.0/f":          403,
		"/api/v4/%70rojects/24/packages/generic/pkg/1.0.0/f":          403,
		"/api/v4/projects/24/generic/pkg/1.0.0/f":                     404,
	} {
		if response, body := ask(t, s, "PUT", path, "x", "Private-Token", "dev"); response.StatusCode != status {
			t.Errorf("%s: %s %s, want %d", path, response.Status, body, status)
		}
	}
}

// askRaw sends a GET whose target no client would leave alone.
func askRaw(t *testing.T, s *gitlabtest.Server, target string) (status int, line string) {
	t.Helper()
	address := strings.TrimPrefix(s.URL, "http://")
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nPrivate-Token: dev\r\nConnection: close\r\n\r\n", target, address); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Status + " " + string(body)
}
