package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const (
	brokenSize = 6 << 20
	// brokenAt is where the first body breaks off for good.
	brokenAt = 4 << 20
)

// breakOffForGood has a download end after brokenAt bytes, on an edge that doesn't try again.
func breakOffForGood(t *testing.T, e *edge, gitlab *gitlabtest.Server, body []byte) {
	t.Helper()
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, CutAfter: brokenAt, Times: -1})
	got := e.do(t, call{path: filePath("app.bin"), token: developer})
	if got.StatusCode == http.StatusOK && (got.err == nil || !bytes.HasPrefix(body, got.body)) {
		t.Fatalf("the line breaks, and the download has %d bytes, %v, %q", len(got.body), got.err, got.cacheStatus())
	}
	gitlab.ClearFaults()
	awaitNoFlight(t)
	putForward(restFor + time.Second) // that the file rests for
	gitlab.ResetRequests()
}

// rangesAskedFor are those that the stand-in was asked for by fetches, from whoever holds the bytes.
func rangesAskedFor(gitlab *gitlabtest.Server) (ranges []string, sent int64) {
	for _, request := range gitlab.Requests() {
		if request.Method == http.MethodGet && !request.IsQuestion() {
			ranges = append(ranges, request.Header.Get("Range"))
			sent += request.Sent
		}
	}
	return ranges, sent
}

func TestTheNextDownloadOfAFileWhoseBodyBrokeOffForGoodGoesOnFromThere(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetMode(m.mode)
			gitlab.SetChecksums(m.checksums)
			e := startEdge(t, gitlab.URL, "retries 0")
			body := someBytes(brokenSize, 1)
			publishOld(gitlab, "app.bin", body)
			breakOffForGood(t, e, gitlab, body)
			exact := m.mode != gitlabtest.LocalDisk || m.checksums

			// Somebody who may not read it gets GitLab's no, and takes nothing from the others.
			if got := e.do(t, call{path: filePath("app.bin"), token: outsider}); got.StatusCode != http.StatusNotFound || bytes.Contains(body, got.body[:min(len(got.body), 32)]) {
				t.Errorf("an outsider: %s, %q", got.Status, got.body)
			}
			awaitNoFlight(t)
			gitlab.ResetRequests()
			e.mustGet(t, "app.bin", colleague, body)
			awaitNoFlight(t)
			ranges, sent := rangesAskedFor(gitlab)
			for _, asked := range ranges {
				if (asked == fmt.Sprintf("bytes=%d-", brokenAt)) != exact {
					t.Errorf("GitLab was asked for %q", asked)
				}
			}
			if exact && sent > brokenSize-brokenAt+4096 { // and pages that redirect
				t.Errorf("%d bytes came again", sent)
			}
			if got := e.mustGet(t, "app.bin", colleague, body); !strings.Contains(got.cacheStatus(), "; hit") {
				t.Errorf("it isn't stored: %q", got.cacheStatus())
			}
		})
	}
}

// TestAFileThatChangedAfterItsBodyBrokeOffIsNeverGluedToTheOldOne publishes beside the edge, through it, and takes the file away.
func TestAFileThatChangedAfterItsBodyBrokeOffIsNeverGluedToTheOldOne(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "retries 0")
		body := someBytes(brokenSize, 1)
		for name, newer := range map[string][]byte{
			"of the same length": someBytes(brokenSize, 2), "shorter than what is kept": someBytes(1<<20, 3), "longer": someBytes(brokenSize+5, 4),
			"as long as what is kept": someBytes(brokenAt, 5),
		} {
			for _, through := range []bool{false, true} {
				putForward(2 * time.Minute) // past max_age, and no two uploads in one second
				publishOld(gitlab, "app.bin", body)
				breakOffForGood(t, e, gitlab, body)
				if through {
					if got := e.put(t, filePath("app.bin"), newer); got.StatusCode != http.StatusCreated {
						t.Fatalf("%s: publishing: %s", name, got.Status)
					}
				} else {
					putForward(time.Second)
					publishOld(gitlab, "app.bin", newer)
				}
				e.mustGet(t, "app.bin", developer, newer)
				awaitNoFlight(t)
				e.mustGet(t, "app.bin", colleague, newer)
			}
		}
	})
}

