package caddymodule

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// TestADownloadWhoseDiskFailsIsNeverJoinedToAnotherFile publishes a file again within the second, beside the edge, and then
// cuts the stored one while it is sent: nothing of what GitLab names tells the two apart.
func TestADownloadWhoseDiskFailsIsNeverJoinedToAnotherFile(t *testing.T) {
	const size = 64 << 20 // more than the connection takes at once
	before, after := someBytes(size, 1), someBytes(size, 2)
	modified := time.Now().UTC().Truncate(time.Second).Add(time.Hour) // never settled
	var published atomic.Bool
	gitlab := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", "attachment")
		body := before
		if published.Load() {
			body = after
		}
		http.ServeContent(w, r, "", modified, bytes.NewReader(body))
	})
	e := startEdge(t, gitlab, "")
	e.mustGet(t, "app.bin", developer, before)
	awaitNoFlight(t)
	first, rest := e.beginDownload(t, "app.bin", developer, 1)
	published.Store(true)
	digest := hexSHA256(before)
	if err := os.Truncate(filepath.Join(e.directory, "blobs", digest[:2], digest), 60<<20); err != nil {
		t.Fatal(err)
	}
	if got, err := digestOfRest(first, rest); err == nil {
		t.Errorf("the answer looks whole; it is the stored file: %v", got == digest)
	}
}
