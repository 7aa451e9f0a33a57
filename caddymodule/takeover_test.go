package caddymodule

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// takeover is a world in which a path passes from one private project to another, and an edge that trusts GitLab's words
// for an hour, so that every wrong conclusion from them shows.
type takeover struct {
	*edge
	gitlab *gitlabtest.Server
	// secret is what the first project has under a name that the second has as well, with planted in it. own is a file
	// of the second alone.
	secret, planted, own []byte
}

const (
	attackersProject = 66
	attacker         = "glpat-attacker" //nolint:gosec // a token of a stand-in
)

func newTakeover(t *testing.T, mode gitlabtest.Mode, checksums bool, options string) *takeover {
	t.Helper()
	w := &takeover{gitlab: newGitLab(t), secret: someBytes(10_000, 1), planted: someBytes(10_000, 2), own: someBytes(500, 3)}
	w.gitlab.SetMode(mode)
	w.gitlab.SetChecksums(checksums)
	w.gitlab.AddToken(gitlabtest.Token{
		Kind: gitlabtest.PersonalToken, Secret: attacker, Username: "mallory", Roles: map[int]gitlabtest.Role{attackersProject: gitlabtest.Maintainer},
	})
	w.giveBack()
	publishOld(w.gitlab, "secret.bin", w.secret)
	publishOld(w.gitlab, "only.bin", w.secret)
	w.gitlab.Publish(attackersProject, "pkg", "1.0.0", "secret.bin", w.planted)
	w.gitlab.Publish(attackersProject, "pkg", "1.0.0", "own.bin", w.own)
	w.edge = startEdge(t, w.gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h\n"+options)
	return w
}

// takeOver gives group/app to the attacker's project, giveBack to its first owner.
func (w *takeover) takeOver() {
	w.gitlab.AddProject(gitlabtest.Project{ID: project, Path: "group/renamed", FormerPaths: []string{"group/app"}})
	w.gitlab.AddProject(gitlabtest.Project{ID: attackersProject, Path: "group/app", FormerPaths: []string{"evil/app"}})
}

func (w *takeover) giveBack() {
	w.gitlab.AddProject(gitlabtest.Project{ID: attackersProject, Path: "evil/app"})
	w.gitlab.AddProject(gitlabtest.Project{ID: project, Path: "group/app", FormerPaths: []string{"group/renamed"}})
}

func of(spelling, file string) string {
	return "/api/v4/projects/" + spelling + "/packages/generic/pkg/1.0.0/" + file
}

// never fails the test if an answer holds any of some bytes.
func (w *takeover) never(t *testing.T, who string, c call, bytesOf []byte) answer {
	t.Helper()
	got := w.do(t, c)
	if bytes.Contains(got.body, bytesOf[5000:5016]) || got.Header.Get("X-Checksum-Sha256") == hexSHA256(bytesOf) {
		t.Errorf("%s gets the other project's file: %s, %s", who, got.Status, got.cacheStatus())
	}
	return got
}

// TestAProjectThatTakesOverAPathNeverGetsNorPlantsTheOthersFiles asks as an attacker would, while the edge knows nothing
// yet of the path's new owner, or knows the old one by the API.
func TestAProjectThatTakesOverAPathNeverGetsNorPlantsTheOthersFiles(t *testing.T) {
	for _, m := range modes {
		for name, options := range map[string]string{
			"without api_token": "",
			"with api_token":    "api_token " + administrator + "\nprojects on {\n off 4711\n}",
		} {
			t.Run(m.name+" "+name, func(t *testing.T) {
				w := newTakeover(t, m.mode, m.checksums, options)
				for _, file := range []string{"secret.bin", "only.bin"} {
					if got := w.do(t, call{path: of("group%2Fapp", file), token: developer}); !bytes.Equal(got.body, w.secret) {
						t.Fatalf("before: %s", got.Status)
					}
				}
				w.takeOver()

				if got := w.do(t, call{path: of("group%2Fapp", "own.bin"), token: attacker}); !bytes.Equal(got.body, w.own) {
					t.Errorf("its own file: %s", got.Status)
				}
				for _, file := range []string{"secret.bin", "only.bin"} {
					for _, spelling := range []string{"group%2Fapp", "Group%2FApp", "24", "024", "group%2Frenamed"} {
						w.never(t, "the attacker", call{path: of(spelling, file), token: attacker}, w.secret)
						w.never(t, "the attacker", call{path: of(spelling, file), token: attacker, method: http.MethodHead}, w.secret)
						w.never(t, "the attacker", call{path: of(spelling, file), token: attacker, header: http.Header{"Range": {"bytes=4000-6000"}}}, w.secret)
					}
				}
				if got := w.do(t, call{path: of("group%2Fapp", "secret.bin"), token: attacker}); !bytes.Equal(got.body, w.planted) {
					t.Errorf("the new owner's own file: %s, %s", got.Status, got.cacheStatus())
				}
				w.expectNothingPlanted(t)

				again := someBytes(10_000, 4)
				put := w.do(t, call{method: http.MethodPut, path: of("group%2Fapp", "secret.bin"), token: attacker, body: bytes.NewReader(again)})
				if put.StatusCode != http.StatusCreated {
					t.Fatalf("the attacker publishes: %s", put.Status)
				}
				if got := w.do(t, call{path: of("group%2Fapp", "secret.bin"), token: attacker}); !bytes.Equal(got.body, again) {
					t.Errorf("the new owner's new file: %s", got.Status)
				}
				w.planted = again
				w.expectNothingPlanted(t)
				w.gitlab.SetDown(true)
				w.never(t, "the developer", call{path: of("group%2Fapp", "secret.bin"), token: developer}, again)
				w.never(t, "the attacker", call{path: of("group%2Fapp", "only.bin"), token: attacker}, w.secret)
			})
		}
	}
}

// expectNothingPlanted has the first project's developer ask by all names.
func (w *takeover) expectNothingPlanted(t *testing.T) {
	t.Helper()
	w.never(t, "the developer", call{path: of("group%2Fapp", "secret.bin"), token: developer}, w.planted)
	w.never(t, "the developer", call{path: of("group%2Fapp", "secret.bin"), token: developer, header: http.Header{"Range": {"bytes=4000-6000"}}}, w.planted)
	for _, spelling := range []string{"24", "group%2Frenamed"} {
		if got := w.do(t, call{path: of(spelling, "secret.bin"), token: developer}); !bytes.Equal(got.body, w.secret) {
			t.Errorf("the first project's file as %s: %s", spelling, got.Status)
		}
	}
}

// TestAPathThatPassesBackOpensNothingToWhoHeldIt has the attacker collect grants while the path is theirs.
func TestAPathThatPassesBackOpensNothingToWhoHeldIt(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			w := newTakeover(t, m.mode, m.checksums, "")
			w.takeOver()
			for _, file := range []string{"own.bin", "secret.bin"} {
				w.do(t, call{path: of("group%2Fapp", file), token: attacker})
			}
			w.giveBack()
			for _, file := range []string{"secret.bin", "only.bin"} {
				if got := w.do(t, call{path: of("group%2Fapp", file), token: developer}); !bytes.Equal(got.body, w.secret) {
					t.Errorf("%s, for its developer: %s, %s", file, got.Status, got.cacheStatus())
				}
				w.never(t, "the attacker", call{path: of("group%2Fapp", file), token: attacker}, w.secret)
			}
		})
	}
}

