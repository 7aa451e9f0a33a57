package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// rangeForms are ranges of a file in every form and order: which parts of how long a file each names.
var rangeForms = map[string][][2]int{
	"bytes=0-9":                  {{0, 10}},
	"bytes=-10":                  {{-10, 0}},
	"bytes=-99999999":            {{0, 0}}, // more than there is: all
	"bytes=100-":                 {{100, 0}},
	"bytes=1000-1999,0-99":       {{1000, 2000}, {0, 100}},
	"bytes=2000-2999,1000-1999":  {{2000, 3000}, {1000, 2000}},
	"bytes=0-99,50-149":          {{0, 100}, {50, 150}},
	"bytes=0-99,0-99":            {{0, 100}, {0, 100}},
	"bytes=-50,0-9":              {{-50, 0}, {0, 10}},
	"bytes=-50,-20":              {{-50, 0}, {-20, 0}},
	"bytes=3000-3099,-10,5-5":    {{3000, 3100}, {-10, 0}, {5, 6}},
	"bytes= 10-19 , ,1-2":        {{10, 20}, {1, 3}},
	"bytes=10-19,99999999-":      {{10, 20}}, // past the end: left out
	"bytes=99999999-,10-19,0-4":  {{10, 20}, {0, 5}},
	"bytes=0-0,-1":               {{0, 1}, {-1, 0}},
	"bytes=100-199,100-299,0-99": {{100, 200}, {100, 300}, {0, 100}},
}

// expectParts compares a 206 with the parts of a file.
func expectParts(t *testing.T, asked string, got answer, body []byte, parts [][2]int) {
	t.Helper()
	if got.StatusCode != http.StatusPartialContent || got.err != nil || int64(len(got.body)) != got.ContentLength {
		t.Errorf("%s: %s, %d bytes of %d, %v", asked, got.Status, len(got.body), got.ContentLength, got.err)
		return
	}
	want := make([][]byte, 0, len(parts))
	ranges := make([]string, 0, len(parts))
	for _, part := range parts {
		from, to := part[0], part[1]
		if from < 0 {
			from += len(body)
		}
		if to == 0 {
			to = len(body)
		}
		want, ranges = append(want, body[from:to]), append(ranges, fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(body)))
	}
	if len(want) == 1 {
		if !bytes.Equal(got.body, want[0]) || got.Header.Get("Content-Range") != ranges[0] {
			t.Errorf("%s: %d bytes, %q", asked, len(got.body), got.Header.Get("Content-Range"))
		}
		return
	}
	_, parameters, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil {
		t.Error(err)
		return
	}
	reader := multipart.NewReader(bytes.NewReader(got.body), parameters["boundary"])
	for i := range want {
		part, err := reader.NextPart()
		if err != nil {
			t.Errorf("%s: part %d: %v", asked, i, err)
			return
		}
		sent, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(sent, want[i]) || part.Header.Get("Content-Range") != ranges[i] {
			t.Errorf("%s: part %d: %d bytes, %q, %v", asked, i, len(sent), part.Header.Get("Content-Range"), err)
		}
	}
	if _, err := reader.NextPart(); err != io.EOF { //nolint:errorlint // as it is returned
		t.Errorf("%s: more than %d parts: %v", asked, len(want), err)
	}
}

