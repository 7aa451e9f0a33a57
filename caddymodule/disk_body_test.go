package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
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

// failingAtItsEnd is a source that is read to its end, where the disk fails.
type failingAtItsEnd struct{ *bytes.Reader }

func (f failingAtItsEnd) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil {
		err = cache.ErrDisk
	}
	return n, err
}

func (f failingAtItsEnd) WriteTo(w io.Writer) (int64, error) {
	n, err := f.Reader.WriteTo(w)
	return n, errors.Join(err, cache.ErrDisk)
}

// TestADiskThatFailsAfterTheLastByteBreaksNothingOff: GitLab has no more of the file, and needn't be asked.
func TestADiskThatFailsAfterTheLastByteBreaksNothingOff(t *testing.T) {
	body := someBytes(100_000, 1)
	for name, read := range map[string]func(io.Writer, *diskBody) (int64, error){
		"written": func(w io.Writer, b *diskBody) (int64, error) { return b.WriteTo(w) },
		"read":    func(w io.Writer, b *diskBody) (int64, error) { return io.Copy(w, struct{ io.Reader }{b}) },
	} {
		x := &exchange{r: httptest.NewRequest(http.MethodGet, filePath("app.bin"), nil)}
		b := newDiskBody(x, sourceDisk, func() int64 { return int64(len(body)) }, upstream.Identity{})
		b.source = failingAtItsEnd{bytes.NewReader(body)}
		var got bytes.Buffer
		if n, err := read(&got, b); err != nil || n != int64(len(body)) || !bytes.Equal(got.Bytes(), body) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		b.close()
	}
}
