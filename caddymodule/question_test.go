package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAnUploadThatGitLabNeverAnsweredIsAskedAboutAndTakesNoFileAwayInAnOutage sends whole bodies that are answered 5xx or not
// at all, and after each a download, once while GitLab is there and once while it is down.
func TestAnUploadThatGitLabNeverAnsweredIsAskedAboutAndTakesNoFileAwayInAnOutage(t *testing.T) {
	older, newer := someBytes(50_000, 1), someBytes(50_000, 2)
	for name, test := range map[string]struct {
		fault gitlabtest.Fault
		want  []byte
		asks  bool
	}{
		"500 after the body":       {gitlabtest.Fault{AfterBody: true, Status: 500}, older, true},
		"504 after the body":       {gitlabtest.Fault{AfterBody: true, Status: 504}, older, true},
		"taken, the answer lost":   {gitlabtest.Fault{LoseAnswer: true}, newer, true},
		"400 after the body":       {gitlabtest.Fault{AfterBody: true, Status: 400}, older, false},
		"429 before the body":      {gitlabtest.Fault{Method: http.MethodPut, Status: 429}, older, false},
		"502 before the body":      {gitlabtest.Fault{Method: http.MethodPut, Status: 502}, older, false},
		"the line breaks under it": {gitlabtest.Fault{CutUploadAfter: 10_000}, older, false},
	} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, GitLab down %v", name, down), func(t *testing.T) {
				gitlab := newGitLab(t)
				e := startEdge(t, gitlab.URL, "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
				publishOld(gitlab, "app.bin", older)
				e.mustGet(t, "app.bin", colleague, older)
				awaitNoFlight(t)
				gitlab.Inject(test.fault)
				// Far more than fits on the way, where GitLab doesn't get the whole body.
				body := newer
				if !test.asks && !strings.Contains(name, "after the body") {
					body = someBytes(32<<20, 2)
				}
				e.put(t, filePath("app.bin"), body)
				gitlab.SetDown(down)
				gitlab.ResetRequests()
				if down {
					got := e.mustGet(t, "app.bin", colleague, older)
					if offline := strings.Contains(got.cacheStatus(), "offline"); offline != test.asks {
						t.Errorf("in an outage: %q", got.cacheStatus())
					}
					return
				}
				e.mustGet(t, "app.bin", colleague, test.want)
				if asked := gitlab.CountQuestions() > 0; asked != test.asks {
					t.Errorf("GitLab was asked: %v", asked)
				}
			})
		}
	}
}

// TestAPublishWhoseCallerHasLeftCountsWhenGitLabAnswers has publishers hang up when their bodies have gone to GitLab, which
// takes them a moment later; more of one address than the edge waits for.
func TestAPublishWhoseCallerHasLeftCountsWhenGitLabAnswers(t *testing.T) {
	older, newer := someBytes(50_000, 1), someBytes(50_000, 2)
	release := make(chan struct{})
	gitlab := newGitLab(t)
	arrived, gone := make(chan struct{}, maxAnswerWaitsOfOne+1), make(chan struct{}, maxAnswerWaitsOfOne+1)
	e := startEdge(t, frontOf(t, gitlab, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			arrived <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
				gone <- struct{}{} // the edge doesn't wait
				<-release
			}
			*r = *r.WithContext(context.WithoutCancel(r.Context())) // GitLab works on when its caller has gone
		}
		return false
	}), "max_age 1h\ngrant_ttl 1h\noffline_grace 1h")
	files := make([]string, maxAnswerWaitsOfOne+1)
	for i := range files {
		files[i] = fmt.Sprintf("app-%d.bin", i)
		publishOld(gitlab, files[i], older)
		e.mustGet(t, files[i], colleague, older)
	}
	awaitNoFlight(t)
	for i, file := range files {
		ctx, leave := context.WithCancel(context.Background())
		go func() { // ends with leave
			response, err := e.begin(call{method: http.MethodPut, path: filePath(file), token: developer, body: bytes.NewReader(newer), context: ctx})
			if err == nil {
				_ = response.Body.Close()
			}
		}()
		<-arrived
		leave()
		await(t, func() bool { return answersAwaited() == min(i+1, maxAnswerWaitsOfOne) })
	}
	<-gone // the last
	close(release)
	await(t, func() bool { return answersAwaited() == 0 })
	gitlab.SetDown(true)
	for i, file := range files {
		got := e.do(t, call{path: filePath(file), token: colleague})
		switch served := bytes.Equal(got.body, older); {
		case i < maxAnswerWaitsOfOne && served:
			t.Errorf("%s was published, and the older one is served: %q", file, got.cacheStatus())
		case i == maxAnswerWaitsOfOne && !served:
			t.Errorf("%s, whose answer nobody waited for, is only worth a question: %s", file, got.Status)
		}
	}
	gitlab.SetDown(false)
}