// TestByIDAYesCoversTheProjectAndByPathTheFile counts what GitLab is asked.
func TestByIDAYesCoversTheProjectAndByPathTheFile(t *testing.T) {
	for spelling, heads := range map[string]int{"24": 1, "group%2Fapp": 3} {
		t.Run(spelling, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "")
			files := []string{"a.bin", "b.bin", "c.bin"}
			for _, file := range files {
				publishOld(gitlab, file, []byte(file))
				e.do(t, call{path: of(spelling, file), token: developer})
			}
			gitlab.ResetRequests()
			for range 2 {
				for _, file := range files {
					if got := e.do(t, call{path: of(spelling, file), token: colleague}); string(got.body) != file {
						t.Errorf("%s: %s", file, got.Status)
					}
				}
			}
			if gitlab.CountQuestions() != heads || gitlab.CountFetches() != 0 {
				t.Errorf("GitLab was asked %d questions and for %d fetches", gitlab.CountQuestions(), gitlab.CountFetches())
			}
			gitlab.ResetRequests()
			for _, file := range files {
				e.do(t, call{path: of(spelling, file), token: developer})
			}
			if asked := gitlab.Requests(); len(asked) != 0 {
				t.Errorf("for who fetched them, GitLab was asked %d times", len(asked))
			}
		})
	}
}
