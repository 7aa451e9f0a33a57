package caddymodule

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// modes are GitLab's ways to give a file out, each with and without checksums where it can name them.
var modes = []struct {
	name      string
	mode      gitlabtest.Mode
	checksums bool
}{
	{"local disk", gitlabtest.LocalDisk, false},
	{"local disk with checksums", gitlabtest.LocalDisk, true},
	{"proxied storage", gitlabtest.Proxied, false},
	{"proxied storage with checksums", gitlabtest.Proxied, true},
	{"redirected storage", gitlabtest.Redirect, false},
}

// inEveryMode runs a test against a GitLab of each kind.
func inEveryMode(t *testing.T, test func(*testing.T, *gitlabtest.Server)) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetMode(m.mode)
			gitlab.SetChecksums(m.checksums)
			test(t, gitlab)
		})
	}
}

// publishOld publishes a file long enough ago that its Last-Modified names it (see upstream.Identity.Settled).
func publishOld(gitlab *gitlabtest.Server, file string, body []byte) {
	gitlab.SetClock(func() time.Time { return process.clock().Add(-time.Hour) })
	gitlab.Publish(project, "pkg", "1.0.0", file, body)
	gitlab.SetClock(process.clock)
}

func TestRepeatDownloadMakesNoUpstreamRequestAndAnotherTokenOneQuestion(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "")
		body := someBytes(300_000, 1)
		publishOld(gitlab, "app.bin", body)

		got := e.mustGet(t, "app.bin", developer, body)
		if !strings.Contains(got.cacheStatus(), "fwd=uri-miss") || gitlab.CountFetches() != 1 || gitlab.CountQuestions() != 0 {
			t.Errorf("cold: %q, %d fetches, %d questions", got.cacheStatus(), gitlab.CountFetches(), gitlab.CountQuestions())
		}
		awaitNoFlight(t)
		before := len(gitlab.Requests())
		got = e.mustGet(t, "app.bin", developer, body)
		if !strings.Contains(got.cacheStatus(), "; hit") || len(gitlab.Requests()) != before {
			t.Errorf("warm: %q after %d upstream requests", got.cacheStatus(), len(gitlab.Requests())-before)
		}
		got = e.mustGet(t, "app.bin", colleague, body)
		if gitlab.CountQuestions() != 1 || gitlab.CountFetches() != 1 {
			t.Errorf("another token: %q after %d questions and %d fetches", got.cacheStatus(), gitlab.CountQuestions(), gitlab.CountFetches())
		}
		putForward(2 * time.Minute)
		e.mustGet(t, "app.bin", developer, body)
		if gitlab.CountQuestions() != 2 || gitlab.CountFetches() != 1 {
			t.Errorf("after max_age: %d questions and %d fetches in all", gitlab.CountQuestions(), gitlab.CountFetches())
		}
	})
}

func TestHeadersOfAStoredFile(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(5000, 2)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	got := e.mustGet(t, "app.bin", developer, body)
	digest := hexSHA256(body)
	raw := make([]byte, 32)
	if _, err := fmt.Sscanf(digest, "%x", &raw); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Length": "5000", "Accept-Ranges": "bytes",
		"Etag": `"` + digest + `"`, "X-Checksum-Sha256": digest, "Cache-Control": "private, no-cache, no-transform", "X-Content-Type-Options": "nosniff",
		"Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(raw) + ":",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: got %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if !strings.HasPrefix(got.Header.Get("Content-Disposition"), "attachment") || got.Header.Get("Last-Modified") == "" {
		t.Errorf("Content-Disposition %q, Last-Modified %q", got.Header.Get("Content-Disposition"), got.Header.Get("Last-Modified"))
	}
	for _, name := range []string{"X-Request-Id", "X-Runtime", "Set-Cookie", "Ratelimit-Limit"} {
		if got.Header.Get(name) != "" {
			t.Errorf("%s of somebody's request was replayed", name)
		}
	}
}

