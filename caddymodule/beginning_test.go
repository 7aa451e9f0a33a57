package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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
	putForward(restFor + time.Second) // that the file rests for
	awaitNoFlight(t)
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
		if !bytes.HasPrefix(body, got.body) {
			t.Fatal("wrong bytes")
		}
		whole = got.err == nil && got.StatusCode == http.StatusOK && len(got.body) == len(body)
		awaitNoFlight(t)
		putForward(10 * time.Second) // a file whose fetches fail rests a while
	}
	if !whole || tries != 5 {
		t.Errorf("whole: %v, after %d downloads", whole, tries)
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
