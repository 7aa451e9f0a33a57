package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// frontOf returns the URL of something that stands in front of GitLab, and may answer in its place.
func frontOf(t *testing.T, gitlab *gitlabtest.Server, answers func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	target, err := url.Parse(gitlab.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answers(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// TestASignedRedirectToALogInPageIsNeitherAGrantNorAFile has single sign-on in front of GitLab, whose redirects are
// signed as SAML has it; and one whose redirects look like object storage's, so that only the page tells.
func TestASignedRedirectToALogInPageIsNeitherAGrantNorAFile(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<html>please log in</html>")
	}))
	defer page.Close()
	for _, query := range []string{"SAMLRequest=abc&SigAlg=rsa-sha256&Signature=Zm9v", "AWSAccessKeyId=abc&Signature=Zm9v", "X-Amz-Signature=Zm9v"} {
		t.Run(query, func(t *testing.T) {
			gitlab := newGitLab(t)
			e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Private-Token") == developer {
					return false
				}
				http.Redirect(w, r, page.URL+"/sso?"+query, http.StatusFound)
				return true
			}), "")
			secret := someBytes(100_000, 1)
			publishOld(gitlab, "secret.bin", secret)
			publishOld(gitlab, "other.bin", secret)
			e.mustGet(t, "secret.bin", developer, secret)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				for _, file := range []string{"other.bin", "secret.bin"} {
					if got := e.do(t, call{method: method, path: filePath(file)}); got.StatusCode == http.StatusOK {
						t.Errorf("%s of %s without a token: %s, %q", method, file, got.Status, got.cacheStatus())
					}
				}
			}
			e.mustGet(t, "other.bin", developer, secret)
		})
	}
}

func TestAnOlderFetchThatEndsLateIsNotServedAfterTheNewer(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	older, newer := someBytes(2<<20, 1), someBytes(3<<20, 2)
	publishOld(gitlab, "app.bin", older)
	release, reached := make(chan struct{}), make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release, Reached: func() { close(reached) }})
	done := make(chan answer)
	go func() { done <- e.do(t, call{path: filePath("app.bin"), token: developer}) }() // ends when it is released
	<-reached
	publishOld(gitlab, "app.bin", newer) // not through the edge
	e.mustGet(t, "app.bin", colleague, newer)
	e.mustGet(t, "app.bin", colleague, newer)
	close(release)
	<-done
	awaitNoFlight(t)
	e.mustGet(t, "app.bin", colleague, newer)
	e.mustGet(t, "app.bin", developer, newer)
}

func TestWhoHearsOfANewerFileIsNotGivenTheOlder(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	older, newer := someBytes(100_000, 1), someBytes(120_000, 2)
	publishOld(gitlab, "app.bin", older)
	e.mustGet(t, "app.bin", developer, older)
	publishOld(gitlab, "app.bin", newer)
	if head := e.do(t, call{method: http.MethodHead, path: filePath("app.bin"), token: colleague}); head.ContentLength != int64(len(newer)) {
		t.Fatalf("HEAD: %s, %d bytes", head.Status, head.ContentLength)
	}
	e.mustGet(t, "app.bin", colleague, newer)
}

func TestANewerFileThatCannotBeKeptEndsTheOlder(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	e.reload(t, "cache "+e.directory+" {\n min_free 0\n max_object 1MiB\n}\nmax_age 1h\ngrant_ttl 1h")
	older, newer := someBytes(100_000, 1), someBytes(2<<20, 2)
	publishOld(gitlab, "app.bin", older)
	e.mustGet(t, "app.bin", developer, older)
	publishOld(gitlab, "app.bin", newer)
	e.mustGet(t, "app.bin", colleague, newer)
	e.mustGet(t, "app.bin", colleague, newer)
	e.mustGet(t, "app.bin", developer, newer)
}

func TestAStrangerCannotTellAHitFromAMiss(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	secret := someBytes(1000, 1)
	publishOld(gitlab, "secret.bin", secret)
	e.mustGet(t, "secret.bin", developer, secret)
	for _, status := range []int{0, http.StatusTooManyRequests} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, token := range []string{"", outsider} {
				told := make([]string, 0, 2)
				for _, file := range []string{"secret.bin", "nothing.bin"} {
					if status != 0 {
						gitlab.Inject(gitlabtest.Fault{Status: status, Times: 2})
					}
					got := e.do(t, call{method: method, path: filePath(file), token: token})
					gitlab.ClearFaults()
					told = append(told, got.Status+" "+got.cacheStatus())
				}
				if told[0] != told[1] {
					t.Errorf("%s: %q", method, told)
				}
			}
		}
	}
}