func TestRangesAndConditionsOnAStoredFile(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(100_000, 3)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	first := e.mustGet(t, "app.bin", developer, body)
	etag, modified := first.Header.Get("Etag"), first.Header.Get("Last-Modified")
	for _, test := range []struct {
		name   string
		header http.Header
		status int
		body   []byte
	}{
		{"first bytes", http.Header{"Range": {"bytes=0-9"}}, 206, body[:10]},
		{"to the end", http.Header{"Range": {"bytes=99000-"}}, 206, body[99000:]},
		{"last bytes", http.Header{"Range": {"bytes=-7"}}, 206, body[len(body)-7:]},
		{"past the end", http.Header{"Range": {"bytes=100000-"}}, 416, nil},
		{"If-None-Match, same", http.Header{"If-None-Match": {etag}}, 304, nil},
		{"If-None-Match, other", http.Header{"If-None-Match": {`"x"`}}, 200, body},
		{"If-Modified-Since, same", http.Header{"If-Modified-Since": {modified}}, 304, nil},
		{"If-Range, same", http.Header{"Range": {"bytes=5-6"}, "If-Range": {etag}}, 206, body[5:7]},
		{"If-Range, other", http.Header{"Range": {"bytes=5-6"}, "If-Range": {`"x"`}}, 200, body},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := e.do(t, call{path: filePath("app.bin"), token: developer, header: test.header})
			if got.StatusCode != test.status || (test.body != nil && !bytes.Equal(got.body, test.body)) {
				t.Errorf("got %s with %d bytes", got.Status, len(got.body))
			}
		})
	}
	head := e.do(t, call{method: http.MethodHead, path: filePath("app.bin"), token: developer})
	if head.StatusCode != 200 || head.ContentLength != 100_000 || len(head.body) != 0 {
		t.Errorf("HEAD: %s, length %d, %d bytes", head.Status, head.ContentLength, len(head.body))
	}
	if n := len(gitlab.Requests()); n != 1 {
		t.Errorf("all of that made %d upstream requests, want the first download's", n)
	}
}

func TestHEADOfAColdFileCostsOneQuestionAndNoBody(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "")
		publishOld(gitlab, "app.bin", someBytes(123_456, 4))
		got := e.do(t, call{method: http.MethodHead, path: filePath("app.bin"), token: developer})
		if got.StatusCode != 200 || got.ContentLength != 123_456 || got.Header.Get("Location") != "" {
			t.Errorf("got %s, length %d, Location %q", got.Status, got.ContentLength, got.Header.Get("Location"))
		}
		if gitlab.CountQuestions() != 1 || gitlab.CountFetches() != 0 {
			t.Errorf("%d questions, %d fetches", gitlab.CountQuestions(), gitlab.CountFetches())
		}
		// Of a stored file that was published over, too.
		e.do(t, call{path: filePath("app.bin"), token: developer})
		publishOld(gitlab, "app.bin", someBytes(654_321, 5))
		putForward(time.Hour)
		got = e.do(t, call{method: http.MethodHead, path: filePath("app.bin"), token: developer})
		if got.StatusCode != 200 || got.ContentLength != 654_321 || gitlab.CountFetches() != 1 {
			t.Errorf("published over: %s, length %d after %d GET", got.Status, got.ContentLength, gitlab.CountFetches())
		}
	})
}

// TestAPrivateFileInTheCacheIsNotGivenTo goes through everybody who must not get a file that is stored and fresh.
func TestAPrivateFileInTheCacheIsNotGivenTo(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "")
		body := someBytes(70_000, 5)
		publishOld(gitlab, "secret.bin", body)
		e.mustGet(t, "secret.bin", developer, body)
		path := filePath("secret.bin")
		for _, test := range []struct {
			name   string
			call   call
			status int
		}{
			{"no token", call{path: path}, 401},
			{"a wrong token", call{path: path, token: "glpat-wrong"}, 401},
			{"a valid token without access", call{path: path, token: outsider}, 404},
			{"a wrong token in the query", call{path: path + "?private_token=glpat-wrong"}, 401},
			{"a wrong token in the query beside a right one", call{path: path + "?private_token=glpat-wrong", token: developer}, 401},
			{"a valid token and Sudo", call{path: path, token: developer, header: http.Header{"Sudo": {"root"}}}, 403},
			{"an admin's token and Sudo to an outsider", call{path: path, token: administrator, header: http.Header{"Sudo": {"outsider"}}}, 404},
			{"a HEAD without a token", call{method: http.MethodHead, path: path}, 401},
			{"a range without a token", call{path: path, header: http.Header{"Range": {"bytes=0-9"}}}, 401},
			{"a condition without a token", call{path: path, header: http.Header{"If-None-Match": {`"` + hexSHA256(body) + `"`}}}, 401},
		} {
			t.Run(test.name, func(t *testing.T) {
				got := e.do(t, test.call)
				if got.StatusCode != test.status || bytes.Contains(got.body, body[:16]) {
					t.Errorf("got %s with %s, want %d", got.Status, firstBytes(got.body), test.status)
				}
			})
		}
	})
}

func TestARevokedTokenIsRefusedOnceGrantTTLHasPassed(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "grant_ttl 30s\nmax_age 1h\noffline_grace 1h")
	body := someBytes(1000, 6)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	e.mustGet(t, "app.bin", colleague, body)
	gitlab.RevokeToken(developer)
	putForward(20 * time.Second)
	e.mustGet(t, "app.bin", developer, body) // within grant_ttl of GitLab's yes
	putForward(15 * time.Second)             // use has not stretched it
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != 401 {
		t.Errorf("got %s, want 401", got.Status)
	}
	gitlab.Inject(gitlabtest.Fault{Status: 503, Times: -1})
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != 503 {
		t.Errorf("offline after the refusal: got %s, want 503", got.Status)
	}
	if got := e.do(t, call{path: filePath("app.bin"), token: colleague}); got.StatusCode != 200 || !strings.Contains(got.cacheStatus(), "offline") {
		t.Errorf("offline with a grant: got %s, %q, want 200", got.Status, got.cacheStatus())
	}
	putForward(2 * time.Hour)
	if got := e.do(t, call{path: filePath("app.bin"), token: colleague}); got.StatusCode != 503 {
		t.Errorf("offline past offline_grace: got %s, want 503", got.Status)
	}
}

