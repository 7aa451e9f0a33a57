package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestWhoLeavesInMidBodyCountsAsAbandoned has callers who leave after the first bytes of each kind of answer.
func TestWhoLeavesInMidBodyCountsAsAbandoned(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "cache "+t.TempDir()+" {\n max_size 200MiB\n max_object 100MiB\n min_free 0\n}")
	large := someBytes(64<<20, 1) // more than sockets hold
	publishOld(gitlab, "stored.bin", large)
	e.mustGet(t, "stored.bin", developer, large)
	awaitNoFlight(t)
	cold := someBytes(4<<20, 2)
	publishOld(gitlab, "cold.bin", cold)
	publishOld(gitlab, "forwarded.bin", cold)
	publishOld(gitlab, "streamed.bin", someBytes(101<<20, 3))
	release := make(chan struct{})
	defer close(release)
	begin := func(file string, header http.Header) io.Closer {
		t.Helper()
		response, err := e.begin(call{path: filePath(file), token: developer, header: header})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(response.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		return response.Body
	}
	abandoned := 0
	leave := func(kind string, body io.Closer) {
		t.Helper()
		_ = body.Close()
		abandoned++
		await(t, func() bool { return strings.Count(e.log(t), `"outcome":"abandoned"`) == abandoned })
		t.Log(kind)
	}
	leave("stored", begin("stored.bin", nil))
	leave("streamed", begin("streamed.bin", nil))
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "forwarded", StallAfter: 2 << 20, Release: release})
	leave("forwarded", begin("forwarded.bin", http.Header{"Origin": {"http://example.com"}}))
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "cold", StallAfter: 2 << 20, Release: release})
	leader := begin("cold.bin", nil)
	leave("joined", begin("cold.bin", nil))
	leave("miss", leader)
	if logged := e.log(t); strings.Count(logged, `"outcome":"hit"`)+strings.Count(logged, `"outcome":"joined"`) != 0 {
		t.Error("who left counts as served")
	}
}

// TestHitsCountWhatWasServedFromTheStoreAndNotTheFirstDownload fetches files that are small enough to be whole before their
// first caller reads them.
func TestHitsCountWhatWasServedFromTheStoreAndNotTheFirstDownload(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	const files = 6
	hits := func() (counts []uint32) {
		for _, entry := range mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries", "").Entries {
			counts = append(counts, entry.Hits)
		}
		return counts
	}
	for i := range files {
		publishOld(gitlab, fmt.Sprint(i), []byte{byte(i)})
		e.mustGet(t, fmt.Sprint(i), developer, []byte{byte(i)})
	}
	awaitNoFlight(t)
	if got := fmt.Sprint(hits()); got != "[0 0 0 0 0 0]" {
		t.Errorf("after one miss each: %s hits", got)
	}
	for i := range files {
		e.mustGet(t, fmt.Sprint(i), developer, []byte{byte(i)})
	}
	if got := fmt.Sprint(hits()); got != "[1 1 1 1 1 1]" {
		t.Errorf("after one hit each: %s hits", got)
	}
}
