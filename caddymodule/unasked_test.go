package caddymodule

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// withoutAnAnswer are the ways in which GitLab says neither yes nor no.
var withoutAnAnswer = map[string]func(*gitlabtest.Server){
	"down": func(gitlab *gitlabtest.Server) { gitlab.SetDown(true) },
	"rate limited": func(gitlab *gitlabtest.Server) {
		gitlab.Inject(gitlabtest.Fault{Status: http.StatusTooManyRequests, Times: -1})
	},
}

// TestWithoutAnAnswerAFileThatGitLabNamedOtherwiseIsServedToNobody has a file published beside the edge, which hears of that from
// GitLab's answer to one caller. All others who were allowed the file it has stored don't get that one any more.
func TestWithoutAnAnswerAFileThatGitLabNamedOtherwiseIsServedToNobody(t *testing.T) {
	for name, begin := range withoutAnAnswer {
		t.Run(name, func(t *testing.T) {
			inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
				if strings.HasSuffix(t.Name(), "redirected_storage") {
					t.Skip("a location that nothing has vouched for says nothing to others")
				}
				e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
				older, newer := someBytes(1000, 1), someBytes(1200, 2)
				publishOld(gitlab, "app.bin", older)
				e.mustGet(t, "app.bin", developer, older)
				awaitNoFlight(t)
				publishOld(gitlab, "app.bin", newer)
				e.do(t, call{method: http.MethodHead, path: filePath("app.bin"), token: colleague})
				begin(gitlab)
				got := e.do(t, call{path: filePath("app.bin"), token: developer})
				if got.StatusCode == http.StatusOK || bytes.Contains(got.body, older[:16]) {
					t.Errorf("got %s, %q", got.Status, got.cacheStatus())
				}
			})
		})
	}
}

// TestWithoutAnAnswerOnlyAYesThatIsYoungEnoughCounts goes through the ages of a yes by which a stored file is served.
func TestWithoutAnAnswerOnlyAYesThatIsYoungEnoughCounts(t *testing.T) {
	for name, test := range map[string]struct {
		token  string
		age    time.Duration
		served map[string]bool // by the name of the trouble
	}{
		"nobody's yes":                        {colleague, 0, nil},
		"a yes that is fresh":                 {developer, 0, map[string]bool{"down": true, "rate limited": true}},
		"a yes of up to twice grant_ttl":      {developer, 90 * time.Second, map[string]bool{"down": true, "rate limited": true}},
		"a yes of more, within offline_grace": {developer, 3 * time.Minute, map[string]bool{"down": true}},
		"a yes from before offline_grace":     {developer, 11 * time.Minute, nil},
	} {
		for trouble, begin := range withoutAnAnswer {
			t.Run(name+", "+trouble, func(t *testing.T) {
				gitlab := newGitLab(t)
				e := startEdge(t, gitlab.URL, "max_age 1s\ngrant_ttl 1m\noffline_grace 10m")
				body := someBytes(1000, 1)
				publishOld(gitlab, "app.bin", body)
				e.mustGet(t, "app.bin", developer, body)
				awaitNoFlight(t)
				putForward(test.age + 2*time.Second)
				begin(gitlab)
				got := e.do(t, call{path: filePath("app.bin"), token: test.token})
				if served := bytes.Equal(got.body, body); served != test.served[trouble] {
					t.Errorf("got %s, %q", got.Status, got.cacheStatus())
				} else if served && !strings.HasSuffix(got.cacheStatus(), "; detail=offline") {
					t.Errorf("served as %q", got.cacheStatus())
				}
			})
		}
	}
}

// TestWithoutAnAnswerAYesByPathOpensNothingThatWasStoredLater has an attacker hear a yes while the path is theirs. The file by
// that name is its first project's again when GitLab doesn't answer.
func TestWithoutAnAnswerAYesByPathOpensNothingThatWasStoredLater(t *testing.T) {
	for name, begin := range withoutAnAnswer {
		for _, m := range modes {
			t.Run(name+", "+m.name, func(t *testing.T) {
				w := newTakeover(t, m.mode, m.checksums, "")
				w.takeOver()
				if got := w.do(t, call{path: of("group%2Fapp", "secret.bin"), token: attacker}); !bytes.Equal(got.body, w.planted) {
					t.Fatalf("the attacker's own file: %s", got.Status)
				}
				w.giveBack()
				if got := w.do(t, call{path: of("group%2Fapp", "secret.bin"), token: developer}); !bytes.Equal(got.body, w.secret) {
					t.Fatalf("the first project's file: %s", got.Status)
				}
				awaitNoFlight(t)
				begin(w.gitlab)
				w.never(t, "the attacker", call{path: of("group%2Fapp", "secret.bin"), token: attacker}, w.secret)
				if got := w.do(t, call{path: of("group%2Fapp", "secret.bin"), token: developer}); !bytes.Equal(got.body, w.secret) {
					t.Errorf("for its developer: %s, %q", got.Status, got.cacheStatus())
				}
			})
		}
	}
}
