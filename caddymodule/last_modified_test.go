package caddymodule

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// publishThrough publishes a file through an edge that knows that GitLab names checksums, so that the edge keeps a copy.
func publishThrough(t *testing.T, e *edge, gitlab *gitlabtest.Server, body []byte) {
	t.Helper()
	gitlab.SetChecksums(true)
	publishOld(gitlab, "other.bin", []byte("x"))
	e.mustGet(t, "other.bin", developer, []byte("x"))
	awaitNoFlight(t)
	if got := e.put(t, filePath("app.bin"), body); got.StatusCode != http.StatusCreated {
		t.Fatal(got.Status)
	}
	if fetches := gitlab.CountFetches(); fetches != 1 {
		t.Fatalf("%d fetches", fetches)
	}
}

// TestAFileThatWasPublishedThroughTheEdgeHasGitLabsDate asks by that date, as curl -z, wget -N and apt do.
func TestAFileThatWasPublishedThroughTheEdgeHasGitLabsDate(t *testing.T) {
	for _, mode := range []gitlabtest.Mode{gitlabtest.LocalDisk, gitlabtest.Proxied} {
		gitlab := newGitLab(t)
		gitlab.SetMode(mode)
		e := startEdge(t, gitlab.URL, "")
		body := someBytes(100_000, 1)
		publishThrough(t, e, gitlab, body)
		first := e.mustGet(t, "app.bin", developer, body)
		date := first.Header.Get("Last-Modified")
		if !strings.Contains(first.cacheStatus(), "hit") && !strings.Contains(first.cacheStatus(), "fwd=stale") {
			t.Errorf("the copy isn't what is served: %q", first.cacheStatus())
		}
		if _, err := http.ParseTime(date); err != nil {
			t.Fatalf("the first answer after the publish: Last-Modified is %q", date)
		}
		for range 2 {
			if got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"If-Modified-Since": {date}}}); got.StatusCode != http.StatusNotModified {
				t.Errorf("If-Modified-Since: %s", got.Status)
			}
			got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"If-Range": {date}, "Range": {"bytes=99000-"}}})
			if got.StatusCode != http.StatusPartialContent || !bytes.Equal(got.body, body[99000:]) {
				t.Errorf("If-Range: %s with %d bytes", got.Status, len(got.body))
			}
			if got := e.mustGet(t, "app.bin", colleague, body); got.Header.Get("Last-Modified") != date {
				t.Errorf("somebody else is told %q", got.Header.Get("Last-Modified"))
			}
		}
		if fetches := gitlab.CountFetches(); fetches != 1 {
			t.Errorf("%d fetches", fetches)
		}
	}
}

// TestClientsThatAskByDateFetchNothingAgainAfterAPublish runs them.
func TestClientsThatAskByDateFetchNothingAgainAfterAPublish(t *testing.T) {
	for name, arguments := range map[string][]string{
		"curl": {
			"--silent", "--show-error", "--fail", "--remote-time", "--time-cond", "app.bin", "--output", "app.bin",
			"--write-out", "%{http_code} %{size_download}\n", "--header", "PRIVATE-TOKEN: " + developer,
		},
		"wget": {"--timestamping", "--tries=1", "--server-response", "--header=PRIVATE-TOKEN: " + developer, "--output-file=-"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClients(t, gitlabtest.LocalDisk, name, name)
			body := someBytes(100_000, 1)
			publishThrough(t, c.edge, c.gitlab, body)
			if output, err := c.run(t, name, append(arguments, c.address("app.bin"))...); err != nil {
				t.Fatal(err, output)
			}
			c.expect(t, "app.bin", body)
			output, err := c.run(t, name, append(arguments, c.address("app.bin"))...)
			if err != nil || !strings.Contains(output, "304") {
				t.Errorf("the second time: %q, %v", output, err)
			}
			c.expect(t, "app.bin", body)
		})
	}
}