func TestAPublishThatGitLabRefusesPushesNothingOut(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "")
	e.reload(t, "cache "+e.directory+" {\n min_free 0\n max_size 64MiB\n}")
	for i := range 5 {
		publishOld(gitlab, fmt.Sprintf("f%d.bin", i), someBytes(1<<20, byte(i)))
		e.mustGet(t, fmt.Sprintf("f%d.bin", i), developer, someBytes(1<<20, byte(i)))
	}
	awaitNoFlight(t)
	connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_, _ = fmt.Fprintf(connection, "PUT %s HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
		filePath("x.bin"), strings.TrimPrefix(e.url, "http://"), 64<<20)
	_ = connection.SetReadDeadline(time.Now().Add(30 * time.Second))
	if answered, err := io.ReadAll(connection); err != nil || !strings.HasPrefix(string(answered), "HTTP/1.1 40") {
		t.Errorf("%q, %v", answered, err)
	}
	gitlab.ResetRequests()
	for i := range 5 {
		e.mustGet(t, fmt.Sprintf("f%d.bin", i), developer, someBytes(1<<20, byte(i)))
	}
	if n := gitlab.CountFetches(); n != 0 {
		t.Errorf("%d files had to be fetched again", n)
	}
}

func TestASmallFileWithAWrongChecksumIsNeverServedAndCostsFewFetches(t *testing.T) {
	for name, fault := range map[string]gitlabtest.Fault{
		"corrupt": {Method: http.MethodGet, CorruptAt: 500, Times: -1}, "cut": {Method: http.MethodGet, CutAfter: 100, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetChecksums(true)
			e := startEdge(t, gitlab.URL, "retries 1")
			publishOld(gitlab, "app.bin", someBytes(10_000, 1))
			gitlab.Inject(fault)
			got := e.do(t, call{path: filePath("app.bin"), token: developer})
			if got.StatusCode != http.StatusBadGateway || gitlab.CountFetches() > 2*maxBroken {
				t.Errorf("%s after %d fetches", got.Status, gitlab.CountFetches())
			}
			gitlab.ClearFaults()
			awaitNoFlight(t)
			putForward(restFor) // its fetches failed three times
			e.mustGet(t, "app.bin", developer, someBytes(10_000, 1))
		})
	}
}

func TestForwardedFilesOfTheStorageAreNotForSharedCaches(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	e := startEdge(t, gitlab.URL, "")
	publishOld(gitlab, "app.bin", someBytes(1000, 1))
	got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"Origin": {"https://x.example.com"}}})
	if got.StatusCode != http.StatusOK || got.Header.Get("Cache-Control") != "private, no-cache, no-transform" {
		t.Errorf("%s, Cache-Control %q", got.Status, got.Header.Get("Cache-Control"))
	}
}

func TestAPathParameterInDisguiseIsRefused(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	for _, method := range []string{http.MethodPut, http.MethodGet} {
		for _, query := range []string{"path=dir", "[path]=dir", "%5Bpath%5D=dir", "path[]=dir", "x=1;path=dir", "%70ath=dir", "path=%zz"} {
			got := e.do(t, call{method: method, path: filePath("f.bin") + "?" + query, token: developer, body: strings.NewReader("x")})
			if got.StatusCode != http.StatusBadRequest {
				t.Errorf("%s ?%s: %s", method, query, got.Status)
			}
		}
	}
	if n := len(gitlab.Requests()); n != 0 {
		t.Errorf("GitLab heard of it %d times", n)
	}
}

// TestCallersWhoLeaveInTheMiddleOfSeveralRangesDoNoHarm is for the race detector: http.ServeContent reads several ranges
// in a goroutine of its own.
func TestCallersWhoLeaveInTheMiddleOfSeveralRangesDoNoHarm(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	e.reload(t, "cache "+e.directory+" {\n min_free 0\n memory 0\n}")
	body := someBytes(32<<20, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	for range 5 {
		connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nPrivate-Token: %s\r\nRange: bytes=0-12000000,13000000-30000000\r\n\r\n",
			filePath("app.bin"), strings.TrimPrefix(e.url, "http://"), developer)
		if _, err := io.ReadFull(connection, make([]byte, 300_000)); err != nil {
			t.Error(err)
		}
		_ = connection.(*net.TCPConn).SetLinger(0)
		_ = connection.Close()
	}
	e.mustGet(t, "app.bin", developer, body)
}

func TestARefusalInTheMiddleOfAFileEndsTheGrantToo(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "retries 1")
	small, big := someBytes(1000, 1), someBytes(4<<20, 2)
	publishOld(gitlab, "small.bin", small)
	publishOld(gitlab, "big.bin", big)
	e.mustGet(t, "small.bin", developer, small)
	release, reached := make(chan struct{}), make(chan struct{}, 2)
	gitlab.Inject(gitlabtest.Fault{
		Method: http.MethodGet, StallAfter: 1 << 20, CutAfter: 2 << 20, Release: release, Reached: func() { reached <- struct{}{} },
	})
	done := make(chan answer)
	go func() { done <- e.do(t, call{path: filePath("big.bin"), token: developer}) }() // ends when it is released
	<-reached
	gitlab.RevokeToken(developer)
	close(release)
	if got := <-done; got.err == nil {
		t.Error("a file looks whole whose rest was refused")
	}
	awaitNoFlight(t)
	gitlab.SetDown(true)
	if got := e.do(t, call{path: filePath("small.bin"), token: developer}); got.StatusCode == http.StatusOK {
		t.Errorf("GitLab has refused this token since: %s, %q", got.Status, got.cacheStatus())
	}
}

