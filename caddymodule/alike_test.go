package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// raw sends bytes to the edge and returns all that comes back until it closes.
func (e *edge) raw(t *testing.T, request string) string {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(connection, request); err != nil {
		t.Fatal(err)
	}
	answered, err := io.ReadAll(connection)
	if err != nil {
		t.Errorf("%q: %v", request, err)
	}
	return string(answered)
}

var changing = regexp.MustCompile(`(?m)^(Date|X-Request-Id|X-Runtime|X-Gitlab-Meta|Ratelimit-[A-Za-z]+): .*\r?$`)

// TestAStrangerSeesTheSameBytesOfStoredAndAbsentFiles compares whole answers, as they come over the line, and what they cost
// GitLab, in every storage mode and for all that may come with a request.
func TestAStrangerSeesTheSameBytesOfStoredAndAbsentFiles(t *testing.T) {
	for _, world := range []struct {
		name  string
		fault *gitlabtest.Fault
	}{
		{"as GitLab refuses", nil},
		{"429", &gitlabtest.Fault{Status: 429, Times: -1}},
		{"500", &gitlabtest.Fault{Status: 500, Body: "oops", Times: -1}},
		{"503", &gitlabtest.Fault{Status: 503, Body: "oops", Header: http.Header{"Retry-After": {"77"}}, Times: -1}},
		{"log-in page", &gitlabtest.Fault{LoginPage200: true, Times: -1}},
		{"log-in redirect", &gitlabtest.Fault{LoginRedirect302: true, Times: -1}},
		{"long refusal", &gitlabtest.Fault{Status: 403, Body: strings.Repeat("x", 100_000), Times: -1}},
		{"412", &gitlabtest.Fault{Status: 412, Times: -1}},
		{"416", &gitlabtest.Fault{Status: 416, Times: -1}},
		{"304", &gitlabtest.Fault{Status: 304, Times: -1}},
	} {
		t.Run(world.name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "")
			body := someBytes(100_000, 1)
			publishOld(gitlab, "stored.bin", body)
			e.mustGet(t, "stored.bin", developer, body)
			etag := `"` + hexSHA256(body) + `"`
			if world.fault != nil {
				fault := *world.fault
				gitlab.Inject(fault)
				fault.Question = true
				gitlab.Inject(fault)
			}
			n := 0
			for _, method := range []string{"GET", "HEAD"} {
				for _, header := range []string{
					"", "Range: bytes=0-0\r\n", "Range: bytes=50000-\r\n", "If-None-Match: " + etag + "\r\n", "If-Match: \"x\"\r\n",
					"If-None-Match: *\r\n", "Range: bytes=0-9\r\nIf-Range: " + etag + "\r\n",
					"Origin: http://a.example\r\n", "Expect: 100-continue\r\nContent-Length: 1\r\n", "Upgrade: websocket\r\nConnection: Upgrade\r\n",
				} {
					for _, version := range []string{"1.1", "1.0"} {
						answers, costs := map[string]string{}, map[string]int{}
						n++
						for _, file := range []string{"stored.bin", "absent.bin"} {
							before := len(gitlab.Requests())
							closing := "Connection: close\r\n"
							if strings.Contains(header, "Connection") {
								closing = ""
							}
							extra := ""
							if strings.Contains(header, "Content-Length") {
								extra = "x"
							}
							request := fmt.Sprintf("%s %s HTTP/%s\r\nHost: e\r\nPrivate-Token: glpat-made-up-%d\r\n%s%s\r\n%s", method, filePath(file), version, n, header, closing, extra)
							if closing == "" { // a second request closes
								request += fmt.Sprintf("GET /api/v4/projects/1/packages/generic/p/bad%%20/f HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n")
							}
							got := changing.ReplaceAllString(e.raw(t, request), "")
							answers[file] = strings.ReplaceAll(got, file, "F")
							costs[file] = len(gitlab.Requests()) - before
						}
						if answers["stored.bin"] != answers["absent.bin"] {
							t.Errorf("%s %q HTTP/%s:\n%.700s\n---\n%.700s", method, header, version, answers["stored.bin"], answers["absent.bin"])
						}
						if costs["stored.bin"] != costs["absent.bin"] {
							t.Errorf("%s %q HTTP/%s: costs %v", method, header, version, costs)
						}
						if bytes.Contains([]byte(answers["stored.bin"]), body[:1000]) {
							t.Error("bytes of the file")
						}
						if t.Failed() {
							return
						}
					}
				}
			}
			putForward(time.Minute) // rests and breakers of the faults are over
		})
	}
}
