package caddymodule

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// withoutLength serves bodies of unknown length, the first of next to the first GET of a whole file and so on, the last to all
// further ones. Nothing but a date tells them apart. After a good piece of each it waits for release. It returns how many GETs
// of the whole there were.
func withoutLength(t *testing.T, release <-chan struct{}, next ...[]byte) (url string, gets *atomic.Int32) {
	t.Helper()
	gets = new(atomic.Int32)
	modified := time.Now().Add(-time.Hour).UTC()
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", "attachment")
		w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
		if r.Header.Get("Range") != "" {
			http.ServeContent(w, r, "", modified, bytes.NewReader(next[len(next)-1]))
			return
		}
		if r.Method != http.MethodGet {
			return
		}
		body := next[min(int(gets.Add(1)), len(next))-1]
		_, _ = w.Write(body[:250_000])
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = w.Write(body[250_000:])
	}), gets
}

// releasedDownload begins a download, releases the rest of the file when the first byte is there, and returns all bytes.
func releasedDownload(t *testing.T, e *edge, release chan<- struct{}) ([]byte, error) {
	t.Helper()
	first, rest := e.beginDownload(t, "app.bin", developer, 1)
	close(release)
	others, err := io.ReadAll(rest)
	return slices.Concat(first, others), err
}

func TestAFileOfUnknownLengthThatDoesNotFitStreamsThrough(t *testing.T) {
	body := someBytes(2<<20, 1)
	release := make(chan struct{})
	gitlab, gets := withoutLength(t, release, body)
	e := storesAtMost1MiB(t, gitlab)
	if got, err := releasedDownload(t, e, release); err != nil || !bytes.Equal(got, body) {
		t.Errorf("the first: %d bytes, %v", len(got), err)
	}
	awaitNoFlight(t)
	if blobs := blobsIn(t, e.directory); blobs != 0 {
		t.Errorf("%d blobs are stored", blobs)
	}
	// Now it is known that it doesn't fit.
	for _, token := range []string{developer, colleague} {
		before := gets.Load()
		e.mustGet(t, "app.bin", token, body)
		if asked := gets.Load() - before; asked != 1 {
			t.Errorf("%d GET", asked)
		}
		awaitNoFlight(t)
	}
	// Not for ever.
	e.reload(t, "cache "+e.directory+" {\n max_object 4MiB\n min_free 0\n}")
	putForward(outgrownFor)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	if blobs := blobsIn(t, e.directory); blobs != 1 {
		t.Errorf("with room for it %d blobs are stored", blobs)
	}
}

// TestAFileOfUnknownLengthIsNeverJoinedToAnother has another file, as old, when the rest of one that doesn't fit is fetched.
func TestAFileOfUnknownLengthIsNeverJoinedToAnother(t *testing.T) {
	before, after := someBytes(2<<20, 1), someBytes(2<<20, 2)
	for name, next := range map[string][]byte{"another": after, "a shorter one": before[:500_000]} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			gitlab, _ := withoutLength(t, release, before, next)
			e := storesAtMost1MiB(t, gitlab)
			if got, err := releasedDownload(t, e, release); err == nil {
				t.Errorf("%d bytes look whole", len(got))
			}
		})
	}
}

func TestWhatIsRememberedOfFilesThatDoNotFitIsBounded(t *testing.T) {
	var o outgrown
	now := time.Now()
	for i := range maxOutgrown + 10 {
		o.note(cache.Key{File: strconv.Itoa(i)}, now)
	}
	last := cache.Key{File: strconv.Itoa(maxOutgrown + 9)}
	if len(o.until) != maxOutgrown || !o.has(last, now) || o.has(last, now.Add(outgrownFor)) {
		t.Errorf("%d are remembered", len(o.until))
	}
}