func TestAHostThatTheCallerChoosesMakesNoOutage(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) bool {
		odd := strings.Contains(r.Header.Get("X-Forwarded-Host"), "_")
		if odd {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return odd
	}), "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	gitlab.RevokeToken(developer)
	putForward(10 * time.Minute)
	if got := e.do(t, call{path: filePath("app.bin"), token: developer, header: http.Header{"X-Forwarded-Host": {"a_b"}}}); got.StatusCode == http.StatusOK {
		t.Errorf("revoked ten minutes ago, GitLab reachable: %s, %q", got.Status, got.cacheStatus())
	}
}

// TestAYesThatComesLateDoesNotUndoALaterNo holds GitLab's yes to one caller back until another, who lately had the file, has
// heard that it is gone.
func TestAYesThatComesLateDoesNotUndoALaterNo(t *testing.T) {
	gitlab := newGitLab(t)
	release, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	target, err := url.Parse(gitlab.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	e := startEdge(t, frontOf(t, gitlab, func(w http.ResponseWriter, r *http.Request) (answered bool) {
		if r.Header.Get("Private-Token") != colleague {
			return false
		}
		once.Do(func() {
			early := httptest.NewRecorder()
			proxy.ServeHTTP(early, r)
			close(held)
			<-release
			maps.Copy(w.Header(), early.Header())
			w.WriteHeader(early.Code)
			_, _ = w.Write(early.Body.Bytes())
			answered = true
		})
		return answered
	}), "")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", administrator, body)
	putForward(2 * time.Minute)
	e.mustGet(t, "app.bin", developer, body)
	done := make(chan answer)
	go func() { done <- e.do(t, call{path: filePath("app.bin"), token: colleague}) }() // ends when it is released
	<-held
	gitlab.DeleteNewest(project, "pkg", "1.0.0", "app.bin")
	if got := e.do(t, call{path: filePath("app.bin"), token: administrator}); got.StatusCode != http.StatusNotFound {
		t.Errorf("the file is gone: %s", got.Status)
	}
	close(release)
	for who, got := range map[string]answer{"who asked early": <-done, "who has a grant": e.do(t, call{path: filePath("app.bin"), token: developer})} {
		if got.StatusCode != http.StatusNotFound || bytes.Equal(got.body, body) {
			t.Errorf("%s: %s, %q", who, got.Status, got.cacheStatus())
		}
	}
}

// TestAFetchThatALaterNoHasOvertakenIsNotJoinedUnasked deletes a file while it is fetched.
func TestAFetchThatALaterNoHasOvertakenIsNotJoinedUnasked(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "")
	body := someBytes(4<<20, 1)
	publishOld(gitlab, "app.bin", body)
	publishOld(gitlab, "known.bin", body[:1])
	e.mustGet(t, "known.bin", administrator, body[:1])
	putForward(50 * time.Second)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release, Times: 1})
	first, rest := e.beginDownload(t, "app.bin", developer, 1)
	gitlab.DeleteNewest(project, "pkg", "1.0.0", "app.bin")
	putForward(20 * time.Second)
	for _, who := range []string{administrator, developer} { // the first held one lately, the second has a grant
		if got := e.do(t, call{path: filePath("app.bin"), token: who}); got.StatusCode != http.StatusNotFound {
			t.Errorf("the file is gone: %s, %q", got.Status, got.cacheStatus())
		}
	}
	close(release)
	if digest, err := digestOfRest(first, rest); err != nil || digest != hexSHA256(body) {
		t.Errorf("the download that was under way: %v", err)
	}
}

func TestWithoutMaxAgeCallersOfAFreshFileStillShareFetches(t *testing.T) {
	const callers = 10
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "max_age 0")
	body := someBytes(4<<20, 1)
	gitlab.Publish(project, "pkg", "1.0.0", "app.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release, Times: -1})
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			if got := e.do(t, call{path: filePath("app.bin"), token: developer}); !bytes.Equal(got.body, body) {
				t.Errorf("%s, %d bytes", got.Status, len(got.body))
			}
		})
	}
	await(t, func() bool { return gitlab.CountFetches() > 0 })
	close(release)
	running.Wait()
	// One begins before the others have asked, and perhaps a few more; not one for each.
	if n := gitlab.CountFetches(); n > callers/2 {
		t.Errorf("%d fetches for %d callers", n, callers)
	}
}

func TestSettingsThatCouldNotDoWhatTheySayAreRefused(t *testing.T) {
	for name, handler := range map[string]*Handler{
		"a storage host with a scheme": {StorageHosts: []string{"https://minio.example.com:9000"}},
		"a dropped carrier":            {DropHeaders: []string{"private-token"}},
		"Range as identity":            {IdentityHeaders: []string{"range"}},
		"X-Forwarded-For as identity":  {IdentityHeaders: []string{"X-Forwarded-For"}},
		"identity that is dropped":     {IdentityHeaders: []string{"X-User"}, DropHeaders: []string{"x-user"}},
	} {
		handler.Upstream = "https://gitlab.example.com"
		if _, err := handler.provisionSettings(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
