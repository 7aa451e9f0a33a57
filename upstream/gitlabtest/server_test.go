package gitlabtest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func TestTLSIsTrustedByItsAuthorityOnly(t *testing.T) {
	s, body := newBig(t, gitlabtest.WithTLS())
	if !strings.HasPrefix(s.URL, "https://") || !strings.HasPrefix(s.StorageURL, "https://") || !strings.Contains(string(s.CA), "BEGIN CERTIFICATE") {
		t.Fatalf("%s, %s, %s", s.URL, s.StorageURL, s.CA)
	}
	if response, got, err := fetch(t, s, "GET", file(24), nil); err != nil || got != body || response.ProtoMajor != 2 {
		t.Errorf("by its own client: %v", err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if response, err := transport.RoundTrip(request); err == nil {
		_ = response.Body.Close()
		t.Error("a client that knows nothing trusts it")
	}
}

func TestPlainStorageIsADowngrade(t *testing.T) {
	s, _ := newBig(t, gitlabtest.WithTLS(), gitlabtest.WithPlainStorage())
	s.SetMode(gitlabtest.Redirect)
	response, _, err := fetch(t, s, "GET", file(24), nil)
	if err != nil || !strings.HasPrefix(response.Header.Get("Location"), "http://") || !strings.HasPrefix(s.URL, "https://") {
		t.Errorf("%v, %v", response, err)
	}
}

func TestBelowABasePath(t *testing.T) {
	s, body := newBig(t, gitlabtest.WithBasePath("/gitlab/"))
	if _, got, err := fetch(t, s, "GET", file(24), nil); err != nil || got != body || !strings.HasSuffix(s.URL, "/gitlab") {
		t.Errorf("%s: %v", s.URL, err)
	}
	origin := strings.TrimSuffix(s.URL, "/gitlab")
	for _, path := range []string{file(24), "/gitlabber" + file(24), "/"} {
		if response, _ := askAt(t, origin, "GET", path, "", "Private-Token", "dev"); response.StatusCode != 404 {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	if published, _, err := fetch(t, s, "PUT", file(24), strings.NewReader("x")); err != nil || published.StatusCode != 201 {
		t.Errorf("publishing: %v", err)
	}
	s.Inject(gitlabtest.Fault{LoginRedirect302: true})
	if response, _, err := fetch(t, s, "GET", file(24), nil); err != nil || response.Header.Get("Location") != s.URL+"/users/sign_in" {
		t.Errorf("log-in page: %v", response)
	}
}

// TestDownAndUpAgain takes GitLab away in the middle of a download, and brings it back.
func TestDownAndUpAgain(t *testing.T) {
	s, body := newBig(t)
	s.SetMode(gitlabtest.Redirect)
	redirect, _, err := fetch(t, s, "GET", file(24), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.SetDown(true)
	for range 2 {
		if response, _, err := fetch(t, s, "GET", file(24), nil); err == nil {
			t.Errorf("while down: %s", response.Status)
		}
	}
	signed := strings.TrimPrefix(redirect.Header.Get("Location"), s.StorageURL)
	if _, got := askAt(t, s.StorageURL, "GET", signed, ""); got != body {
		t.Error("the storage went down too")
	}
	s.SetDown(false)
	if response, _, err := fetch(t, s, "GET", file(24), nil); err != nil || response.StatusCode != 302 {
		t.Errorf("up again: %v", err)
	}

	s.Inject(gitlabtest.Fault{StallAfter: 1000, Reached: func() { s.SetStorageDown(true) }})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.StorageURL+signed, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.Client().Do(request)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	if err == nil {
		t.Error("a body goes on while its server is down")
	}
	s.SetStorageDown(false)
	if _, got := askAt(t, s.StorageURL, "GET", signed, ""); got != body {
		t.Error("the storage doesn't come back")
	}
}

// TestTheRateBoundsAllBodiesTogether measures with the real clock, downwards only: a slow machine takes longer.
func TestTheRateBoundsAllBodiesTogether(t *testing.T) {
	s, body := newBig(t)
	s.SetRate(4_000_000)
	begun := time.Now()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			if _, got, err := fetch(t, s, "GET", file(24), nil); err != nil || got != body {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	callers.Go(func() {
		if _, _, err := fetch(t, s, "PUT", generic("24", "pkg/1.0.0/g"), strings.NewReader(body)); err != nil {
			t.Error(err)
		}
	})
	callers.Wait()
	// A million bytes at four million a second; the first piece of each body may go at once.
	if took := time.Since(begun); took < 150*time.Millisecond {
		t.Errorf("a million bytes took %v", took)
	}
}

// TestTheRateOfAConnectionBoundsItAlone has two connections bring a body each: it measures downwards only, too.
func TestTheRateOfAConnectionBoundsItAlone(t *testing.T) {
	s, body := newBig(t)
	s.SetConnectionRate(4_000_000)
	begun := time.Now()
	var callers sync.WaitGroup
	for range 2 {
		callers.Go(func() {
			if _, got, err := fetch(t, s, "GET", file(24), nil); err != nil || got != body {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	callers.Wait()
	least := time.Duration(len(body)) * time.Second / 4_000_000 / 2 // some of it is made up for
	if took := time.Since(begun); took < least {
		t.Errorf("%d bytes took %v, want %v", len(body), took, least)
	}
}

func TestLiftingTheRateFreesBodiesUnderWay(t *testing.T) {
	s, body := newBig(t)
	s.SetRate(1) // the body would take two days
	got := make(chan string, 1)
	go func() { // ends with the download
		_, read, err := fetch(t, s, "GET", file(24), nil)
		got <- fmt.Sprint(read == body, err)
	}()
	if err := s.Await(t.Context(), func(requests []gitlabtest.Request) bool { return len(requests) > 0 && requests[0].Status == 200 }); err != nil {
		t.Fatal(err)
	}
	s.SetRate(0)
	if result := <-got; result != "true <nil>" {
		t.Errorf("got %s", result)
	}
}

// TestLargeUploadsGoToAFileAndLeaveNone also downloads one, with and without a checksum of its own.
func TestLargeUploadsGoToAFileAndLeaveNone(t *testing.T) {
	directory := t.TempDir()
	t.Setenv("TMPDIR", directory)
	s, _ := newBig(t)
	s.SetChecksums(true)
	content := gitlabtest.Generated(20<<20, 7)
	for _, length := range []int64{content.Size(), -1} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+file(24), io.NopCloser(content.NewReader()))
		if err != nil {
			t.Fatal(err)
		}
		request.ContentLength = length
		request.Header.Set("Private-Token", "dev")
		response, err := s.Client().Do(request)
		if err != nil || response.StatusCode != 201 {
			t.Fatalf("%v, %v", response, err)
		}
		_ = response.Body.Close()
		down, got, err := fetch(t, s, "GET", file(24), nil)
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(got)))
		if err != nil || sum != gitlabtest.SHA256(content) || down.Header.Get("X-Checksum-Sha256") != sum {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	s.Close()
	if files, err := os.ReadDir(directory); err != nil || len(files) != 0 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
}

func TestDiscardedUploadsAreRowsWithoutBytes(t *testing.T) {
	s, _ := newBig(t)
	s.DiscardLargeUploads()
	response, _, err := fetch(t, s, "PUT", file(24), gitlabtest.Generated(9<<20, 1).NewReader())
	if err != nil || response.StatusCode != 201 {
		t.Fatal(err)
	}
	if response, _, err := fetch(t, s, "GET", file(24), nil); err != nil || response.StatusCode != 404 {
		t.Errorf("%v, %v", response, err)
	}
}

// TestAGenerousFileCostsNoMemory serves the end of a file that no machine could hold.
func TestAGenerousFileCostsNoMemory(t *testing.T) {
	s, _ := newBig(t)
	const tebibyte = 1 << 40
	s.PublishContent(24, "pkg", "1.0.0", "huge", gitlabtest.Generated(tebibyte, 3))
	response, got, err := fetch(t, s, "GET", generic("24", "pkg/1.0.0/huge"), nil, "Range", "bytes=-100")
	if err != nil || response.StatusCode != 206 || len(got) != 100 || response.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", tebibyte-100, tebibyte-1, tebibyte) {
		t.Errorf("%v, %v", response, err)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	s := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := s.Await(ctx, func([]gitlabtest.Request) bool { return false }); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestTheLogTellsWhatWasAsked(t *testing.T) {
	s := newWorld(t)
	s.SetMode(gitlabtest.Redirect)
	redirect, _ := ask(t, s, "GET", file("group%2fapp")+"?a=%20b", "", "Private-Token", "dev", "X-Forwarded-For", "192.0.2.1")
	askAt(t, s.StorageURL, "GET", strings.TrimPrefix(redirect.Header.Get("Location"), s.StorageURL), "", "Range", "bytes=1-3")
	ask(t, s, "PUT", file(24), "12345", "Private-Token", "dev")
	if err := s.Await(t.Context(), func(requests []gitlabtest.Request) bool {
		return len(requests) == 3 && requests[0].Done && requests[1].Done && requests[2].Done
	}); err != nil {
		t.Fatal(err)
	}
	requests := s.Requests()
	first, second, third := requests[0], requests[1], requests[2]
	if first.Storage || first.Method != "GET" || first.Path != file("group%2fapp") || first.Query != "a=%20b" || first.Status != 302 ||
		first.Header.Get("X-Forwarded-For") != "192.0.2.1" || first.Host != strings.TrimPrefix(s.URL, "http://") ||
		first.Proto != "HTTP/1.1" || !strings.HasPrefix(first.Remote, "127.0.0.1:") || first.Sent == 0 {
		t.Errorf("first: %+v", first)
	}
	if !second.Storage || second.Status != 206 || second.Sent != 3 || second.Header.Get("Range") != "bytes=1-3" {
		t.Errorf("second: %+v", second)
	}
	if third.Method != "PUT" || third.Received != 5 || third.Status != 201 {
		t.Errorf("third: %+v", third)
	}
	if s.Count("GET") != 1 || s.CountStorage("GET") != 1 || s.Count("PUT") != 1 || s.Count("HEAD") != 0 {
		t.Errorf("counts: %d, %d, %d", s.Count("GET"), s.CountStorage("GET"), s.Count("PUT"))
	}
	requests[0].Header.Set("X-Forwarded-For", "changed")
	if s.Requests()[0].Header.Get("X-Forwarded-For") != "192.0.2.1" {
		t.Error("the log can be changed from outside")
	}
	s.ResetRequests()
	if len(s.Requests()) != 0 || s.Count("GET") != 0 {
		t.Error("the log isn't empty")
	}
}

func TestTakeDoneForgetsWhatIsOverAndNothingElse(t *testing.T) {
	s, _ := newBig(t)
	release := make(chan struct{})
	s.Inject(gitlabtest.Fault{Hang: true, Release: release})
	ended := make(chan error, 1)
	go func() { // ends with the answer
		_, _, err := fetch(t, s, "GET", file(24), nil)
		ended <- err
	}()
	hangs := func(requests []gitlabtest.Request) bool { return len(requests) == 1 && requests[0].Faulty }
	if err := s.Await(t.Context(), hangs); err != nil {
		t.Fatal(err)
	}
	if done := s.TakeDone(); len(done) != 0 || len(s.Requests()) != 1 {
		t.Errorf("while it goes on: %v", done)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := s.Await(t.Context(), func(requests []gitlabtest.Request) bool { return requests[0].Done }); err != nil {
		t.Fatal(err)
	}
	if done := s.TakeDone(); len(done) != 1 || done[0].Status != http.StatusOK || len(s.Requests()) != 0 {
		t.Errorf("afterwards: %v, and %v", done, s.Requests())
	}
}
