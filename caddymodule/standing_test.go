package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestWhomGitLabIsKnownToTrust is for requests that are forwarded: a yes to a download that still counts for something, or a 2xx
// to an uploads, and of this project.
func TestWhomGitLabIsKnownToTrust(t *testing.T) {
	for name, test := range map[string]struct {
		options string
		does    func(t *testing.T, e *edge)
		later   time.Duration
		path    string
		want    upstream.Standing
	}{
		"nobody heard of":              {"", func(*testing.T, *edge) {}, 0, filePath("new.bin"), upstream.Stranger},
		"a yes to a download":          {"grant_ttl 1h\noffline_grace 0", downloads, 0, filePath("new.bin"), upstream.Trusted},
		"one that is over":             {"grant_ttl 1h\noffline_grace 0", downloads, 2 * time.Hour, filePath("new.bin"), upstream.Stranger},
		"one that counts offline":      {"grant_ttl 1m\noffline_grace 3h", downloads, 2 * time.Hour, filePath("new.bin"), upstream.Trusted},
		"one that counts no more":      {"grant_ttl 1m\noffline_grace 1h", downloads, 2 * time.Hour, filePath("new.bin"), upstream.Stranger},
		"a yes in another project":     {"grant_ttl 1h", downloads, 0, inProject("25"), upstream.Stranger},
		"an upload that was taken":     {"grant_ttl 1h", uploads, 0, filePath("new.bin"), upstream.Trusted},
		"one that was taken long ago":  {"grant_ttl 1h", uploads, 2 * time.Hour, filePath("new.bin"), upstream.Stranger},
		"an upload in another project": {"grant_ttl 1h", uploads, 0, inProject("25"), upstream.Stranger},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "grant_scope credential\n"+test.options, withAdmin)
			publishOld(gitlab, "app.bin", []byte("x"))
			test.does(t, e)
			putForward(test.later)
			app, err := runningApp()
			if err != nil {
				t.Fatal(err)
			}
			h := app.handlers[0]
			request := httptest.NewRequest(http.MethodPut, test.path, nil)
			request.Header.Set("Private-Token", developer)
			route, err := h.route(request)
			if err != nil {
				t.Fatal(err)
			}
			if got := h.newExchange(httptest.NewRecorder(), request, route).standing(); got != test.want {
				t.Errorf("standing %v, want %v", got, test.want)
			}
		})
	}
}

func downloads(t *testing.T, e *edge) {
	t.Helper()
	e.mustGet(t, "app.bin", developer, []byte("x"))
	awaitNoFlight(t)
}

func uploads(t *testing.T, e *edge) {
	t.Helper()
	if got := e.put(t, filePath("uploaded.bin"), []byte("x")); got.StatusCode != http.StatusCreated {
		t.Fatal(got.Status)
	}
}
