package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestASignedURLThatIsNotFollowedReachesNoCallerAndNoLog has a GitLab on https whose object storage speaks plain http. A
// client that followed such a redirect would send its token there in clear.
func TestASignedURLThatIsNotFollowedReachesNoCallerAndNoLog(t *testing.T) {
	gitlab := newGitLab(t, gitlabtest.WithTLS(), gitlabtest.WithPlainStorage())
	gitlab.SetMode(gitlabtest.Redirect)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, gitlab.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEdge(t, gitlab.URL, fmt.Sprintf("transport http {\n tls_trust_pool file %s\n}", authority))
	publishOld(gitlab, "app.bin", someBytes(1000, 1))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, asked := range []call{ // fetched or checked, and forwarded
			{path: filePath("app.bin")},
			{path: filePath("app.bin") + "?status=default"},
			{path: filePath("app.bin"), header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}},
		} {
			asked.method, asked.token = method, developer
			got := e.do(t, asked)
			if got.StatusCode != http.StatusBadGateway || got.Header.Get("Location") != "" || bytes.Contains(got.body, []byte("X-Amz")) {
				t.Errorf("%s %s: %s, %v, %s", method, asked.path, got.Status, got.Header, firstBytes(got.body))
			}
		}
	}
	told := 0
	for line := range strings.Lines(e.log(t)) {
		var entry struct{ Msg, Error string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Msg == "GitLab can't be asked" && strings.Contains(entry.Error, "redirects from https to object storage by http") {
			told++
		}
		if strings.Contains(line, "X-Amz-Signature") {
			t.Errorf("a signature is logged: %s", line)
		}
	}
	if told != 6 {
		t.Errorf("the log tells the reason %d times, not 6", told)
	}

	gitlab.Inject(gitlabtest.Fault{LoginRedirect302: true, Times: -1})
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != http.StatusFound || got.Header.Get("Location") == "" {
		t.Errorf("a redirect to a log-in page: %s, %v", got.Status, got.Header)
	}
}
