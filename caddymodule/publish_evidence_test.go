package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// failedUploads are uploads that GitLab didn't take and that nobody finished: what is odd about each, and how it is sent.
var failedUploads = map[string]func(t *testing.T, e *edge, gitlab *gitlabtest.Server, file string){
	"a malformed chunk": func(t *testing.T, e *edge, _ *gitlabtest.Server, file string) {
		_ = raw(t, e.url, fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nZZZ\r\n", filePath(file)))
	},
	"hung up half-way": func(t *testing.T, e *edge, gitlab *gitlabtest.Server, file string) {
		before := gitlab.Count(http.MethodPut)
		connection := e.holdOpen(t, fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nPrivate-Token: %s\r\n\r\na",
			filePath(file), strings.TrimPrefix(e.url, "http://"), administrator))
		await(t, func() bool { return gitlab.Count(http.MethodPut) > before })
		_ = connection.(*net.TCPConn).SetLinger(0)
		_ = connection.Close()
		await(t, func() bool { return runningUploads(gitlab) == 0 })
	},
	"while GitLab is down": func(t *testing.T, e *edge, gitlab *gitlabtest.Server, file string) {
		gitlab.SetDown(true)
		defer gitlab.SetDown(false)
		// A small body may be whole in a socket before the socket is reset, and GitLab may have it for all the edge knows.
		got, err := e.begin(call{method: http.MethodPut, path: filePath(file), body: neverEnding{}, length: -1})
		if err != nil {
			return // the caller was still writing when the connection was closed
		}
		defer got.Body.Close()
		if got.StatusCode < http.StatusInternalServerError {
			t.Fatalf("an upload to nobody: %s", got.Status)
		}
	},
	"414": refusedUpload(http.StatusRequestURITooLong),
	"429": refusedUpload(http.StatusTooManyRequests),
	"401": refusedUpload(http.StatusUnauthorized),
	"403": refusedUpload(http.StatusForbidden),
	"404": refusedUpload(http.StatusNotFound),
	"307": refusedUpload(http.StatusTemporaryRedirect),
}

// runningUploads counts the uploads that GitLab hasn't ended.
func runningUploads(gitlab *gitlabtest.Server) (running int) {
	for _, request := range gitlab.Requests() {
		if request.Method == http.MethodPut && !request.Done {
			running++
		}
	}
	return running
}

func refusedUpload(status int) func(*testing.T, *edge, *gitlabtest.Server, string) {
	return func(t *testing.T, e *edge, gitlab *gitlabtest.Server, file string) {
		gitlab.Inject(gitlabtest.Fault{Method: http.MethodPut, Status: status})
		e.strangersPut(t, file)
	}
}

// strangersPut uploads without a token.
func (e *edge) strangersPut(t *testing.T, file string) {
	t.Helper()
	if got := e.do(t, call{method: http.MethodPut, path: filePath(file), body: strings.NewReader("x")}); got.StatusCode < 300 {
		t.Fatalf("a stranger publishes: %s", got.Status)
	}
}

func TestUploadsThatFailChangeNothingForOthers(t *testing.T) {
	for name, fail := range failedUploads {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 2h")
			body, cold := someBytes(1000, 1), someBytes(300_000, 2)
			publishOld(gitlab, "app.bin", body)
			publishOld(gitlab, "cold.bin", cold)
			e.mustGet(t, "app.bin", developer, body)

			release := make(chan struct{})
			if name != "while GitLab is down" { // which ends the fill for another reason
				gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "cold", StallAfter: 100_000, Release: release})
				first, rest := e.beginDownload(t, "cold.bin", developer, 1)
				defer func() {
					if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(cold) {
						t.Errorf("the download that had begun before: %v", err)
					}
				}()
			}
			for range 5 {
				fail(t, e, gitlab, "app.bin")
				fail(t, e, gitlab, "cold.bin")
			}
			if name != "while GitLab is down" {
				var joined sync.WaitGroup
				for range 15 {
					joined.Go(func() { e.mustGetConcurrently(t, "cold.bin", cold) })
				}
				await(t, func() bool { return following() >= 15 || gitlab.CountFetches() > 2 })
				close(release)
				joined.Wait()
				awaitNoFlight(t)
				if n := gitlab.CountFetches(); n != 2 {
					t.Errorf("%d bodies for two files", n)
				}
			}
			questions := gitlab.CountQuestions()
			e.mustGet(t, "app.bin", developer, body)
			if gitlab.CountQuestions() != questions {
				t.Error("a stored file is asked about")
			}
			expectOfflineLife(t, e, gitlab, "app.bin", developer, body)
		})
	}
}

