package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// TestHowFarAYesReaches has a caller hear a yes to one file, and ask for another that is stored, which GitLab refuses them. Only
// within one project, spelled by its id, the yes covers both.
func TestHowFarAYesReaches(t *testing.T) {
	address := func(project, name, version, file string) string {
		return fmt.Sprintf("/api/v4/projects/%s/packages/generic/%s/%s/%s", url.PathEscape(project), name, version, file)
	}
	for name, test := range map[string]struct {
		to, other string
		covers    bool
	}{
		"by path, another version":   {address(projectPath, "pkg", "1.0.0", "app.bin"), address(projectPath, "pkg", "2.0.0", "app.bin"), false},
		"by path, another package":   {address(projectPath, "pkg", "1.0.0", "app.bin"), address(projectPath, "gkp", "1.0.0", "app.bin"), false},
		"by path, another file":      {address(projectPath, "pkg", "1.0.0", "app.bin"), address(projectPath, "pkg", "1.0.0", "other.bin"), false},
		"by path, another project":   {address(projectPath, "pkg", "1.0.0", "app.bin"), address("group/other", "pkg", "1.0.0", "app.bin"), false},
		"by path, then by id":        {address(projectPath, "pkg", "1.0.0", "app.bin"), address("24", "pkg", "1.0.0", "app.bin"), false},
		"by id, then by path":        {address("24", "pkg", "1.0.0", "app.bin"), address(projectPath, "pkg", "1.0.0", "app.bin"), false},
		"by id, another project":     {address("24", "pkg", "1.0.0", "app.bin"), address("25", "pkg", "1.0.0", "app.bin"), false},
		"by id, another version":     {address("24", "pkg", "1.0.0", "app.bin"), address("24", "pkg", "2.0.0", "app.bin"), true},
		"by id, another package":     {address("24", "pkg", "1.0.0", "app.bin"), address("24", "gkp", "1.0.0", "app.bin"), true},
		"by id, another file's name": {address("24", "pkg", "1.0.0", "app.bin"), address("24", "pkg", "1.0.0", "other.bin"), true},
	} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, GitLab down %v", name, down), func(t *testing.T) {
				gitlab := newGitLab(t)
				bodies := map[string][]byte{}
				gitlab.SetClock(func() time.Time { return process.clock().Add(-time.Hour) })
				for i, place := range []struct {
					id                   int
					path                 string
					name, version, names string
				}{
					{project, projectPath, "pkg", "1.0.0", "app.bin"},
					{project, projectPath, "pkg", "2.0.0", "app.bin"},
					{project, projectPath, "gkp", "1.0.0", "app.bin"},
					{project, projectPath, "pkg", "1.0.0", "other.bin"},
					{otherProject, "group/other", "pkg", "1.0.0", "app.bin"},
				} {
					body := someBytes(1000, byte(i)) //nolint:gosec // few
					gitlab.Publish(place.id, place.name, place.version, place.names, body)
					bodies[address(place.path, place.name, place.version, place.names)] = body
					bodies[address(fmt.Sprint(place.id), place.name, place.version, place.names)] = body
				}
				gitlab.SetClock(process.clock)
				e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
					refused := r.Header.Get("Private-Token") == colleague && r.URL.EscapedPath() != test.to
					if refused {
						w.WriteHeader(http.StatusNotFound)
					}
					return refused
				}), "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
				for _, path := range []string{test.to, test.other} {
					if got := e.do(t, call{path: path, token: developer}); !bytes.Equal(got.body, bodies[path]) {
						t.Fatalf("%s: %s", path, got.Status)
					}
				}
				awaitNoFlight(t)
				if got := e.do(t, call{path: test.to, token: colleague}); !bytes.Equal(got.body, bodies[test.to]) {
					t.Fatalf("what GitLab says yes to: %s", got.Status)
				}
				gitlab.SetDown(down)
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					got := e.do(t, call{method: method, path: test.other, token: colleague})
					if served := got.StatusCode == http.StatusOK; served != test.covers || bytes.Equal(got.body, bodies[test.other]) != (test.covers && method == http.MethodGet) {
						t.Errorf("%s of another file: %s, %q", method, got.Status, got.cacheStatus())
					}
				}
			})
		}
	}
}
