package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func TestARefusedLeaderHarmsNobodyWhoFollows(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(300_000, 1)
	publishOld(gitlab, "app.bin", body)
	// The stranger's fetch is under way when the others come.
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, Hang: true, Release: release})
	var callers sync.WaitGroup
	callers.Go(func() {
		if got := e.do(t, call{path: filePath("app.bin"), token: outsider}); got.StatusCode != 404 {
			t.Errorf("the stranger got %s", got.Status)
		}
	})
	await(t, func() bool { return gitlab.CountFetches() == 1 })
	for _, token := range []string{developer, colleague} {
		callers.Go(func() { e.mustGet(t, "app.bin", token, body) })
	}
	await(t, func() bool { return gitlab.CountQuestions() == 2 })
	close(release)
	callers.Wait()
	if gets := gitlab.CountFetches(); gets != 2 {
		t.Errorf("%d GET, want the stranger's and one for all others", gets)
	}
}

// await waits for what other goroutines bring about; it fails the test if that doesn't happen.
func await(t testing.TB, happened func() bool) {
	t.Helper()
	awaitWithin(t, 30*time.Second, happened)
}

func awaitWithin(t testing.TB, limit time.Duration, happened func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(limit)
	for !happened() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatal("what was awaited did not happen")
		}
	}
}

func TestAFillGoesOnWhenItsFirstCallerLeaves(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(8<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release})
	ctx, leave := context.WithCancel(context.Background())
	response, err := e.begin(call{path: filePath("app.bin"), token: developer, context: ctx})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	leave()
	_ = response.Body.Close()
	close(release)
	e.mustGet(t, "app.bin", developer, body)
	if gets := gitlab.CountFetches(); gets != 1 {
		t.Errorf("%d GET", gets)
	}
}

func TestTheCredentialOfAFollowerCarriesAFetchOn(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(8<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, CutAfter: 2 << 20, Release: release})
	var callers sync.WaitGroup
	for i, token := range []string{developer, colleague} {
		response, err := e.begin(call{path: filePath("app.bin"), token: token})
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		if _, err := io.ReadFull(response.Body, first); err != nil {
			t.Fatal(err)
		}
		callers.Go(func() {
			defer response.Body.Close()
			if digest, err := digestOfRest(first, response.Body); err != nil || digest != hexSHA256(body) {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	gitlab.RevokeToken(developer)
	close(release)
	callers.Wait()
}

func TestWhatDoesNotFitStreamsThroughUncachedWithOneGETEach(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	e.reload(t, "cache "+e.directory+" {\n max_object 1MiB\n min_free 0\n}")
	body := someBytes(2<<20, 1)
	publishOld(gitlab, "app.bin", body)
	for i := range 3 {
		got := e.mustGet(t, "app.bin", developer, body)
		if gitlab.CountFetches() != i+1 || strings.Contains(got.cacheStatus(), "stored") {
			t.Errorf("%q after %d GET", got.cacheStatus(), gitlab.CountFetches())
		}
	}
}

func TestABodyWithoutFramingIsNeverStored(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(200_000, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.Inject(gitlabtest.Fault{Unframed: true, Times: -1})
	for i := range 2 {
		e.mustGet(t, "app.bin", developer, body)
		if gitlab.CountFetches() != i+1 {
			t.Errorf("%d GET after %d downloads", gitlab.CountFetches(), i+1)
		}
	}
}

func TestADamagedBodyIsABrokenOffAnswerAndNothingIsKept(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1<<20, 1)
	publishOld(gitlab, "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{CorruptAt: 1000, StallAfter: 200_000, Release: release})
	response, err := e.begin(call{path: filePath("app.bin"), token: developer})
	if err != nil {
		t.Fatal(err)
	}
	close(release) // its head is here, so it can't begin anew
	got, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err == nil {
		t.Errorf("a damaged body looks whole: %s, %d bytes", response.Status, len(got))
	}
	e.mustGet(t, "app.bin", developer, body)
	// A small one comes only when it is right, so its caller gets the second try.
	small := someBytes(1000, 2)
	publishOld(gitlab, "small.bin", small)
	gitlab.Inject(gitlabtest.Fault{CorruptAt: 10})
	e.mustGet(t, "small.bin", developer, small)
}

func TestABodyOfUnknownLengthIsStoredWhenItsEndIsSeen(t *testing.T) {
	body := someBytes(500_000, 1)
	chunked := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", "attachment")
		w.Header().Set("Last-Modified", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		if r.Method == http.MethodGet {
			_, _ = w.Write(body[:250_000])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(body[250_000:])
		}
	})
	e := startEdge(t, chunked, "")
	for _, want := range []string{"fwd=uri-miss", "; hit"} {
		if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), want) {
			t.Errorf("got %q, want %q", got.cacheStatus(), want)
		}
	}
}

// isQuestion reports whether the edge asks about a file and doesn't want its body.
func isQuestion(r *http.Request) bool { return r.Header.Get("Range") == "bytes=0-0" }

// isProbe reports whether the edge looks whether GitLab is there.
func isProbe(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/projects/0/packages/generic/probe/0.0.0/probe")
}

// serveHTTP serves a handler on loopback for the time of the test. Probes are answered as GitLab does.
func serveHTTP(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answering := func(w http.ResponseWriter, r *http.Request) {
		if isProbe(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler(w, r)
	}
	server := &http.Server{Handler: http.HandlerFunc(answering), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + listener.Addr().String()
}

func TestContentThatIsHereAlreadyIsNotFetchedAgainUnderAnotherName(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(32<<20, 1) // more than fits on the way before the edge hangs up
	publishOld(gitlab, "first.bin", body)
	publishOld(gitlab, "second.bin", body)
	e.mustGet(t, "first.bin", developer, body)
	e.mustGet(t, "second.bin", developer, body)
	var sent int64
	for _, request := range gitlab.Requests() {
		if strings.HasSuffix(request.Path, "second.bin") {
			sent += request.Sent
		}
	}
	if sent >= 16<<20 {
		t.Errorf("GitLab sent %d bytes of it again", sent)
	}
	if blobs := blobsIn(t, e.directory); blobs != 1 {
		t.Errorf("%d blobs are stored", blobs)
	}
}

func TestUnreachableGitLabAnswersQuicklyAndTellsWhenToComeAgain(t *testing.T) {
	for name, test := range map[string]struct {
		fault      gitlabtest.Fault
		status     int
		retryAfter string
	}{
		"503":            {gitlabtest.Fault{Status: 503, Times: -1}, 503, "5"},
		"500":            {gitlabtest.Fault{Status: 500, Times: -1}, 502, "5"},
		"rate limited":   {gitlabtest.Fault{Status: 429, Times: -1}, 429, "37"},
		"storage is out": {gitlabtest.Fault{Storage: true, Status: 500, Times: -1}, 502, "5"},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetMode(gitlabtest.Redirect)
			e := startEdge(t, gitlab.URL, "")
			publishOld(gitlab, "app.bin", []byte("x"))
			gitlab.Inject(test.fault)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				got := e.do(t, call{method: method, path: filePath("app.bin"), token: developer})
				if got.StatusCode != test.status || got.Header.Get("Retry-After") != test.retryAfter {
					t.Errorf("%s: got %s, Retry-After %q", method, got.Status, got.Header.Get("Retry-After"))
				}
			}
		})
	}
	e := startEdge(t, "http://127.0.0.1:1", "")
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != 502 || got.Header.Get("Retry-After") == "" {
		t.Errorf("nobody listens: %s", got.Status)
	}
}

