package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/buildinfo"
)

func presentStatus(t testing.TB, e *edge) adminapi.Status {
	t.Helper()
	return mustCall[adminapi.Status](t, e, http.MethodGet, "status", "")
}

// awaitStartAnswer waits until GitLab has answered the start's question, or that has failed, and returns the status then.
func awaitStartAnswer(t testing.TB, e *edge) (status adminapi.Status) {
	t.Helper()
	await(t, func() bool {
		status = presentStatus(t, e)
		return status.Upstreams[0].AtStart != nil
	})
	return status
}

func TestAtTheStartTheEdgeSaysWhereItStandsAndThatGitLabAnswers(t *testing.T) {
	setForTest(t, &process.asksAtStart, true)
	gitlab := newGitLab(t)
	before := requestsCounted()
	e := startEdge(t, gitlab.URL, "rules current", withAdmin)
	status := awaitStartAnswer(t, e)
	shown := status.Upstreams[0]
	if shown.GitLab != adminapi.Up || shown.ObjectStorage != adminapi.Unasked || strings.Join(shown.Rules, " ") != "current" || !status.Working {
		t.Errorf("status is %+v", status)
	}
	if !regexp.MustCompile(`\Aanswered in \d+ ms\z`).MatchString(shown.AtStart.Text) || !shown.AtStart.LooksLikeGitLab || shown.AtStart.Seconds <= 0 {
		t.Errorf("the answer is told as %+v", shown.AtStart)
	}
	if shown.ProbeAnswered {
		t.Error("the question counts as the breaker's probe")
	}
	if asked := gitlab.CountProbes(); asked != 1 || len(gitlab.Requests()) != 0 {
		t.Errorf("GitLab was asked %d times, and %v", asked, gitlab.Requests())
	}
	if after := requestsCounted(); after != before {
		t.Errorf("%d requests are counted, and there were %d", after, before)
	}
	await(t, func() bool {
		logged := e.log(t)
		return strings.Contains(logged, "the edge stands in front of GitLab") && strings.Contains(logged, `"rules":"current"`) &&
			strings.Contains(logged, "GitLab has answered the start's question") && strings.Contains(logged, "the cache directory was read") &&
			strings.Contains(logged, e.directory)
	})
	await(t, func() bool { return !presentStatus(t, e).Stores[0].Loading })
	e.expectCLI(t, 0, []string{"answered in ", "rules current", e.directory, "0 files found, 0 B", "Working", "yes", buildinfo.Read().Go}, "status")
	e.expectCLI(t, 0, []string{"working\n"}, "status", "--check")
}

// requestsCounted is how many requests of callers are counted.
func requestsCounted() (count int64) {
	for _, counters := range process.metrics.requests {
		for _, counter := range counters {
			count += countOf(counter)
		}
	}
	return count
}

func TestNobodyIsUpWhomNobodyHasAsked(t *testing.T) {
	gitlab := newGitLab(t) // which isn't asked at the start in tests
	e := startEdge(t, gitlab.URL, "", withAdmin)
	status := presentStatus(t, e)
	if shown := status.Upstreams[0]; shown.GitLab != adminapi.Unasked || shown.ObjectStorage != adminapi.Unasked || shown.AtStart != nil || !status.Working {
		t.Errorf("status is %+v", status)
	}
	e.expectCLI(t, 0, []string{"unasked", "no answer yet"}, "status")
	e.expectCLI(t, 0, []string{"working\n"}, "status", "--check")
	// An upload that is only forwarded shows as well that GitLab answers.
	e.do(t, call{method: http.MethodPut, path: filePath("app.bin"), token: developer, body: strings.NewReader("x")})
	if got := presentStatus(t, e).Upstreams[0].GitLab; got != adminapi.Up {
		t.Errorf("after an upload GitLab is %s", got)
	}
}

func TestAGitLabThatIsNotThereIsSeenBeforeTheFirstCallerFails(t *testing.T) {
	setForTest(t, &process.asksAtStart, true)
	gitlab := newGitLab(t)
	publishOld(gitlab, "app.bin", []byte("x"))
	gitlab.SetDown(true)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	status := awaitStartAnswer(t, e)
	shown := status.Upstreams[0]
	if shown.GitLab != adminapi.Unanswered || status.Working || shown.AtStart.Status != 0 || !strings.HasPrefix(shown.AtStart.Text, "no answer after ") {
		t.Errorf("status is %+v, %+v", status, shown.AtStart)
	}
	if isDown("gitlab") {
		t.Error("the question has opened the breaker")
	}
	e.expectCLI(t, 0, []string{"working; " + gitlab.URL + ": gitlab unanswered (no answer after "}, "status", "--check")
	e.expectCLI(t, 0, []string{"GitLab doesn't answer the start's question: " + gitlab.URL}, "status")

	gitlab.SetDown(false)
	e.mustGet(t, "app.bin", developer, []byte("x"))
	if status := presentStatus(t, e); status.Upstreams[0].GitLab != adminapi.Up || !status.Working {
		t.Errorf("status is %+v", status)
	}
}