// following counts the callers who follow a fetch.
func following() (count int) {
	flights := &runningState().flights
	flights.mu.Lock()
	defer flights.mu.Unlock()
	for _, flight := range flights.byKey {
		flight.mu.Lock()
		count += len(flight.followers)
		flight.mu.Unlock()
	}
	return count
}

// mustGetConcurrently is mustGet for goroutines other than the test's.
func (e *edge) mustGetConcurrently(t *testing.T, file string, want []byte) {
	response, err := e.begin(call{path: filePath(file), token: developer})
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	if got, err := io.ReadAll(response.Body); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %s, %d bytes, %v", file, response.Status, len(got), err)
	}
}

// TestAPublishersUploadDuringAnOutageLeavesTheStoredFile has a publisher try when GitLab can't have got anything.
func TestAPublishersUploadDuringAnOutageLeavesTheStoredFile(t *testing.T) {
	setForTest(t, &process.breakerPause, time.Hour)
	for name, begin := range map[string]func(t *testing.T, e *edge, gitlab *gitlabtest.Server){
		"the connection is reset": func(_ *testing.T, _ *edge, gitlab *gitlabtest.Server) { gitlab.SetDown(true) },
		"nobody listens":          func(_ *testing.T, _ *edge, gitlab *gitlabtest.Server) { gitlab.Close() },
		"the breaker is open": func(t *testing.T, e *edge, gitlab *gitlabtest.Server) {
			awaitProbeAnswered(t)
			gitlab.SetDown(true)
			for range 2 {
				e.do(t, call{path: filePath("cold.bin"), token: developer})
			}
			await(t, func() bool { return isDown(upstream.ServerGitLab) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 2h")
			body := someBytes(1000, 1)
			publishOld(gitlab, "app.bin", body)
			e.mustGet(t, "app.bin", developer, body)
			begin(t, e, gitlab)
			for range 3 {
				if got := e.put(t, filePath("app.bin"), []byte("newer")); got.StatusCode < 500 {
					t.Fatalf("an upload: %s", got.Status)
				}
			}
			got := e.mustGet(t, "app.bin", developer, body)
			if name != "the connection is reset" && strings.Contains(got.cacheStatus(), "offline") {
				t.Errorf("GitLab can't have got the upload, and is asked: %q", got.cacheStatus())
			}
			putForward(time.Hour + time.Minute)
			if got := e.mustGet(t, "app.bin", developer, body); !strings.HasSuffix(got.cacheStatus(), "; detail=offline") {
				t.Errorf("got %q", got.cacheStatus())
			}
		})
	}
}

// changer is a front that takes any request but downloads, and answers 2xx to it before the caller's body has been looked at.
// GitLab has the newer file from then on. The answer's body doesn't end until the test does.
func changer(t *testing.T, gitlab *gitlabtest.Server, status int, newer []byte, published *atomic.Bool) string {
	t.Helper()
	return frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		gitlab.Publish(project, "pkg", "1.0.0", "app.bin", newer)
		published.Store(true)
		w.WriteHeader(status)
		if status == http.StatusNoContent {
			return true
		}
		_, _ = io.WriteString(w, "taken")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
}

func TestASuccessOfAnyMethodEndsTheOlderFileBeforeItsAuthorReadsOfIt(t *testing.T) {
	older, newer := someBytes(1000, 1), someBytes(1000, 2)
	for name, test := range map[string]struct {
		method, lines string
		status        int
	}{
		"an upload that announces nothing": {http.MethodPut, "Content-Length: 0", 201},
		"an upload without a length":       {http.MethodPut, "X-A: b", 201},
		"a deletion":                       {http.MethodDelete, "X-A: b", 200},
		"a deletion, 204":                  {http.MethodDelete, "X-A: b", 204},
		"a change":                         {http.MethodPatch, "Content-Length: 0", 202},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			var published atomic.Bool
			e := startEdge(t, changer(t, gitlab, test.status, newer, &published), "max_age 1h\ngrant_ttl 1h\noffline_grace 2h")
			publishOld(gitlab, "app.bin", older)
			e.mustGet(t, "app.bin", developer, older)
			e.mustGet(t, "app.bin", colleague, older)
			author := e.holdOpen(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", test.method, filePath("app.bin"), strings.TrimPrefix(e.url, "http://"), test.lines))
			_ = author.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadFull(author, make([]byte, 1)); err != nil || !published.Load() {
				t.Fatal(err)
			}
			e.mustGet(t, "app.bin", developer, newer)
			e.mustGet(t, "app.bin", colleague, newer)
		})
	}
}

