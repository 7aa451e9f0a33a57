//go:build linux

package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// project is the id in filePrefix.
const project = 24

// filePrefix is how the URL paths of all files begin.
const filePrefix = "/api/v4/projects/24/packages/generic/bench/"

// filePath is the URL path of a file. A slash in its name stands behind its version.
func filePath(file string) string {
	version, name := versionOf(file)
	return filePrefix + version + "/" + name
}

func versionOf(file string) (version, name string) {
	if version, name, ok := strings.Cut(file, "/"); ok {
		return version, name
	}
	return "1.0.0", file
}

// token is the nth token; each may read the project.
func token(n int) string { return fmt.Sprintf("glpat-bench-%d", n) }

// addTokens makes tokens from the nth on known to GitLab.
func (b *bench) addTokens(from, count int) {
	for n := from; n < from+count; n++ {
		b.gitlab.AddToken(gitlabtest.Token{Secret: token(n), Username: fmt.Sprintf("runner%d", n), Roles: map[int]gitlabtest.Role{project: gitlabtest.Developer}})
	}
}

// publish puts a file of that size into GitLab. Its bytes are made as they are sent.
func (b *bench) publish(file string, size int64) gitlabtest.Content {
	b.files++
	content := gitlabtest.Generated(size, b.files)
	version, name := versionOf(file)
	b.gitlab.PublishContent(project, "bench", version, name, content)
	return content
}

// asked is what GitLab was asked for since the last ResetRequests.
type asked struct {
	// gets are whole files, questions what is only asked about them: by HEAD, or by a GET of the first byte.
	gets, questions int
	sent            int64
	running         int
}

func (b *bench) asked() (a asked) {
	for _, request := range b.gitlab.Requests() {
		switch {
		case request.IsQuestion(), request.Method == http.MethodHead:
			a.questions++
		case request.Method == http.MethodGet:
			a.gets++
		}
		a.sent += request.Sent
		if !request.Done {
			a.running++
		}
	}
	return a
}

func (a asked) String() string { return fmt.Sprintf("%d GET, %d questions", a.gets, a.questions) }

// delay makes GitLab answer that much later, from now on.
func (b *bench) delay(latency time.Duration) {
	b.gitlab.Inject(gitlabtest.Fault{Latency: latency, Times: -1})
}
