package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func TestARangeFarAheadOfAColdFileIsForwardedByItself(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "range_wait 1MiB")
	body := someBytes(16<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Times: 1, StallAfter: 2 << 20, Release: release})
	first, rest := e.beginDownload(t, "app.bin", developer, 1<<20)
	far := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=15000000-15000999"}}})
	if far.StatusCode != 206 || !bytes.Equal(far.body, body[15000000:15001000]) || !strings.Contains(far.cacheStatus(), "fwd=partial") {
		t.Errorf("far ahead: %s, %d bytes, %q", far.Status, len(far.body), far.cacheStatus())
	}
	near := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=1000-1999"}}})
	if near.StatusCode != 206 || !bytes.Equal(near.body, body[1000:2000]) || !strings.Contains(near.cacheStatus(), "collapsed") {
		t.Errorf("near: %s, %d bytes, %q", near.Status, len(near.body), near.cacheStatus())
	}
	close(release)
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(body) {
		t.Errorf("the download that led: %v", err)
	}
}

// TestADownloaderOfManySegmentsCostsLittleMoreThanOneBody asks for all sixteen parts of a cold file at once, which arrives
// within rangePatience.
func TestADownloaderOfManySegmentsCostsLittleMoreThanOneBody(t *testing.T) {
	const segments, size = 16, 64 << 20
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "range_wait 1MiB")
	body := someBytes(size, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetRate(128 << 20)
	e.getSegments(t, body, segments)
	sent := bytesSent(gitlab)
	// The one that is forwarded whatever its length, and range_wait for all others.
	if limit := int64(size + size/segments + 1<<20); sent < size || sent > limit {
		t.Errorf("GitLab sent %d bytes; at most %d were to be", sent, limit)
	}
	e.mustGet(t, "app.bin", developer, body)
}

// TestSegmentsOverASlowLinkAllArriveAndCostLessThanTwoBodies has a file that takes several times rangePatience. No
// downloader waits that long in silence, so those parts are forwarded, each once.
func TestSegmentsOverASlowLinkAllArriveAndCostLessThanTwoBodies(t *testing.T) {
	setForTest(t, &process.rangePatience, 100*time.Millisecond)
	const segments, size = 16, 8 << 20
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "range_wait 64KiB")
	body := someBytes(size, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.SetRate(8 << 20)
	forwarded := e.getSegments(t, body, segments)
	if sent := bytesSent(gitlab); forwarded < 2 || sent < size || sent > 2*size {
		t.Errorf("GitLab sent %d bytes, of %d; %d parts were forwarded", sent, size, forwarded)
	}
	e.mustGet(t, "app.bin", developer, body)
}

// getSegments downloads app.bin in so many parts at once, and returns how many of them were forwarded.
func (e *edge) getSegments(t *testing.T, body []byte, segments int) int32 {
	t.Helper()
	var forwarded atomic.Int32
	var callers sync.WaitGroup
	for i := range segments {
		callers.Go(func() {
			from, to := i*len(body)/segments, (i+1)*len(body)/segments-1
			got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", from, to)}}})
			if got.StatusCode != 206 || !bytes.Equal(got.body, body[from:to+1]) {
				t.Errorf("segment %d: %s, %d bytes", i, got.Status, len(got.body))
			}
			if strings.Contains(got.cacheStatus(), "fwd=partial") {
				forwarded.Add(1)
			}
		})
	}
	callers.Wait()
	awaitNoFlight(t)
	return forwarded.Load()
}

// TestTheFarthestOfSeveralRangesDecidesWhetherTheyAreForwarded asks for the beginning, which is there, and for more that
// isn't. In the second pass GitLab isn't asked at once, since the ranges are longer than range_wait.
func TestTheFarthestOfSeveralRangesDecidesWhetherTheyAreForwarded(t *testing.T) {
	setForTest(t, &process.rangePatience, time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "range_wait 1MiB")
	body := someBytes(16<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Times: 1, StallAfter: 2 << 20, Release: release})
	first, rest := e.beginDownload(t, "app.bin", developer, 1<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, asked := range []string{"bytes=0-0,15000000-15000999", "bytes=0-0, 5000000-"} {
		far := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {asked}}, context: ctx})
		if far.StatusCode != 206 || far.err != nil || !bytes.Contains(far.body, body[15000000:15001000]) || !strings.Contains(far.cacheStatus(), "fwd=partial") {
			t.Errorf("%s: %s, %v, %d bytes, %q", asked, far.Status, far.err, len(far.body), far.cacheStatus())
		}
	}
	// What lies behind the end isn't waited for.
	near := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=5000000000-,1000-1999"}}, context: ctx})
	if near.StatusCode != 206 || !bytes.Equal(near.body, body[1000:2000]) || !strings.Contains(near.cacheStatus(), "collapsed") {
		t.Errorf("near: %s, %d bytes, %q", near.Status, len(near.body), near.cacheStatus())
	}
	close(release)
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(body) {
		t.Errorf("the download that led: %v", err)
	}
}

func TestRangesAreReadAsTheyAreAskedFor(t *testing.T) {
	const unknown = math.MaxInt64
	for _, test := range []struct {
		header string
		size   int64
		want   []byteRange
	}{
		{"", 100, nil},
		{"bytes=0-0", 100, []byteRange{{0, 1}}},
		{"bytes=10-", 100, []byteRange{{10, 90}}},
		{"bytes=10-", -1, []byteRange{{10, unknown - 10}}},
		{"bytes=-10", 100, []byteRange{{90, 10}}},
		{"bytes=-1000", 100, []byteRange{{0, 100}}},
		{"bytes=-10", -1, nil},
		{"bytes=50-1000", 100, []byteRange{{50, 50}}},
		{"bytes=500-", 100, []byteRange{{500, 0}}},
		{"bytes=0-0, ,20-29,-5", 100, []byteRange{{0, 1}, {20, 10}, {95, 5}}},
		{"bytes=0-0,x", 100, nil},
		{"bytes=5", 100, nil},
		{"lines=0-0", 100, nil},
	} {
		if got := rangesOf(test.header, test.size); !slices.Equal(got, test.want) {
			t.Errorf("%q of %d bytes: %v, want %v", test.header, test.size, got, test.want)
		}
	}
}

func TestARangeThatTheFillDoesNotReachInTimeIsForwardedAfterAll(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "range_wait 1KiB")
	body := someBytes(16<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Times: 1, StallAfter: 2 << 20, Release: release})
	first, rest := e.beginDownload(t, "app.bin", developer, 1<<20)
	setForTest(t, &process.rangePatience, time.Millisecond)
	for range 3 {
		far := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=15000000-15002999"}}})
		if far.StatusCode != 206 || !bytes.Equal(far.body, body[15000000:15003000]) || !strings.Contains(far.cacheStatus(), "fwd=partial") {
			t.Errorf("far ahead: %s, %d bytes, %q", far.Status, len(far.body), far.cacheStatus())
		}
	}
	close(release)
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(body) {
		t.Errorf("the download that led: %v", err)
	}
}
