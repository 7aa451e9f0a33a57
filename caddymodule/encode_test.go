package caddymodule

import (
	"bytes"
	"net/http"
	"testing"
)

// TestPackagesAreNotCompressedOnTheWay has Caddy's encode around the edge, which would leave the checksums of the plain bytes
// beside compressed ones: for a file that is fetched, stored, forwarded, streamed.
func TestPackagesAreNotCompressedOnTheWay(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "cache "+t.TempDir()+" {\n min_free 0\n max_object 200KB\n}", around{site: "encode gzip {\n match header Content-Type *\n}\n"})
	small, large := bytes.Repeat([]byte("compressible "), 10_000), bytes.Repeat([]byte("compressible "), 30_000)
	publishOld(gitlab, "small.bin", small)
	publishOld(gitlab, "large.bin", large)
	for _, test := range []struct {
		name, file string
		want       []byte
		header     http.Header
	}{
		{"fetched", "small.bin", small, http.Header{}},
		{"stored", "small.bin", small, http.Header{}},
		{"forwarded", "small.bin", small, http.Header{"Origin": {"https://elsewhere.example"}}},
		{"streamed", "large.bin", large, http.Header{}},
	} {
		test.header.Set("Accept-Encoding", "gzip")
		got := e.do(t, call{path: filePath(test.file), token: developer, header: test.header})
		if got.Header.Get("Content-Encoding") != "" || !bytes.Equal(got.body, test.want) {
			t.Errorf("%s: %s, Content-Encoding %q, %d bytes", test.name, got.Status, got.Header.Get("Content-Encoding"), len(got.body))
		}
		awaitNoFlight(t)
	}
}
