package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/page"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// The page makes the admin API's calls of the app of its config.
var _ page.Edge = (*App)(nil)

// TestNothingThatPeopleLookAtShowsACallerOrTheirToken has callers do all that is told of somewhere, and then looks everywhere, while some of
// it is under way: no address, no token, and no sum of one.
func TestNothingThatPeopleLookAtShowsACallerOrTheirToken(t *testing.T) {
	const address, wrongToken = "203.0.113.77", "glpat-recognisable" //nolint:gosec // of a test
	setForTest(t, &process.refusals, newRefusals())
	gitlab := newGitLab(t)
	pageAddress := freeAddress(t)
	e := startEdge(t, gitlab.URL, "retries 0", withAdmin, around{outside: "http://" + pageAddress + " {\n bind 127.0.0.1\n gitlab_packages_page {\n actions\n }\n}"})
	from := http.Header{"X-Forwarded-For": {address}}
	publishOld(gitlab, "app.bin", someBytes(10_000, 1))
	publishOld(gitlab, "large.bin", someBytes(3_000_000, 2))
	publishOld(gitlab, "broken.bin", someBytes(300_000, 3))
	for _, c := range []call{
		{path: filePath("app.bin"), token: developer},
		{path: filePath("app.bin"), token: developer},
		{path: filePath("app.bin"), token: wrongToken},
		{path: filePath("app.bin") + "?private_token=" + wrongToken},
		{path: filePath("app.bin"), token: outsider},
		{path: filePath("none.bin"), token: developer},
		{method: http.MethodPut, path: filePath("up.bin"), token: developer, body: strings.NewReader("x")},
		{method: http.MethodPut, path: filePath("up.bin"), token: wrongToken, body: strings.NewReader("x")},
		{path: "/api/v4/projects/99/packages/generic/pkg/1.0.0/app.bin", token: wrongToken},
	} {
		c.header = from
		e.do(t, c)
	}
	gitlab.Inject(gitlabtest.Fault{PathContains: "broken.bin", CutAfter: 100_000, Times: -1})
	e.do(t, call{path: filePath("broken.bin"), token: developer, header: from})
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "large.bin", StallAfter: 1_000_000, Release: release})
	reader, writer := io.Pipe()
	var callers sync.WaitGroup
	defer func() {
		close(release)
		_, _ = writer.Write(someBytes(200_000, 5)) // the rest
		_ = writer.Close()
		callers.Wait()
	}()
	for _, c := range []call{
		{path: filePath("large.bin"), token: developer, header: from},
		{method: http.MethodPut, path: filePath("passing.bin"), token: developer, header: from, body: reader, length: 300_000},
	} {
		callers.Go(func() { e.do(t, c) })
	}
	if _, err := writer.Write(someBytes(100_000, 4)); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		activity := e.activity(t)
		return len(activity.Fills) == 1 && len(activity.Uploads) == 1 && e.refusals(t).Others.Times > 0
	})

	told := make(map[string]string)
	for _, path := range []string{
		adminapi.CallSignpost, adminapi.CallStatus, adminapi.CallProjects, adminapi.CallEntries, adminapi.CallVerify, adminapi.CallWarm, adminapi.CallActivity, adminapi.CallUsage,
		adminapi.CallRefusals, adminapi.CallHistory + "?span=" + adminapi.SpanHour,
	} {
		status, text := e.api(t, http.MethodGet, path, "")
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, text)
		}
		told["admin API: "+path] = text
	}
	for _, path := range []string{"/", "/files", "/projects", "/actions", "/troubles", "/live"} {
		response, err := testClient.Get("http://" + pageAddress + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", path, response.Status, err)
		}
		told["page: "+path] = string(text)
	}
	for where, text := range told {
		for _, secret := range []string{address, developer, wrongToken, outsider, "recognisable"} {
			if strings.Contains(text, secret) || strings.Contains(text, hexSHA256([]byte(secret))) {
				t.Errorf("%s shows %s", where, secret)
			}
		}
	}
	// What was done is told of there, and the edge knew the address.
	for where, part := range map[string]string{
		"admin API: activity": "passing.bin", "admin API: refusals": `"times":`, "admin API: usage": "app.bin", "admin API: status": "broken.bin",
		"page: /": "large.bin", "page: /files": "app.bin", "page: /troubles": "broken.bin", "page: /live": "passing.bin",
	} {
		if !strings.Contains(told[where], part) {
			t.Errorf("%s tells nothing of %s: %s", where, part, told[where])
		}
	}
	if !strings.Contains(e.log(t), fmt.Sprintf(`"client_ip":%q`, address)) {
		t.Error("the edge doesn't know the caller's address, so that the test shows nothing")
	}
}