// TestA404IsWorthAQuestionOnlyOfWhoLatelyHeldAYes has others hear GitLab's no about a file that stays what it is.
func TestA404IsWorthAQuestionOnlyOfWhoLatelyHeldAYes(t *testing.T) {
	body := someBytes(1000, 1)
	for name, test := range map[string]struct {
		token  string
		status int
		asks   bool
	}{
		"404 to an outsider":                 {outsider, 404, false},
		"403 to an outsider":                 {outsider, 403, false},
		"401 to nobody":                      {"", 401, false},
		"403 to somebody who held a yes":     {administrator, 403, false},
		"401 to somebody who held a yes":     {administrator, 401, false},
		"404 to somebody who held a yes":     {administrator, 404, true},
		"a log-in page to a holder of a yes": {administrator, 302, false},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, gitlab.URL, "max_age 1m\ngrant_ttl 1m\noffline_grace 1h")
			publishOld(gitlab, "app.bin", body)
			e.mustGet(t, "app.bin", administrator, body)
			putForward(2 * time.Minute)
			e.mustGet(t, "app.bin", developer, body)
			awaitNoFlight(t)
			gitlab.Inject(gitlabtest.Fault{Status: test.status, Header: http.Header{"Location": {gitlab.URL + "/users/sign_in"}}})
			if got := e.do(t, call{path: filePath("app.bin"), token: test.token}); got.StatusCode != test.status {
				t.Fatal(got.Status)
			}
			gitlab.ResetRequests()
			e.mustGet(t, "app.bin", developer, body)
			if asked := gitlab.CountQuestions() > 0; asked != test.asks {
				t.Errorf("the next one was asked about: %v", asked)
			}
			gitlab.Inject(gitlabtest.Fault{Status: test.status, Times: 1})
			e.do(t, call{path: filePath("app.bin"), token: test.token})
			putForward(2 * time.Minute)
			gitlab.SetDown(true)
			if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), "offline") {
				t.Errorf("in an outage: %q", got.cacheStatus())
			}
		})
	}
}

// TestAReplicaThatLagsTellsOnlyItsOwnCaller has GitLab answer from before a publish for some seconds, as its replicas do.
func TestAReplicaThatLagsTellsOnlyItsOwnCaller(t *testing.T) {
	older, newer := someBytes(50_000, 1), someBytes(50_000, 2)
	for name, checksums := range map[string]bool{"with checksums": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			gitlab, replica := newGitLab(t), newGitLab(t)
			lagging := false
			e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
				if !lagging || r.Method != http.MethodGet {
					return false
				}
				request, err := http.NewRequestWithContext(r.Context(), r.Method, replica.URL+r.URL.Path, nil) //nolint:gosec // a stand-in
				if err != nil {
					t.Error(err)
					return false
				}
				request.Header = r.Header.Clone()
				response, err := testClient.Do(request) //nolint:gosec // a stand-in
				if err != nil {
					return false
				}
				defer response.Body.Close()
				maps.Copy(w.Header(), response.Header)
				w.WriteHeader(response.StatusCode)
				_, _ = io.Copy(w, response.Body)
				return true
			}), "max_age 10m\ngrant_ttl 10m\noffline_grace 1h")
			at := time.Now().Add(-time.Hour)
			for _, server := range []*gitlabtest.Server{gitlab, replica} {
				server.SetChecksums(checksums)
				server.SetClock(func() time.Time { return at })
				server.Publish(project, "pkg", "1.0.0", "app.bin", older)
				server.SetClock(time.Now)
			}
			e.mustGet(t, "app.bin", colleague, older)
			awaitNoFlight(t)
			if got := e.put(t, filePath("app.bin"), newer); got.StatusCode != http.StatusCreated {
				t.Fatal(got.Status)
			}
			lagging = true
			e.mustGet(t, "app.bin", colleague, older) // GitLab's own word to this caller
			lagging = false
			e.mustGet(t, "app.bin", colleague, newer) // who isn't served unasked what confirmed nothing
			e.mustGet(t, "app.bin", developer, newer)
			awaitNoFlight(t)
			putForward(11 * time.Second)
			gitlab.ResetRequests()
			e.mustGet(t, "app.bin", colleague, newer)
		})
	}
}
