package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// storesAtMost1MiB is an edge that streams larger files through.
func storesAtMost1MiB(t *testing.T, gitlab string) *edge {
	t.Helper()
	e := startEdge(t, gitlab, "")
	e.reload(t, "cache "+e.directory+" {\n max_object 1MiB\n min_free 0\n}")
	return e
}

func TestADamagedBodyThatIsNotStoredBreaksOffAsWell(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := storesAtMost1MiB(t, gitlab.URL)
	body := someBytes(2<<20, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.Inject(gitlabtest.Fault{CorruptAt: 1000})
	got := e.do(t, call{path: filePath("app.bin"), token: developer})
	if got.err == nil || len(got.body) >= len(body) {
		t.Errorf("looks whole: %s, %d bytes; %s", got.Status, len(got.body), got.cacheStatus())
	}
	if got := e.mustGet(t, "app.bin", developer, body); strings.Contains(got.cacheStatus(), "stored") {
		t.Error(got.cacheStatus())
	}
}

func TestABodyWithoutFramingThatIsShorterThanItsChecksumSaysBreaksOff(t *testing.T) {
	body := someBytes(200_000, 1)
	cut := true
	gitlab := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		_, _ = io.WriteString(connection, "HTTP/1.1 200 OK\r\nContent-Disposition: attachment\r\nX-Checksum-Sha256: "+hexSHA256(body)+"\r\nConnection: close\r\n\r\n")
		switch {
		case r.Method != http.MethodGet:
		case cut:
			_, _ = connection.Write(body[:100_000])
		default:
			_, _ = connection.Write(body)
		}
	})
	e := startEdge(t, gitlab, "")
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.err == nil {
		t.Errorf("looks whole: %s, %d of %d bytes; %s", got.Status, len(got.body), len(body), got.cacheStatus())
	}
	cut = false
	e.mustGet(t, "app.bin", developer, body)
}

// TestAStreamedBodyIsNeverJoinedToOtherContent has a file replaced while it streams through, by one of which GitLab names
// nothing that could be compared.
func TestAStreamedBodyIsNeverJoinedToOtherContent(t *testing.T) {
	const size = 4 << 20
	before, after := someBytes(size, 1), someBytes(size, 2)
	first := true
	gitlab := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", "attachment")
		if r.Method == http.MethodGet && first {
			first = false
			w.Header().Set("X-Checksum-Sha256", hexSHA256(before))
			w.Header().Set("Content-Length", strconv.Itoa(size))
			_, _ = w.Write(before[:1<<20])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(after))
	})
	e := storesAtMost1MiB(t, gitlab)
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.err == nil {
		t.Errorf("looks whole: %s, %d bytes", got.Status, len(got.body))
	}
}

func TestAVerifiedBodyGivesOutItsEndOnlyWhenItIsRight(t *testing.T) {
	for _, size := range []int{0, 1, verifiedHeldBack - 1, verifiedHeldBack, verifiedHeldBack + 1, 5*verifiedHeldBack + 7} {
		body := someBytes(size, 1)
		right, err := cache.ParseDigest(hexSHA256(body))
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []int64{-1, int64(size)} {
			for _, bySteps := range []bool{false, true} {
				source := func() io.Reader {
					if bySteps {
						return iotest.OneByteReader(bytes.NewReader(body))
					}
					return iotest.DataErrReader(bytes.NewReader(body))
				}
				got, err := io.ReadAll(newVerifiedBody(source(), right, length))
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes, length %d: got %d, %v", size, length, len(got), err)
				}
				got, err = io.ReadAll(newVerifiedBody(source(), cache.Digest{1}, length))
				if !errors.Is(err, cache.ErrChecksum) || len(got) > max(0, size-verifiedHeldBack) || !bytes.HasPrefix(body, got) {
					t.Errorf("%d bytes with another checksum, length %d: got %d, %v", size, length, len(got), err)
				}
			}
		}
	}
}
