package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// matrix is one GitLab and an edge before it, and the file that a case is about.
type matrix struct {
	*edge
	gitlab    *gitlabtest.Server
	mode      gitlabtest.Mode
	checksums bool
	cases     int

	file                 string
	older, first, second []byte
}

// events are what can become of a file behind the edge's back, after it was stored from a GitLab that gave first. bodies
// is how many bodies GitLab may be asked for because of it.
var events = []struct {
	name   string
	happen func(*matrix)
	bodies func(*matrix) int
	// sameSecond has the stored file published in the very second in which all happens.
	sameSecond bool
}{
	{name: "unchanged", happen: func(*matrix) {}, bodies: none},
	{name: "unchanged since this second", happen: func(*matrix) {}, sameSecond: true, bodies: func(m *matrix) int {
		// A Last-Modified of this second proves nothing, and on a disk GitLab has nothing else to name a file by.
		if m.mode == gitlabtest.LocalDisk && !m.checksums {
			return 1
		}
		return 0
	}},
	{name: "republished", happen: func(m *matrix) { m.publish(m.second[:len(m.second)-1]) }, bodies: one},
	{name: "republished within the same second with the same length", happen: func(m *matrix) { m.publish(m.second) }, sameSecond: true, bodies: one},
	{name: "newest upload deleted", happen: func(m *matrix) { m.gitlab.DeleteNewest(project, "pkg", "1.0.0", m.file) }, bodies: one},
	{name: "deleted", happen: (*matrix).deleteAll, bodies: none},
	{name: "deleted and published anew", happen: func(m *matrix) {
		m.deleteAll()
		m.publish(m.second)
	}, bodies: one},
	{name: "deleted and published anew as it was", happen: func(m *matrix) {
		m.deleteAll()
		m.publish(m.first)
	}, bodies: sameContent},
	{name: "moved within the storage", happen: func(m *matrix) { m.gitlab.MigrateStorage() }, bodies: sameContent},
	{name: "moved to the local disk", happen: moveTo(gitlabtest.LocalDisk), bodies: sameContent},
	{name: "moved to a proxied storage", happen: moveTo(gitlabtest.Proxied), bodies: sameContent},
	{name: "moved to a redirected storage", happen: moveTo(gitlabtest.Redirect), bodies: one},
}

func none(*matrix) int { return 0 }
func one(*matrix) int  { return 1 }

// sameContent is the cost of the same bytes under another name of GitLab's: none where it names their SHA-256, which a
// redirect doesn't.
func sameContent(m *matrix) int {
	if m.checksums && m.mode != gitlabtest.Redirect {
		return 0
	}
	return 1
}

func moveTo(mode gitlabtest.Mode) func(*matrix) {
	return func(m *matrix) {
		if mode != m.mode {
			m.setMode(mode)
			m.gitlab.MigrateStorage()
		}
	}
}

func (m *matrix) setMode(mode gitlabtest.Mode) {
	m.mode = mode
	m.gitlab.SetMode(mode)
}

func (m *matrix) publish(body []byte) { m.gitlab.Publish(project, "pkg", "1.0.0", m.file, body) }

func (m *matrix) deleteAll() {
	for m.gitlab.DeleteNewest(project, "pkg", "1.0.0", m.file) {
	}
}

// newReader returns a token that nobody has used yet.
func (m *matrix) newReader() string {
	m.cases++
	secret := fmt.Sprintf("glpat-reader-%d", m.cases)
	m.gitlab.AddToken(gitlabtest.Token{
		Kind: gitlabtest.PersonalToken, Secret: secret, Username: fmt.Sprintf("reader%d", m.cases), Roles: map[int]gitlabtest.Role{project: gitlabtest.Reporter},
	})
	return secret
}