func TestAYoungGrantOutlastsARateLimitAndAnOldOneDoesNot(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "grant_ttl 30s\nmax_age 30s")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	gitlab.Inject(gitlabtest.Fault{Status: 429, Times: -1})
	putForward(45 * time.Second)
	e.mustGet(t, "app.bin", developer, body)
	putForward(30 * time.Second)
	if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != 429 {
		t.Errorf("got %s", got.Status)
	}
}

func TestEditionsThatGitLabRestoresAreServedAgain(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "max_age 0")
		older, newer := someBytes(50_000, 1), someBytes(60_000, 2)
		publishOld(gitlab, "app.bin", older)
		e.mustGet(t, "app.bin", developer, older)
		publishOld(gitlab, "app.bin", newer)
		e.mustGet(t, "app.bin", developer, newer)
		gitlab.DeleteNewest(project, "pkg", "1.0.0", "app.bin")
		e.mustGet(t, "app.bin", developer, older)
		gitlab.DeletePackage(project, "pkg", "1.0.0")
		if got := e.do(t, call{path: filePath("app.bin"), token: developer}); got.StatusCode != 404 {
			t.Errorf("deleted: %s", got.Status)
		}
		publishOld(gitlab, "app.bin", newer)
		e.mustGet(t, "app.bin", developer, newer)
	})
}

func TestTwoPublishesInOneSecondAreToldApart(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		now := time.Now().Truncate(time.Second)
		gitlab.SetClock(func() time.Time { return now })
		e := startEdge(t, gitlab.URL, "max_age 0")
		for i := range 4 {
			body := someBytes(50_000, byte(i))
			gitlab.Publish(project, "pkg", "1.0.0", "app.bin", body)
			e.mustGet(t, "app.bin", developer, body)
		}
	})
}

func TestDownloadsOverHTTP2BreakOffVisibly(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "retries 0")
	client := http2Client(t)
	body := someBytes(1<<20, 1)
	publishOld(gitlab, "app.bin", body)
	for _, cut := range []bool{true, false, false} {
		release := make(chan struct{})
		if cut {
			gitlab.Inject(gitlabtest.Fault{StallAfter: 300_000, CutAfter: 500_000, Release: release})
		}
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, e.url+filePath("app.bin"), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Private-Token", developer)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		close(release)
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.ProtoMajor != 2 {
			t.Fatal(response.Proto)
		}
		if cut == (err == nil) || (!cut && !bytes.Equal(got, body)) {
			t.Errorf("cut %v: %d bytes, %v", cut, len(got), err)
		}
	}
}

