package caddymodule

import (
	"bytes"
	"net/http"
	"testing"
)

// TestPartsOfAFileThatIsTooLargeToKeepCostOneRequestEach, but for the first one, whose answer tells the size. It has a downloader that asks for one part after another.
func TestPartsOfAFileThatIsTooLargeToKeepCostOneRequestEach(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "cache "+t.TempDir()+" {\n max_object 1MiB\n min_free 0\n}")
	body := someBytes(2<<20, 1)
	publishOld(gitlab, "large.bin", body)
	gets := func() (count int) {
		for _, request := range gitlab.Requests() {
			if request.Method == http.MethodGet {
				count++
			}
		}
		return count
	}
	part := func(token, asked string, status int, want []byte) {
		t.Helper()
		got := e.do(t, call{path: filePath("large.bin"), token: token, header: http.Header{"Range": {asked}}})
		if got.StatusCode != status || (want != nil && !bytes.Equal(got.body, want)) {
			t.Errorf("%s: %s, %d bytes", asked, got.Status, len(got.body))
		}
		awaitNoFlight(t)
	}
	part(developer, "bytes=0-99", http.StatusPartialContent, body[:100])
	if asked := gets(); asked != 2 {
		t.Errorf("the first part cost %d requests", asked)
	}
	for _, asked := range []struct {
		token, ranges string
		status        int
		want          []byte
	}{
		{developer, "bytes=100-199", http.StatusPartialContent, body[100:200]},
		{colleague, "bytes=1500000-", http.StatusPartialContent, body[1_500_000:]},
		{outsider, "bytes=0-99", http.StatusNotFound, nil},
	} {
		before := gets()
		part(asked.token, asked.ranges, asked.status, asked.want)
		if asked := gets() - before; asked != 1 {
			t.Errorf("a part cost %d requests", asked)
		}
	}
	e.mustGet(t, "large.bin", developer, body)
}