// TestAServerWithoutRangesSendsAllAgainAndTheFileIsRight has the rest come as a whole body.
func TestAServerWithoutRangesSendsAllAgainAndTheFileIsRight(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	e := startEdge(t, gitlab.URL, "retries 0")
	body := someBytes(brokenSize, 1)
	publishOld(gitlab, "app.bin", body)
	breakOffForGood(t, e, gitlab, body)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, IgnoreRange: true, Times: -1})
	e.mustGet(t, "app.bin", developer, body)
}

// TestAFileThatBreaksOffAgainAndAgainArrivesPieceByPiece has each caller bring some of it.
func TestAFileThatBreaksOffAgainAndAgainArrivesPieceByPiece(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	e := startEdge(t, gitlab.URL, "retries 0")
	body := someBytes(brokenSize, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, CutEach: 1500 << 10, Times: -1})
	tries, whole := 0, false
	for ; tries < 8 && !whole; tries++ {
		got := e.do(t, call{path: filePath("app.bin"), token: developer})
		if got.StatusCode == http.StatusOK && !bytes.HasPrefix(body, got.body) {
			t.Fatal("wrong bytes")
		}
		whole = got.err == nil && got.StatusCode == http.StatusOK && len(got.body) == len(body)
		awaitNoFlight(t)
		putForward(restFor + time.Second) // that a file whose fetches fail rests for
	}
	ranges, _ := rangesAskedFor(gitlab)
	ranges = slices.Compact(ranges) // GitLab is asked first, and then its storage
	if want := []string{"", "bytes=1536000-", "bytes=3072000-", "bytes=4608000-", "bytes=6144000-"}; !whole || !slices.Equal(ranges, want) {
		t.Errorf("whole: %v, after %d downloads, by %q", whole, tries, ranges)
	}
}

// TestASumOfTheWholeFileHoldsForARestToo breaks a file off, and damages its rest.
func TestASumOfTheWholeFileHoldsForARestToo(t *testing.T) {
	for name, sums := range map[string]func(gitlabtest.Content) http.Header{"Google": gitlabtest.GoogleSums, "Amazon": gitlabtest.AmazonSum, "Azure": gitlabtest.AzureSum} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetMode(gitlabtest.Redirect)
			gitlab.SetStorageSums(sums)
			e := startEdge(t, gitlab.URL, "retries 0")
			body := someBytes(brokenSize, 1)
			publishOld(gitlab, "app.bin", body)
			breakOffForGood(t, e, gitlab, body)
			gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, CorruptAt: brokenAt + 1000})
			if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode == http.StatusOK && got.err == nil && !bytes.Equal(got.body, body) {
				t.Errorf("a damaged file is whole: %q", got.cacheStatus())
			}
			awaitNoFlight(t)
			gitlab.ClearFaults()
			putForward(restFor + time.Second)
			e.mustGet(t, "app.bin", developer, body)
			awaitNoFlight(t)
			breakOff := someBytes(brokenSize, 7)
			putForward(2 * time.Minute)
			publishOld(gitlab, "app.bin", breakOff)
			breakOffForGood(t, e, gitlab, breakOff)
			e.mustGet(t, "app.bin", developer, breakOff)
			if ranges, _ := rangesAskedFor(gitlab); !slices.Contains(ranges, fmt.Sprintf("bytes=%d-", brokenAt)) {
				t.Errorf("GitLab was asked for %q", ranges)
			}
		})
	}
}