// askGitLab is what GitLab itself gives now.
func askGitLab(t *testing.T, gitlab *gitlabtest.Server, file string, header http.Header) (status int, body []byte, disposition string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gitlab.URL+filePath(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := gitlab.Client()
	defer client.CloseIdleConnections()
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if location, err := response.Location(); err == nil {
		_ = response.Body.Close()
		request, err = http.NewRequestWithContext(t.Context(), http.MethodGet, location.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err = client.Do(request); err != nil {
			t.Fatal(err)
		}
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body, response.Header.Get("Content-Disposition")
}

// bodies counts the files that GitLab or its storage sent since the last ResetRequests.
func (m *matrix) bodies() (count int) {
	for _, request := range m.gitlab.Requests() {
		if request.Method == http.MethodGet && request.Sent >= int64(len(m.first)/2) {
			count++
		}
	}
	return count
}

// TestWhatTheCallerGetsIsWhatGitLabWouldGiveInEveryStorageMode walks through storage mode × event × fresh or stale × the
// same caller or another.
func TestWhatTheCallerGetsIsWhatGitLabWouldGiveInEveryStorageMode(t *testing.T) {
	for name, mode := range map[string]gitlabtest.Mode{
		"local disk": gitlabtest.LocalDisk, "proxied storage": gitlabtest.Proxied, "redirected storage": gitlabtest.Redirect,
	} {
		for _, checksums := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, checksums %v", name, checksums), func(t *testing.T) {
				m := &matrix{gitlab: newGitLab(t), checksums: checksums}
				m.setMode(mode)
				m.gitlab.SetChecksums(checksums)
				m.edge = startEdge(t, m.gitlab.URL, "")
				for _, event := range events {
					for _, stale := range []bool{false, true} {
						for _, another := range []bool{false, true} {
							t.Run(fmt.Sprintf("%s, stale %v, another caller %v", event.name, stale, another), func(t *testing.T) {
								m.store(t, event.sameSecond)
								caller := m.newReader()
								m.mustGet(t, m.file, caller, m.first)
								awaitNoFlight(t)
								event.happen(m)
								m.gitlab.SetClock(process.clock)
								m.judge(t, caller, stale, another, event.bodies(m))
								m.setMode(mode)
							})
						}
					}
				}
			})
		}
	}
}

// store publishes a new file, the second of two uploads.
func (m *matrix) store(t *testing.T, sameSecond bool) {
	t.Helper()
	m.cases++
	m.file = fmt.Sprintf("app%d.bin", m.cases)
	seed := byte(m.cases % 250) //nolint:gosec // less than 256
	m.older, m.first, m.second = someBytes(4000, seed), someBytes(3000, seed+1), someBytes(3000, seed+2)
	publishOld(m.gitlab, m.file, m.older)
	if !sameSecond {
		publishOld(m.gitlab, m.file, m.first)
		return
	}
	now := process.clock()
	m.gitlab.SetClock(func() time.Time { return now })
	m.publish(m.first)
}

// judge asks and compares with GitLab, twice.
func (m *matrix) judge(t *testing.T, caller string, stale, another bool, bodies int) {
	t.Helper()
	if stale {
		putForward(2 * time.Minute)
	}
	if another {
		caller = m.newReader()
	}
	status, body, disposition := askGitLab(t, m.gitlab, m.file, http.Header{"Private-Token": {caller}})
	m.gitlab.ResetRequests()
	got := m.do(t, call{path: filePath(m.file), token: caller})
	if !stale && !another {
		// Within max_age and grant_ttl the edge asks nobody.
		if asked := len(m.gitlab.Requests()); got.StatusCode != 200 || !bytes.Equal(got.body, m.first) || asked != 0 {
			t.Errorf("fresh: %s, %d bytes, GitLab was asked %d times", got.Status, len(got.body), asked)
		}
		return
	}
	if got.StatusCode != status || !bytes.Equal(got.body, body) {
		t.Errorf("got %s, %d bytes, %q; GitLab gives %d, %d bytes", got.Status, len(got.body), got.cacheStatus(), status, len(body))
	}
	if status == http.StatusOK && got.Header.Get("Content-Disposition") != disposition {
		t.Errorf("Content-Disposition %q, GitLab's is %q", got.Header.Get("Content-Disposition"), disposition)
	}
	if fetched := m.bodies(); fetched > bodies {
		t.Errorf("%d bodies were fetched, want at most %d", fetched, bodies)
	}
	// What is known by now costs nothing more.
	awaitNoFlight(t)
	putForward(2 * time.Minute)
	m.gitlab.ResetRequests()
	again := m.do(t, call{path: filePath(m.file), token: caller})
	if again.StatusCode != status || !bytes.Equal(again.body, body) {
		t.Errorf("asked again: %s, %d bytes, %q", again.Status, len(again.body), again.cacheStatus())
	}
	// Where a file could only be named by the second it was published in, one more body names it for good.
	if fetched := m.bodies(); fetched > 0 && (m.checksums || m.mode != gitlabtest.LocalDisk) {
		t.Errorf("asked again, %d bodies were fetched", fetched)
	}
}