func TestAnotherServerInGitLabsPlaceIsSeen(t *testing.T) {
	setForTest(t, &process.asksAtStart, true)
	for name, answer := range map[string]struct {
		front http.HandlerFunc
		want  string
		state string
	}{
		"a welcome page": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>Welcome to nginx!</html>")
		}, "but not as GitLab answers: 200 text/html", adminapi.Up},
		"a log-in": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://login.example.com/?back=secret", http.StatusFound)
		}, "but not as GitLab answers: 302 text/html, to https://login.example.com/", adminapi.Up},
		"a front without GitLab": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "but can't be asked: it answered 502 Bad Gateway", adminapi.Unanswered},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer.front)
			t.Cleanup(server.Close)
			e := startEdge(t, server.URL, "", withAdmin)
			shown := awaitStartAnswer(t, e).Upstreams[0]
			if shown.GitLab != answer.state || !strings.HasSuffix(shown.AtStart.Text, answer.want) || shown.AtStart.LooksLikeGitLab {
				t.Errorf("%+v, %+v", shown, shown.AtStart)
			}
			await(t, func() bool { return len(presentStatus(t, e).RecentFailures) > 0 })
			if out := e.log(t); strings.Contains(out, "secret") {
				t.Errorf("the log has the redirect's query:\n%s", out)
			}
		})
	}
}

func TestTheStartWaitsForNoAnswerAndItsEndForNoneEither(t *testing.T) {
	setForTest(t, &process.asksAtStart, true)
	reached, left := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
		close(left)
	}))
	t.Cleanup(server.Close)
	e := startEdge(t, server.URL, "", withAdmin) // returns, although nobody answers
	<-reached
	if shown := presentStatus(t, e).Upstreams[0]; shown.AtStart != nil || shown.GitLab != adminapi.Unasked {
		t.Errorf("%+v", shown)
	}
	stopped, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	<-left
	for _, h := range stopped.handlers {
		if answer := stopped.startAnswers.of(h.access); answer != nil {
			t.Errorf("the end of the config counts as an answer: %+v", answer)
		}
	}
}

// TestAnHTTPUpstreamThatRedirectsToHTTPSIsTrouble has a web server before GitLab that leads all to https, and an edge that
// was given the http URL.
func TestAnHTTPUpstreamThatRedirectsToHTTPSIsTrouble(t *testing.T) {
	for _, atStart := range []bool{true, false} {
		t.Run(map[bool]string{true: "seen at the start", false: "seen by the first caller"}[atStart], func(t *testing.T) {
			setForTest(t, &process.asksAtStart, atStart)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				http.Redirect(w, r, "https://gitlab.example.com"+r.URL.RequestURI(), http.StatusMovedPermanently) //nolint:gosec // a server of the test
			}))
			t.Cleanup(server.Close)
			e := startEdge(t, server.URL, "", withAdmin)
			if atStart {
				awaitStartAnswer(t, e)
				e.expectCLI(t, 0, []string{"GitLab redirects to https: " + server.URL, "must begin with https://"}, "status")
				e.expectCLI(t, 0, []string{"gitlab redirects to https (answered in "}, "status", "--check")
			}
			before := countOf(process.metrics.requests[outcomeUnreachable][http.MethodGet])
			for _, c := range []call{
				{},
				{method: http.MethodHead},
				{header: http.Header{"Origin": {"https://elsewhere.example"}}},
				{method: http.MethodPut, body: strings.NewReader("x")},
				{method: http.MethodDelete},
			} {
				c.path, c.token = filePath("app.bin"), developer
				got := e.do(t, c)
				if got.StatusCode != http.StatusBadGateway || got.Header.Get("Location") != "" || (c.method != http.MethodHead && !strings.Contains(string(got.body), "GitLab redirects to https")) {
					t.Errorf("%s leads past the edge: %s, %s, %s", c.method, got.Status, got.Header.Get("Location"), got.body)
				}
			}
			await(t, func() bool { return countOf(process.metrics.requests[outcomeUnreachable][http.MethodGet]) == before+2 })
			if status := presentStatus(t, e); status.Upstreams[0].GitLab != adminapi.Redirects || status.Working {
				t.Errorf("status is %+v", status)
			}
		})
	}
}

func TestStatusTellsWhatTheStartHasFound(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "a.bin", []byte("four"))
	publishOld(gitlab, "twin.bin", []byte("four"))
	publishOld(gitlab, "b.bin", []byte("123456"))
	for file, content := range map[string]string{"a.bin": "four", "twin.bin": "four", "b.bin": "123456"} {
		e.mustGet(t, file, developer, []byte(content))
	}
	awaitNoFlight(t)
	if store := presentStatus(t, e).Stores[0]; store.FoundFiles != 0 || store.Files != 2 {
		t.Errorf("%+v", store)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(e.config(""), true); err != nil {
		t.Fatal(err)
	}
	var store adminapi.StoreStatus
	await(t, func() bool {
		store = presentStatus(t, e).Stores[0]
		return !store.Loading
	})
	if store.FoundFiles != 2 || store.FoundBytes != 10 || store.Entries != 3 {
		t.Errorf("%+v", store)
	}
	await(t, func() bool { return strings.Contains(e.log(t), `"files":2,"bytes":10`) })
	e.expectCLI(t, 0, []string{"2 files found, 10 B"}, "status")
}

func TestTheMetricsTellWhatTheEdgeWasBuiltFrom(t *testing.T) {
	startEdge(t, newGitLab(t).URL, "")
	build := buildinfo.Read()
	// Labels come in the order of their names.
	want := strings.Join([]string{"build_info", build.Caddy, build.Commit, build.Go, build.Version}, " ")
	if series(t)[want] != 1 {
		t.Errorf("no %q in %v", want, series(t))
	}
}
