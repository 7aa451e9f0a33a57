package caddymodule

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// outages are the ways in which GitLab can be no help.
var outages = []struct {
	name  string
	begin func(*gitlabtest.Server)
}{
	{"down", func(gitlab *gitlabtest.Server) { gitlab.SetDown(true) }},
	{"hanging", func(gitlab *gitlabtest.Server) { gitlab.Inject(gitlabtest.Fault{Hang: true, Times: -1}) }},
	{"resetting", func(gitlab *gitlabtest.Server) { gitlab.Inject(gitlabtest.Fault{Reset: true, Times: -1}) }},
	{"500", func(gitlab *gitlabtest.Server) { gitlab.Inject(gitlabtest.Fault{Status: 500, Times: -1}) }},
	{"502", func(gitlab *gitlabtest.Server) { gitlab.Inject(gitlabtest.Fault{Status: 502, Times: -1}) }},
	{"503", func(gitlab *gitlabtest.Server) { gitlab.Inject(gitlabtest.Fault{Status: 503, Times: -1}) }},
}

func TestInAnOutageThoseWhomGitLabAllowedKeepBeingServedAndNobodyElse(t *testing.T) {
	setForTest(t, &process.breakerPause, 20*time.Millisecond)
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			if outage.name == "hanging" {
				setForTest(t, &process.checkTimeout, 500*time.Millisecond)
			}
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "")
			body := someBytes(100_000, 1)
			publishOld(gitlab, "app.bin", body)
			publishOld(gitlab, "cold.bin", body)
			e.mustGet(t, "app.bin", developer, body)
			e.mustGet(t, "app.bin", administrator, body)
			gitlab.RevokeToken(administrator)
			putForward(2 * time.Minute)
			if got := e.do(t, call{path: filePath("app.bin"), token: administrator}); got.StatusCode != http.StatusUnauthorized {
				t.Fatalf("a revoked token: %s", got.Status)
			}
			outage.begin(gitlab)

			for range 8 { // more than it takes to open the breaker
				if got := e.mustGet(t, "app.bin", developer, body); !strings.HasSuffix(got.cacheStatus(), "; detail=offline") {
					t.Errorf("whom GitLab allowed two minutes ago: %q", got.cacheStatus())
				}
			}
			for name, c := range map[string]call{
				"somebody else":                   {path: filePath("app.bin"), token: colleague},
				"nobody":                          {path: filePath("app.bin")},
				"somebody whom GitLab refused":    {path: filePath("app.bin"), token: administrator},
				"a file that isn't stored":        {path: filePath("cold.bin"), token: developer},
				"a request that isn't a download": {path: filePath("app.bin") + "?status=default", token: developer},
			} {
				got := e.do(t, c)
				// What GitLab itself says to a forwarded request is relayed as it is.
				relayed := strings.Contains(got.cacheStatus(), "fwd-status=5")
				if (got.StatusCode != http.StatusBadGateway && got.StatusCode != http.StatusServiceUnavailable && !relayed) ||
					(!relayed && got.Header.Get("Retry-After") == "") || bytes.Contains(got.body, body[:16]) {
					t.Errorf("%s: %s, Retry-After %q", name, got.Status, got.Header.Get("Retry-After"))
				}
			}

			// A grant has a fixed life, however often it was used.
			putForward(28*time.Minute + time.Second)
			if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode < 500 {
				t.Errorf("after offline_grace: %s", got.Status)
			}

			gitlab.SetDown(false)
			gitlab.ClearFaults()
			for deadline := time.Now().Add(10 * time.Second); ; {
				got := e.do(t, call{path: filePath("app.bin"), token: colleague})
				if got.StatusCode == http.StatusOK && bytes.Equal(got.body, body) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("its return isn't noticed: %s", got.Status)
				}
			}
		})
	}
}

// awaitProbeAnswered waits until the edge has heard the answer to its first probe, without which no breaker opens.
func awaitProbeAnswered(t *testing.T) {
	t.Helper()
	await(t, func() bool {
		for _, breakers := range runningState().allBreakers() {
			if breakers.ProbeAnswered() {
				return true
			}
		}
		return false
	})
}

// isDown reports whether a kind of server isn't asked, by any way.
func isDown(server string) bool {
	for _, breakers := range runningState().allBreakers() {
		if slices.Contains(breakers.Down(), server) {
			return true
		}
	}
	return false
}

func TestADeadGitLabIsNotAskedByEachCallerAndAReloadKnowsThatItIsDead(t *testing.T) {
	setForTest(t, &process.breakerPause, time.Hour)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	putForward(2 * time.Minute)
	awaitProbeAnswered(t)
	gitlab.Inject(gitlabtest.Fault{Status: http.StatusBadGateway, Times: -1})
	gitlab.ResetRequests()
	for range 2 {
		e.mustGet(t, "app.bin", developer, body)
	}
	await(t, func() bool { return isDown(upstream.ServerGitLab) })
	for range 50 {
		e.mustGet(t, "app.bin", developer, body)
	}
	if asked := len(gitlab.Requests()); asked != 2 {
		t.Errorf("GitLab was asked %d times", asked)
	}
	e.reload(t, "max_age 30s")
	e.mustGet(t, "app.bin", developer, body)
	upload := e.do(t, call{method: http.MethodPut, path: filePath("new.bin"), token: developer, body: strings.NewReader("x")})
	if upload.StatusCode != http.StatusServiceUnavailable || upload.Header.Get("Retry-After") != "3600" {
		t.Errorf("an upload: %s, Retry-After %q", upload.Status, upload.Header.Get("Retry-After"))
	}
	if asked := len(gitlab.Requests()); asked != 2 {
		t.Errorf("after a reload GitLab was asked %d times", asked)
	}
	await(t, func() bool { return strings.Contains(e.log(t), "GitLab doesn't answer") })
	if told := strings.Count(e.log(t), "GitLab doesn't answer"); told != 1 {
		t.Errorf("the log tells of it %d times", told)
	}
}

func TestRubbishInsteadOfAnAnswerIsAnOutage(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // ends with the listener
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Read(make([]byte, 4096))
			_, _ = io.WriteString(connection, "220 smtp.example.com ESMTP\r\n\r\n")
			_ = connection.Close()
		}
	}()
	e := startEdge(t, "http://"+listener.Addr().String(), "")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut} {
		got := e.do(t, call{method: method, path: filePath("app.bin"), token: developer})
		if got.StatusCode != http.StatusBadGateway || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s", method, got.Status)
		}
	}
}