func TestTheSameTokenFromAnotherAddressNeedsACheckOfItsOwn(t *testing.T) {
	for _, test := range []struct {
		options string
		heads   int
	}{{"", 1}, {"grant_scope credential", 0}} {
		t.Run(test.options, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, test.options)
			body := someBytes(1000, 7)
			publishOld(gitlab, "app.bin", body)
			for _, address := range []string{"198.51.100.1", "198.51.100.2", "198.51.100.1"} {
				got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"X-Forwarded-For": {address}}})
				if got.StatusCode != 200 {
					t.Fatalf("from %s: %s", address, got.Status)
				}
			}
			if gitlab.CountQuestions() != test.heads {
				t.Errorf("%d checks, want %d", gitlab.CountQuestions(), test.heads)
			}
		})
	}
}

func TestALogInPageIsNeitherAGrantNorAFile(t *testing.T) {
	for _, fault := range []struct {
		name   string
		fault  gitlabtest.Fault
		status int
	}{
		{"as 200", gitlabtest.Fault{LoginPage200: true, Times: -1}, 200},
		{"as 302", gitlabtest.Fault{LoginRedirect302: true, Times: -1}, 302},
	} {
		t.Run(fault.name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "")
			body := someBytes(1000, 8)
			publishOld(gitlab, "warm.bin", body)
			publishOld(gitlab, "cold.bin", body)
			e.mustGet(t, "warm.bin", developer, body)
			gitlab.Inject(fault.fault)
			for _, file := range []string{"warm.bin", "cold.bin"} {
				got := e.do(t, call{path: filePath(file), token: colleague})
				if got.StatusCode != fault.status || bytes.Contains(got.body, body[:16]) {
					t.Errorf("%s: got %s with %s", file, got.Status, firstBytes(got.body))
				}
			}
		})
	}
}

func TestAColdHerdCostsOneGETAndStreamsWhileTheFileArrives(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		const callers = 50
		roles := map[int]gitlabtest.Role{project: gitlabtest.Guest}
		for i := range callers {
			gitlab.AddToken(gitlabtest.Token{Kind: gitlabtest.PersonalToken, Secret: fmt.Sprintf("glpat-%d", i), Username: fmt.Sprintf("user%d", i), Roles: roles})
		}
		e := startEdge(t, gitlab.URL, "")
		body := someBytes(16<<20, 9)
		want := hexSHA256(body)
		publishOld(gitlab, "big.bin", body)
		// The upstream stands still in the middle until all callers have had their first bytes.
		release := make(chan struct{})
		gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Times: 1, StallAfter: 8 << 20, Release: release})

		var begun, done sync.WaitGroup
		begun.Add(callers)
		for i := range callers {
			done.Go(func() {
				response, err := e.begin(call{path: filePath("big.bin"), token: fmt.Sprintf("glpat-%d", i)})
				if err != nil {
					begun.Done()
					t.Errorf("caller %d: %v", i, err)
					return
				}
				defer response.Body.Close()
				first := make([]byte, 1)
				_, err = response.Body.Read(first)
				begun.Done()
				if err != nil || first[0] != body[0] {
					t.Errorf("caller %d: first byte: %v", i, err)
					return
				}
				if got, err := digestOfRest(first, response.Body); err != nil || got != want {
					t.Errorf("caller %d: %s, %v", i, response.Status, err)
				}
			})
		}
		begun.Wait()
		close(release)
		done.Wait()
		if fetches, questions := gitlab.CountFetches(), gitlab.CountQuestions(); fetches != 1 || questions > callers-1 {
			t.Errorf("%d fetches and %d questions, want 1 and at most %d", fetches, questions, callers-1)
		}
	})
}

func TestACutBodyIsResumedAndNeverLooksWhole(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "retries 2")
		body := someBytes(1<<20, 10)
		publishOld(gitlab, "resumed.bin", body)
		gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Times: 1, CutAfter: 300_000})
		e.mustGet(t, "resumed.bin", developer, body)

		body = someBytes(1<<20, 11)
		publishOld(gitlab, "cut.bin", body)
		gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Times: -1, CutAfter: 300_000})
		got := e.do(t, call{path: filePath("cut.bin"), token: developer})
		if got.StatusCode == 200 && got.err == nil {
			t.Errorf("a cut body looks whole: %d bytes", len(got.body))
		}
		awaitNoFlight(t) // or the next caller would join the fetch that is about to fail
		gitlab.ClearFaults()
		e.mustGet(t, "cut.bin", developer, body)
	})
}
