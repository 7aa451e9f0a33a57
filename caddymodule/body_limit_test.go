package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestAnUploadThatAnotherHandlerLimitsIsTold413 has Caddy's request_body in front, and an upload without a length, which Caddy can't judge by its head.
func TestAnUploadThatAnotherHandlerLimitsIsTold413(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", around{site: "request_body {\n max_size 100KB\n}\n"})
	// Written by hand: who is still writing when the answer comes may only see that the connection is closed.
	const piece = 1000
	chunks := strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", piece, strings.Repeat("x", piece)), 150) + "0\r\n\r\n"
	answers := raw(t, e.url, "PUT "+filePath("app.bin")+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(e.url, "http://")+"\r\n"+goodLine+
		"\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks)
	if len(answers) != 1 || answers[0].status != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %v", answers)
	}
	if log := e.log(t); strings.Contains(log, "GitLab can't be asked") {
		t.Errorf("the log blames GitLab: %s", log)
	}
	if got := e.do(t, call{method: http.MethodPut, path: filePath("small.bin"), token: developer, body: strings.NewReader("x")}); got.StatusCode != http.StatusCreated {
		t.Errorf("a small one: %s", got.Status)
	}
}