func TestOneTokenInEachPlaceCountsForItself(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	for i, c := range []call{
		{path: filePath("app.bin") + "?private_token=" + developer},
		{path: filePath("app.bin"), header: http.Header{"Authorization": {"Bearer " + developer}}},
		{path: filePath("app.bin"), header: http.Header{"Job-Token": {jobToken}}},
		{path: filePath("app.bin") + "?job_token=" + jobToken},
	} {
		heads := gitlab.CountQuestions()
		for range 2 {
			if got := e.do(t, c); !bytes.Equal(got.body, body) {
				t.Errorf("call %d: %s", i, got.Status)
			}
		}
		if asked := gitlab.CountQuestions() - heads; asked != 1 {
			t.Errorf("call %d: %d checks, want 1", i, asked)
		}
	}
	if fmt.Sprint(gitlab.CountFetches()) != "1" {
		t.Errorf("%d GET", gitlab.CountFetches())
	}
}

func TestAFetchThatFailsBeforeItsFirstByteCostsTheCallerOnlyTime(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "retries 0")
	body := someBytes(60_000, 1) // comes only when it is whole
	publishOld(gitlab, "app.bin", body)
	gitlab.Inject(gitlabtest.Fault{CutAfter: 10_000, Times: 2})
	e.mustGet(t, "app.bin", developer, body)
}

func TestAnEdgeIsAGitLabToTheNextEdge(t *testing.T) {
	gitlab := newGitLab(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inner := listener.Addr().String()
	_ = listener.Close()
	e := startEdge(t, "http://"+inner, "")
	site := fmt.Sprintf(`"routes":[{"handle":[{"handler":"gitlab_packages","upstream":%q,"cache":{"directory":%q,"min_free":0}}]}]`,
		gitlab.URL, t.TempDir())
	config := bytes.Replace(e.config(""), []byte(`"servers":{`),
		[]byte(`"servers":{"inner":{"listen":["`+inner+`"],"automatic_https":{"disable":true},`+site+`},`), 1)
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	e.awaitOneListener(t)
	body := someBytes(300_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	e.mustGet(t, "app.bin", colleague, body)
	if got := e.do(t, call{path: filePath("app.bin"), token: outsider}); got.StatusCode != 404 {
		t.Errorf("a stranger: %s", got.Status)
	}
	if gets, questions := gitlab.CountFetches(), gitlab.CountQuestions(); gets != 1 || questions != 2 {
		t.Errorf("%d GET and %d questions, want one for the file, and one for each further caller", gets, questions)
	}
	again := someBytes(300_000, 2)
	if got := e.put(t, filePath("app.bin"), again); got.StatusCode != 201 {
		t.Fatal(got.Status)
	}
	e.mustGet(t, "app.bin", colleague, again)
}

// TestADownloadGoesOnFromGitLabWhenItsStoredFileEndsEarly cuts a blob while it is being sent out of the file itself.
func TestADownloadGoesOnFromGitLabWhenItsStoredFileEndsEarly(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(64<<20, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	first, rest := e.beginDownload(t, "app.bin", developer, 1)
	digest := hexSHA256(body)
	if err := os.Truncate(filepath.Join(e.directory, "blobs", digest[:2], digest), 60<<20); err != nil {
		t.Fatal(err)
	}
	if got, err := digestOfRest(first, rest); err != nil || got != digest {
		t.Errorf("the download that met it: %v", err)
	}
	// Of the right length again, but with a wrong end: only having been judged keeps it from the next caller.
	_ = os.Truncate(filepath.Join(e.directory, "blobs", digest[:2], digest), 64<<20)
	e.mustGet(t, "app.bin", developer, body)
}

func TestADiskThatFailsUnderADownloadDoesNotBreakIt(t *testing.T) {
	inEveryMode(t, func(t *testing.T, gitlab *gitlabtest.Server) {
		e := startEdge(t, gitlab.URL, "")
		body := someBytes(8<<20, 1)
		publishOld(gitlab, "app.bin", body)
		release := make(chan struct{})
		gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release})
		var callers sync.WaitGroup
		for _, token := range []string{developer, colleague} {
			response, err := e.begin(call{path: filePath("app.bin"), token: token})
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 1)
			if _, err := io.ReadFull(response.Body, first); err != nil {
				t.Fatal(err)
			}
			callers.Go(func() {
				defer response.Body.Close()
				if digest, err := digestOfRest(first, response.Body); err != nil || digest != hexSHA256(body) {
					t.Errorf("%s: %v", token, err)
				}
			})
		}
		flights := &runningState().flights
		flights.mu.Lock()
		for _, fl := range flights.byKey {
			fl.fill.Abort(fmt.Errorf("%w: as the test wants it", cache.ErrDisk))
		}
		flights.mu.Unlock()
		callers.Wait()
		close(release)
		e.mustGet(t, "app.bin", developer, body)
	})
}
