package caddymodule

import (
	"net/http"
	"strings"
	"testing"
)

// TestAnUploadThatAnotherHandlerLimitsIsTold413 has Caddy's request_body in front, and uploads with and without a length.
func TestAnUploadThatAnotherHandlerLimitsIsTold413(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", around{site: "request_body {\n max_size 100KB\n}\n"})
	for name, length := range map[string]int64{"with a length": 0, "in chunks": -1} {
		body := strings.Repeat("x", 1_000_000)
		got := e.do(t, call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: strings.NewReader(body), length: length})
		if got.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %s, %s", name, got.Status, got.body)
		}
	}
	if log := e.log(t); strings.Contains(log, "GitLab can't be asked") {
		t.Errorf("the log blames GitLab: %s", log)
	}
	if got := e.do(t, call{method: http.MethodPut, path: filePath("small.bin"), token: developer, body: strings.NewReader("x")}); got.StatusCode != http.StatusCreated {
		t.Errorf("a small one: %s", got.Status)
	}
}
