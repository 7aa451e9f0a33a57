package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// brokenFS refuses to make files.
type brokenFS struct{ cache.FS }

func (brokenFS) Create(string) (cache.File, error) { return nil, errBrokenDisk }

var errBrokenDisk = errors.New("the disk is broken")

// failuresWithSecrets are all ways to fail that the edge knows of, each with how it is brought about.
var failuresWithSecrets = []struct {
	name    string
	options string
	mode    gitlabtest.Mode
	fs      cache.FS
	begin   func(*gitlabtest.Server)
}{
	{name: "none"},
	{name: "GitLab answers 500", begin: injecting(gitlabtest.Fault{Status: 500})},
	{name: "GitLab answers 429", begin: injecting(gitlabtest.Fault{Status: 429})},
	{name: "GitLab answers 401", begin: injecting(gitlabtest.Fault{Status: 401})},
	{name: "a log-in page", begin: injecting(gitlabtest.Fault{LoginPage200: true})},
	{name: "a redirect to a log-in page", begin: injecting(gitlabtest.Fault{LoginRedirect302: true})},
	{name: "connections are reset", begin: injecting(gitlabtest.Fault{Reset: true})},
	{name: "bodies break off", options: "retries 1", begin: injecting(gitlabtest.Fault{CutAfter: 1000})},
	{name: "bodies are wrong", begin: injecting(gitlabtest.Fault{CorruptAt: 10})},
	{name: "bodies have no end", begin: injecting(gitlabtest.Fault{Unframed: true})},
	{name: "uploads break off", begin: injecting(gitlabtest.Fault{Method: http.MethodPut, CutUploadAfter: 10})},
	{name: "answers to uploads are lost", begin: injecting(gitlabtest.Fault{Method: http.MethodPut, LoseAnswer: true})},
	{name: "GitLab is down", begin: func(gitlab *gitlabtest.Server) { gitlab.SetDown(true) }},
	{name: "object storage", mode: gitlabtest.Redirect},
	{name: "the object storage is down", mode: gitlabtest.Redirect, begin: func(gitlab *gitlabtest.Server) { gitlab.SetStorageDown(true) }},
	{name: "the object storage answers 403", mode: gitlabtest.Redirect, begin: injecting(gitlabtest.Fault{Storage: true, Status: 403})},
	{name: "the object storage breaks off", mode: gitlabtest.Redirect, options: "retries 1", begin: injecting(gitlabtest.Fault{Storage: true, CutAfter: 1000})},
	{name: "the disk is broken", fs: brokenFS{cache.OS()}},
	{name: "the disk is full", fs: fullFS{cache.OS()}},
	{name: "all is switched off", options: "projects off"},
	{name: "names are illegal", options: "rules {\n file nothing-else\n}"},
	{name: "aliases can't be found out", options: "api_token glpat-of-the-admin\nprojects on {\n off 99\n}", begin: injecting(gitlabtest.Fault{PathContains: "/projects/24", Status: 500})},
}

func injecting(fault gitlabtest.Fault) func(*gitlabtest.Server) {
	fault.Times = -1
	return func(gitlab *gitlabtest.Server) { gitlab.Inject(fault) }
}

// TestNoFailureShowsASecret sends every carrier through every failure with debug logs on. With the encoder nothing in any
// log shows a secret; without it nothing that the edge itself logs does, and no answer of the admin API.
func TestNoFailureShowsASecret(t *testing.T) {
	for _, redacted := range []bool{true, false} {
		for _, failure := range failuresWithSecrets {
			name := failure.name
			if redacted {
				name += ", redacted"
			}
			t.Run(name, func(t *testing.T) {
				setForTest(t, &process.breakerPause, time.Microsecond)
				if failure.fs != nil {
					setForTest(t, &process.fileSystem, failure.fs)
				}
				gitlab := newGitLab(t)
				gitlab.SetMode(failure.mode)
				gitlab.SetChecksums(true)
				publishOld(gitlab, "app.bin", someBytes(100_000, 1))
				publishOld(gitlab, "known.bin", someBytes(100_000, 2))
				e := startEdge(t, gitlab.URL, failure.options, around{admin: true, redacted: redacted})
				e.do(t, call{path: filePath("known.bin"), token: developer})
				if failure.begin != nil {
					failure.begin(gitlab)
				}
				sent := 1
				for _, c := range secretCalls() {
					response, err := e.begin(c)
					if err == nil {
						_ = response.Body.Close()
					}
					sent++
				}
				awaitNoFlight(t)
				await(t, func() bool {
					return strings.Count(e.log(t), "handled request")+strings.Count(e.log(t), "aborting") >= sent
				})
				expectNoSecret(t, e, redacted)
			})
		}
	}
}

// secretCalls are calls with every carrier, those with a good token among them: they get farther.
func secretCalls() (calls []call) {
	for _, file := range []string{"app.bin", "known.bin"} {
		calls = append(calls, eachCarrier(filePath(file))...)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			calls = append(calls,
				call{method: method, path: filePath(file), token: developer},
				call{method: method, path: filePath(file), header: http.Header{"Authorization": {"Bearer " + colleague}}},
				call{method: method, path: filePath(file), header: http.Header{"Job-Token": {jobToken}}},
				call{method: method, path: filePath(file) + "?private_token=" + administrator},
			)
		}
	}
	return append(calls,
		call{method: http.MethodPut, path: filePath("new.bin"), token: developer, body: strings.NewReader("some bytes of a file")},
		call{method: http.MethodPut, path: filePath("new.bin") + "?private_token=" + administrator, body: strings.NewReader("some bytes")},
		call{method: http.MethodDelete, path: filePath("new.bin"), token: colleague},
	)
}

var allSecrets = []string{unseen, developer, colleague, jobToken, administrator, "glpat-of-the-admin"}

// shown reports whether a text shows a secret, or any signature of a URL.
func shown(text string) bool {
	for _, secret := range allSecrets {
		if strings.Contains(text, secret) {
			return true
		}
	}
	pieces := strings.Split(text, "X-Amz-Signature=")
	return slices.ContainsFunc(pieces[1:], func(signature string) bool { return !strings.HasPrefix(signature, "REDACTED") })
}

func TestASecretThatIsShownIsFoundWhereverItStands(t *testing.T) {
	const hidden, open = "?X-Amz-Signature=REDACTED", "?X-Amz-Signature=abc"
	for text, want := range map[string]bool{
		"": false, hidden + " " + hidden: false, open: true, open + hidden: true, hidden + " " + open: true, hidden + " " + developer: true,
	} {
		if shown(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func expectNoSecret(t *testing.T, e *edge, redacted bool) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(e.log(t)) {
		var parsed struct{ Logger string }
		if err := json.Unmarshal([]byte(line), &parsed); err != nil {
			t.Errorf("no JSON: %s", line)
		}
		ours := strings.HasPrefix(parsed.Logger, "http.handlers.gitlab_packages") || strings.HasPrefix(parsed.Logger, "gitlab_packages")
		if (redacted || ours) && shown(line) {
			t.Errorf("a secret is shown: %s", line)
		}
		lines++
	}
	if lines == 0 {
		t.Error("nothing was logged; the test shows nothing")
	}
	for _, path := range []string{"status", "projects", "entries", "verify"} {
		if _, answer := e.api(t, http.MethodGet, path, ""); shown(answer) {
			t.Errorf("%s shows a secret: %s", path, answer)
		}
	}
}
