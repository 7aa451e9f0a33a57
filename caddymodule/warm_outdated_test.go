package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAWarmingFetchesWhatIsStoredAndMayNotBeTheCurrentFile has a file stored before a newer one is published beside the edge. Where
// GitLab lists no SHA-256, nothing tells that what is stored is the current file.
func TestAWarmingFetchesWhatIsStoredAndMayNotBeTheCurrentFile(t *testing.T) {
	older, newer := someBytes(5000, 1), someBytes(5000, 2)
	for name, test := range map[string]struct {
		published, listed bool
		fetched, already  int
	}{
		"a newer file":                     {true, true, 1, 0},
		"a newer file, no SHA-256 listed":  {true, false, 1, 0},
		"the same file":                    {false, true, 0, 1},
		"the same file, no SHA-256 listed": {false, false, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			target, err := url.Parse(gitlab.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := httputil.NewSingleHostReverseProxy(target)
			e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
				if test.listed || !strings.HasSuffix(r.URL.Path, "/package_files") {
					return false
				}
				listed := httptest.NewRecorder()
				proxy.ServeHTTP(listed, r)
				text := listed.Body.String()
				for _, body := range [][]byte{older, newer} {
					text = strings.ReplaceAll(text, hexSHA256(body), "")
				}
				_, _ = w.Write([]byte(text))
				return true
			}), "max_age 1h\ngrant_ttl 1h", withAdmin)
			want := older
			publishOld(gitlab, "app.bin", older)
			e.mustGet(t, "app.bin", developer, older)
			awaitNoFlight(t)
			if test.published {
				gitlab.Publish(project, "pkg", "1.0.0", "app.bin", newer)
				want = newer
			}
			app, err := runningApp()
			if err != nil {
				t.Fatal(err)
			}
			h := app.handlers[0]
			state := h.attachment.state
			w := h.newWarming("w", "24", "pkg", "1.0.0")
			if err := state.beginWarming(state.store.Load(), w, upstream.Caller{Credential: upstream.TokenCredential(colleague)}); err != nil {
				t.Fatal(err)
			}
			<-w.over
			status := warmingStatusOf([]*warming{w})
			if status.Fetched != test.fetched || status.Already != test.already || status.Failed != 0 || status.Error != "" {
				t.Errorf("warmed: %+v", status)
			}
			gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Status: http.StatusInternalServerError, Times: -1})
			e.mustGet(t, "app.bin", developer, want)
		})
	}
}
