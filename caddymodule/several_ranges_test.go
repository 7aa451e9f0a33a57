package caddymodule

import (
	"bytes"
	"net/http"
	"testing"
)

// TestSeveralRangesAreAsLongAsTheyAreSaidToBe, with their first boundary on a line of its own.
func TestSeveralRangesAreAsLongAsTheyAreSaidToBe(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	for file, size := range map[string]int{"small.bin": 5000, "large.bin": 3 << 20} { // from memory, and from disk
		body := someBytes(size, 1)
		publishOld(gitlab, file, body)
		e.mustGet(t, file, developer, body)
		awaitNoFlight(t)
		c := call{path: filePath(file), token: developer, header: http.Header{"Range": {"bytes=0-99,1000-1999,-50"}}}
		got := e.do(t, c)
		if got.StatusCode != http.StatusPartialContent || got.err != nil || int64(len(got.body)) != got.ContentLength || !bytes.HasPrefix(got.body, []byte("\r\n--")) {
			t.Errorf("%s: %s, %v, %d bytes of %d, %s", file, got.Status, got.err, len(got.body), got.ContentLength, firstBytes(got.body))
		}
		if !bytes.Contains(got.body, body[1000:2000]) || !bytes.HasSuffix(got.body, []byte("--\r\n")) {
			t.Errorf("%s: the parts aren't whole", file)
		}
		c.method = http.MethodHead
		if head := e.do(t, c); head.StatusCode != got.StatusCode || head.err != nil || head.ContentLength != got.ContentLength {
			t.Errorf("%s, HEAD: %s, %v, %d", file, head.Status, head.err, head.ContentLength)
		}
	}
}