// TestABeginningWhoseRestCannotBeHadKeepsNobodyFromTheFile has a front that fails with ranges, and lets whole files through.
func TestABeginningWhoseRestCannotBeHadKeepsNobodyFromTheFile(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
		fails := r.Header.Get("Range") != "" && r.Header.Get("Range") != "bytes=0-0"
		if fails {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return fails
	}), "retries 0")
	body := someBytes(brokenSize, 1)
	publishOld(gitlab, "app.bin", body)
	breakOffForGood(t, e, gitlab, body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	expectBeginnings(t, 0)
}

// TestAStrangerEndsNoBeginning has a front that shows strangers a page, of which there is no such range.
func TestAStrangerEndsNoBeginning(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
		isStranger := r.Header.Get("Private-Token") == ""
		if isStranger {
			w.Header().Set("Content-Type", "text/html")
			http.ServeContent(w, r, "", time.Unix(1, 0), strings.NewReader("<html>please log in</html>"))
		}
		return isStranger
	}), "retries 0")
	body := someBytes(brokenSize, 1)
	publishOld(gitlab, "app.bin", body)
	breakOffForGood(t, e, gitlab, body)
	expectBeginnings(t, 1)
	e.do(t, call{path: filePath("app.bin")})
	awaitNoFlight(t)
	expectBeginnings(t, 1)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	expectBeginnings(t, 0)
}

func expectBeginnings(t *testing.T, want int) {
	t.Helper()
	if got := runningState().store.Load().Stats().Beginnings; got != want {
		t.Errorf("%d beginnings are kept, not %d", got, want)
	}
}

// TestWhoIsAskedAboutWhileABodyBreaksOffGetsAllOfTheFile has GitLab's answer about a second caller come after the end.
func TestWhoIsAskedAboutWhileABodyBreaksOffGetsAllOfTheFile(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "retries 0")
	body := someBytes(brokenSize, 1)
	publishOld(gitlab, "app.bin", body)
	breaks, answers, asked := make(chan struct{}), make(chan struct{}), make(chan struct{}, 4)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: brokenAt, Release: breaks, CutAfter: brokenAt + 1000})
	gitlab.Inject(gitlabtest.Fault{Question: true, Hang: true, Release: answers, Reached: func() { asked <- struct{}{} }})
	_, rest := e.beginDownload(t, "app.bin", developer, 1000)
	var downloading sync.WaitGroup
	downloading.Go(func() { _, _ = io.Copy(io.Discard, rest) }) // breaks off
	downloading.Go(func() {
		response, err := e.begin(call{path: filePath("app.bin"), token: colleague})
		if err != nil {
			t.Error(err)
			return
		}
		defer response.Body.Close()
		if got, err := io.ReadAll(response.Body); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s, %d of %d bytes, %v", response.Status, len(got), len(body), err)
		}
	})
	<-asked
	close(breaks)
	awaitNoFlight(t)
	close(answers)
	downloading.Wait()
	awaitNoFlight(t)
}

// TestTheSumOfOneLocationIsNotAskedOfAnother has a rest that can't be kept, and then a whole file from elsewhere.
func TestTheSumOfOneLocationIsNotAskedOfAnother(t *testing.T) {
	s, key := &state{publishedSums: newPublishedSums()}, cache.Key{File: "a"}
	s.publishedSums.note(key, cache.Generation{}, cache.Digest{1})
	s.publishedSums.settle(key, cache.Generation{}, "/old", cache.Digest{1})
	fl, body := &flight{h: new(Handler), state: s, target: target{key: key}}, &upstream.Download{Identity: upstream.Identity{Location: "/old"}}
	fl.expectSum(body)
	if spec := fl.specOf(body); spec.SHA256 != (cache.Digest{1}) {
		t.Errorf("the location that has given it: %s", spec.SHA256)
	}
	body.Identity.Location = "/new"
	fl.expectSum(body)
	if spec := fl.specOf(body); !spec.SHA256.IsZero() {
		t.Errorf("another one: %s", spec.SHA256)
	}
}
