package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// beforeUploads starts an edge that knows that its GitLab redirects, and names no sums.
func beforeUploads(t *testing.T) (*gitlabtest.Server, *edge) {
	t.Helper()
	gitlab := redirecting(t, nil)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "first.bin", []byte("x"))
	e.mustGet(t, "first.bin", developer, []byte("x"))
	return gitlab, e
}

// upload publishes through the edge.
func (e *edge) upload(t *testing.T, file string, body []byte) {
	t.Helper()
	if got := e.put(t, filePath(file), body); got.StatusCode != http.StatusCreated {
		t.Fatalf("an upload: %s", got.Status)
	}
}

// purge drops what is stored of the tests' package.
func (e *edge) purge(t *testing.T, files int) {
	t.Helper()
	awaitNoFlight(t)
	removed := fmt.Sprintf("%d files are removed", files)
	if files == 1 {
		removed = "1 file is removed"
	}
	e.expectCLI(t, 0, []string{removed}, "purge", "24", "pkg", "1.0.0")
}

// TestADamagedBodyOfWhatWasUploadedThroughTheEdgeIsNeverServedWhole damages the first body after the upload, and, when the
// location has shown that it holds the upload, one after a purge.
func TestADamagedBodyOfWhatWasUploadedThroughTheEdgeIsNeverServedWhole(t *testing.T) {
	gitlab, e := beforeUploads(t)
	small, large := someBytes(10_000, 1), someBytes(1<<20, 2)
	e.upload(t, "small.bin", small)
	e.upload(t, "large.bin", large)
	before := series(t)
	for i := range 2 {
		gitlab.ResetRequests()
		gitlab.Inject(gitlabtest.Fault{CorruptAt: 100})
		e.mustGet(t, "small.bin", developer, small) // comes only when it is right, so its caller gets another try
		gitlab.ClearFaults()
		// The first time its location is asked twice for the damaged body; afterwards its sum is known.
		awaitNoFlight(t)
		if n := fetchesOf(gitlab, "small.bin"); n != 3-i {
			t.Errorf("round %d: %d fetches", i, n)
		}
		gitlab.Inject(gitlabtest.Fault{CorruptAt: 100})
		got := e.do(t, call{path: filePath("large.bin"), token: developer})
		if got.err == nil && !bytes.Equal(got.body, large) {
			t.Errorf("round %d: looks whole: %s, %d bytes", i, got.Status, len(got.body))
		}
		e.mustGet(t, "large.bin", developer, large)
		expectGrown(t, before, map[string]float64{"checksum_failures_total": float64(2*i + 2)})
		e.purge(t, 3-i)
	}
}

// TestWhatWasPublishedBesideTheEdgeAfterAnUploadComesWhole has the edge expect an older upload. That costs one more body, once.
func TestWhatWasPublishedBesideTheEdgeAfterAnUploadComesWhole(t *testing.T) {
	for _, size := range []int{10_000, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			gitlab, e := beforeUploads(t)
			ours, theirs := someBytes(size, 1), someBytes(size, 2)
			e.upload(t, "app.bin", ours)
			gitlab.Publish(project, "pkg", "1.0.0", "app.bin", theirs)
			gitlab.ResetRequests()
			e.mustGet(t, "app.bin", developer, theirs)
			awaitNoFlight(t)
			if n := fetchesOf(gitlab, "app.bin"); n != 2 {
				t.Errorf("%d fetches", n)
			}
			e.purge(t, 2)
			e.mustGet(t, "app.bin", developer, theirs)
			awaitNoFlight(t)
			if n := fetchesOf(gitlab, "app.bin"); n != 3 {
				t.Errorf("%d fetches after a purge", n)
			}
			gitlab.DeleteNewest(project, "pkg", "1.0.0", "app.bin")
			e.purge(t, 1)
			e.mustGet(t, "app.bin", developer, ours)
		})
	}
}

// TestABodyUnlikeAnUploadThatComesDifferentlyEachTimeIsRefused damages every body at another place.
func TestABodyUnlikeAnUploadThatComesDifferentlyEachTimeIsRefused(t *testing.T) {
	gitlab, e := beforeUploads(t)
	body := someBytes(10_000, 1)
	e.upload(t, "app.bin", body)
	for i := range 2 * maxBroken {
		gitlab.Inject(gitlabtest.Fault{CorruptAt: int64(i + 1)})
	}
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != http.StatusBadGateway {
		t.Errorf("%s, %d bytes", got.Status, len(got.body))
	}
	if !strings.Contains(e.log(t), "isn't what was uploaded through the edge") {
		t.Error("the log doesn't tell why")
	}
}

func TestTheSumOfAnUploadIsExpectedInItsGenerationAndProvenByItsLocation(t *testing.T) {
	sums := newPublishedSums()
	key, digest, other := cache.Key{File: "app.bin"}, cache.Digest{1}, cache.Digest{2}
	var before cache.Generation
	after := before.Next()
	sums.note(key, after, digest)
	expect := func(generation cache.Generation, location string, want cache.Digest, wantProven bool) {
		t.Helper()
		if got, proven := sums.of(key, generation, location); got != want || proven != wantProven {
			t.Errorf("%v at %q: %v, proven %v", generation, location, got, proven)
		}
	}
	expect(after, "/a", digest, false)
	expect(after, "", cache.Digest{}, false)
	expect(before, "/a", cache.Digest{}, false)
	expect(after.Next(), "/a", cache.Digest{}, false)
	sums.settle(key, before, "/b", other) // of an older flight
	sums.settle(key, after, "/a", digest)
	sums.settle(key, after, "/b", other) // too late
	for _, generation := range []cache.Generation{before, after, after.Next()} {
		expect(generation, "/a", digest, true)
		expect(generation, "/b", cache.Digest{}, false)
	}
	sums.note(key, after.Next(), other)
	expect(after, "/a", cache.Digest{}, false)
	sums.settle(key, after.Next(), "/c", digest) // twice another than was uploaded
	expect(after.Next(), "/c", cache.Digest{}, false)
}