// TestRangesOfEveryFormAndOrderBringWhatTheyName out of memory, from the disk, and from a file that is still on its way in.
func TestRangesOfEveryFormAndOrderBringWhatTheyName(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	for file, size := range map[string]int{"small.bin": 5000, "large.bin": 3 << 20} {
		body := someBytes(size, 1)
		publishOld(gitlab, file, body)
		e.mustGet(t, file, developer, body)
		awaitNoFlight(t)
		for asked, parts := range rangeForms {
			got := e.do(t, call{path: filePath(file), token: developer, header: http.Header{"Range": {asked}}})
			expectParts(t, file+" "+asked, got, body, parts)
		}
	}
	body := someBytes(3<<20, 2)
	publishOld(gitlab, "cold.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release})
	first, rest := e.beginDownload(t, "cold.bin", developer, 1)
	pastTheEnd := "bytes=10-19,99999999-" // what isn't there is not far ahead
	got := e.do(t, call{path: filePath("cold.bin"), token: developer, header: http.Header{"Range": {pastTheEnd}}})
	expectParts(t, "cold.bin, early, "+pastTheEnd, got, body, rangeForms[pastTheEnd])
	answers := make(map[string]chan answer)
	for asked := range rangeForms {
		answered := make(chan answer, 1)
		answers[asked] = answered
		go func() { // ends with the release
			answered <- e.do(t, call{path: filePath("cold.bin"), token: developer, header: http.Header{"Range": {asked}}})
		}()
	}
	await(t, func() bool { return following() > 0 })
	close(release)
	for asked, parts := range rangeForms {
		expectParts(t, "cold.bin "+asked, <-answers[asked], body, parts)
	}
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(body) {
		t.Errorf("the download that led: %v", err)
	}
	if gets := gitlab.CountFetches(); gets != 3 {
		t.Errorf("%d GETs for three files", gets)
	}
}

// TestConditionsOfEveryKindAreJudged of a stored file, out of memory and from the disk (RFC 9110, section 13.2.2).
func TestConditionsOfEveryKindAreJudged(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h")
	for file, size := range map[string]int{"small.bin": 5000, "large.bin": 3 << 20} {
		body := someBytes(size, 1)
		publishOld(gitlab, file, body)
		e.mustGet(t, file, developer, body)
		awaitNoFlight(t)
		stored := e.mustGet(t, file, developer, body)
		tag, modified := stored.Header.Get("Etag"), stored.Header.Get("Last-Modified")
		dated, err := http.ParseTime(modified)
		if err != nil {
			t.Fatal(err)
		}
		before, after := dated.Add(-time.Hour).Format(http.TimeFormat), dated.Add(time.Hour).Format(http.TimeFormat)
		for _, test := range []struct {
			header map[string]string
			status int
		}{
			{map[string]string{"If-Match": tag}, 200},
			{map[string]string{"If-Match": "*"}, 200},
			{map[string]string{"If-Match": `"x", ` + tag}, 200},
			{map[string]string{"If-Match": `"x"`}, 412},
			{map[string]string{"If-Match": `W/` + tag}, 412},
			{map[string]string{"If-None-Match": tag}, 304},
			{map[string]string{"If-None-Match": "W/" + tag}, 304},
			{map[string]string{"If-None-Match": "*"}, 304},
			{map[string]string{"If-None-Match": `"x", ` + tag}, 304},
			{map[string]string{"If-None-Match": `"x"`}, 200},
			{map[string]string{"If-None-Match": `"x"`, "If-Modified-Since": after}, 200},
			{map[string]string{"If-Modified-Since": modified}, 304},
			{map[string]string{"If-Modified-Since": after}, 304},
			{map[string]string{"If-Modified-Since": before}, 200},
			{map[string]string{"If-Unmodified-Since": modified}, 200},
			{map[string]string{"If-Unmodified-Since": before}, 412},
			{map[string]string{"If-Match": tag, "If-Unmodified-Since": before}, 200},
			{map[string]string{"Range": "bytes=5-6", "If-Range": tag}, 206},
			{map[string]string{"Range": "bytes=5-6", "If-Range": "W/" + tag}, 200},
			{map[string]string{"Range": "bytes=5-6", "If-Range": `"x"`}, 200},
			{map[string]string{"Range": "bytes=5-6", "If-Range": modified}, 206},
			{map[string]string{"Range": "bytes=5-6", "If-Range": before}, 200},
			{map[string]string{"Range": "bytes=5-6", "If-Match": tag}, 206},
			{map[string]string{"Range": "bytes=5-6", "If-Match": `"x"`}, 412},
			{map[string]string{"Range": "bytes=5-6", "If-None-Match": tag}, 304},
			{map[string]string{"If-Range": tag}, 200},
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				header := make(http.Header)
				for name, value := range test.header {
					header.Set(name, value)
				}
				got := e.do(t, call{method: method, path: filePath(file), token: developer, header: header})
				if got.StatusCode != test.status {
					t.Errorf("%s of %s, %v: %s, want %d", method, file, test.header, got.Status, test.status)
				}
				want := map[int][]byte{200: body, 206: body[5:7]}[test.status]
				if method == http.MethodGet && want != nil && !bytes.Equal(got.body, want) {
					t.Errorf("%s of %s, %v: %d bytes", method, file, test.header, len(got.body))
				}
				if test.status == 304 && (len(got.body) != 0 || got.Header.Get("Etag") != tag) {
					t.Errorf("%s of %s, %v: %d bytes, tag %q", method, file, test.header, len(got.body), got.Header.Get("Etag"))
				}
			}
		}
	}
	if gets := gitlab.CountFetches(); gets != 2 {
		t.Errorf("%d GETs for two files", gets)
	}
}

// TestEveryWayOfAFileForbidsToKeepItToChangeItAndToGuessItsType looks at each way in which the edge itself answers a download.
func TestEveryWayOfAFileForbidsToKeepItToChangeItAndToGuessItsType(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 1m\ngrant_ttl 1m\noffline_grace 1h")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	publishOld(gitlab, "unframed.bin", body)
	expect := func(way string, c call) {
		t.Helper()
		got := e.do(t, c)
		if got.StatusCode >= 300 || got.Header.Get("Cache-Control") != "private, no-cache, no-transform" || got.Header.Get("X-Content-Type-Options") != "nosniff" ||
			got.Header.Get("Content-Disposition") == "" {
			t.Errorf("%s: %s, %q, %v", way, got.Status, got.cacheStatus(), got.Header)
		}
		awaitNoFlight(t)
	}
	expect("described", call{method: http.MethodHead, path: filePath("app.bin"), token: developer})
	expect("fetched", call{path: filePath("app.bin"), token: developer})
	expect("a hit", call{path: filePath("app.bin"), token: developer})
	expect("a part", call{path: filePath("app.bin"), token: developer, header: http.Header{"Range": {"bytes=1-2"}}})
	expect("revalidated", call{path: filePath("app.bin"), token: colleague})
	gitlab.Inject(gitlabtest.Fault{PathContains: "unframed", Unframed: true, Times: -1})
	expect("streamed", call{path: filePath("unframed.bin"), token: developer})
	putForward(2 * time.Minute)
	gitlab.SetDown(true)
	expect("offline", call{path: filePath("app.bin"), token: developer})
}