// inProject is the URL path of app.bin in a project, by any of its names.
func inProject(name string) string {
	return strings.Replace(filePath("app.bin"), "/24/", "/"+name+"/", 1)
}

// TestWhatAPublishMeansForTheSameNameElsewhere publishes app.bin in project 24, and looks at what is stored of app.bin by other
// names of projects, which may be the same project's or not.
func TestWhatAPublishMeansForTheSameNameElsewhere(t *testing.T) {
	older, newer := someBytes(1000, 1), someBytes(1000, 2)
	for name, test := range map[string]struct {
		options, spelling string
		known             bool // whether the edge knows that it is project 24
		now               []byte
	}{
		"another project":                  {"", "25", false, older},
		"an unknown spelling":              {"", "group%2Fapp", false, newer},
		"a spelling that the config knows": {"projects on {\n on 24 group/app\n}", "group%2Fapp", true, newer},
		"in another case":                  {"projects on {\n on 24 group/app\n}", "Group%2FApp", true, newer},
		"one that no line names":           {"projects on {\n on 24 group/app\n}", "25", false, older},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 2h\n"+test.options)
			publishOld(gitlab, "app.bin", older)
			gitlab.SetClock(func() time.Time { return process.clock().Add(-time.Hour) })
			gitlab.Publish(otherProject, "pkg", "1.0.0", "app.bin", older)
			gitlab.SetClock(process.clock)
			get := func() answer { return e.do(t, call{path: inProject(test.spelling), token: developer}) }
			publishAndGoDown := func(down bool) (got answer) {
				if got := e.put(t, filePath("app.bin"), newer); got.StatusCode != http.StatusCreated {
					t.Fatal(got.Status)
				}
				gitlab.SetDown(down)
				defer gitlab.SetDown(false)
				gitlab.ResetRequests()
				return get()
			}
			if got := get(); !bytes.Equal(got.body, older) {
				t.Fatalf("before: %s", got.Status)
			}
			got := publishAndGoDown(true)
			if test.known && got.StatusCode < 500 {
				t.Errorf("what was published over is served offline: %s, %q", got.Status, got.cacheStatus())
			}
			if !test.known && (!bytes.Equal(got.body, older) || !strings.HasSuffix(got.cacheStatus(), "; detail=offline")) {
				t.Errorf("it isn't known to be the same project, and loses its offline life: %s, %q", got.Status, got.cacheStatus())
			}
			if got := get(); !bytes.Equal(got.body, test.now) {
				t.Errorf("afterwards: %s, %q", got.Status, got.cacheStatus())
			}
			putForward(11 * time.Second) // so that what follows isn't about replicas that lag
			got = publishAndGoDown(false)
			if !bytes.Equal(got.body, test.now) {
				t.Errorf("after another publish: %s, %q", got.Status, got.cacheStatus())
			}
			if n := gitlab.CountQuestions() + gitlab.CountFetches(); n == 0 {
				t.Error("after another publish GitLab isn't asked")
			}
			putForward(11 * time.Second)
			get()
			gitlab.ResetRequests()
			if got := get(); len(gitlab.Requests()) != 0 {
				t.Errorf("it is asked about again and again: %q", got.cacheStatus())
			}
		})
	}
}
