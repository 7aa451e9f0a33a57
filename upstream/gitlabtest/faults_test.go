package gitlabtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// fetched is the head of an answer and its framing.
type fetched struct {
	answer

	ContentLength int64
	Proto         string
	ProtoMajor    int
}

// fetch sends a request as a developer and reads what comes, with the error that ends it.
func fetch(t *testing.T, s *gitlabtest.Server, method, path string, body io.Reader, header ...string) (*fetched, string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Private-Token", "dev")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.Client().Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	return &fetched{
		answer{response.Status, response.StatusCode, response.Header}, response.ContentLength, response.Proto, response.ProtoMajor,
	}, string(got), err
}

// newBig is newWorld with a file of 200,000 bytes.
func newBig(t *testing.T, options ...gitlabtest.Option) (*gitlabtest.Server, string) {
	t.Helper()
	s := gitlabtest.New(options...)
	t.Cleanup(s.Close)
	s.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
	s.AddToken(gitlabtest.Token{Secret: "dev", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
	content := gitlabtest.Generated(200_000, 1)
	s.PublishContent(24, "pkg", "1.0.0", "f", content)
	body, err := io.ReadAll(content.NewReader())
	if err != nil {
		t.Fatal(err)
	}
	return s, string(body)
}

// TestFaultsOfADownload holds each fault of a body to what it says, over HTTP/1.1 and HTTP/2.
func TestFaultsOfADownload(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	close(released)
	for name, test := range map[string]struct {
		fault    gitlabtest.Fault
		header   []string
		status   int
		from, to int   // what arrives of the file
		length   int64 // Content-Length; -1 none
		breaks   bool
		changed  int // which byte, counted in the file; -1 none
	}{
		"cut":                               {gitlabtest.Fault{CutAfter: 70_001}, nil, 200, 0, 70_001, 200_000, true, -1},
		"cut at the very beginning":         {gitlabtest.Fault{CutAfter: -1}, nil, 200, 0, 0, 200_000, true, -1},
		"each answer cut":                   {gitlabtest.Fault{CutEach: 70_001}, []string{"Range", "bytes=70000-"}, 206, 70_000, 140_001, 130_000, true, -1},
		"each answer cut, a short one":      {gitlabtest.Fault{CutEach: 70_001}, []string{"Range", "bytes=150000-"}, 206, 150_000, 200_000, 50_000, false, -1},
		"cut in a range":                    {gitlabtest.Fault{CutAfter: 70_001}, []string{"Range", "bytes=70000-"}, 206, 70_000, 70_001, 130_000, true, -1},
		"cut before a range":                {gitlabtest.Fault{CutAfter: 70_001}, []string{"Range", "bytes=100000-"}, 206, 100_000, 100_000, 100_000, true, -1},
		"cut after a range":                 {gitlabtest.Fault{CutAfter: 70_001}, []string{"Range", "bytes=1-9"}, 206, 1, 10, 9, false, -1},
		"cut at the end":                    {gitlabtest.Fault{CutAfter: 200_000}, nil, 200, 0, 200_000, 200_000, false, -1},
		"stalled and released":              {gitlabtest.Fault{StallAfter: 70_001, Release: released}, nil, 200, 0, 200_000, 200_000, false, -1},
		"stalled, then cut":                 {gitlabtest.Fault{StallAfter: 100, CutAfter: 200, Release: released}, nil, 200, 0, 200, 200_000, true, -1},
		"changed":                           {gitlabtest.Fault{CorruptAt: 70_001}, nil, 200, 0, 200_000, 200_000, false, 70_001},
		"changed at the very beginning":     {gitlabtest.Fault{CorruptAt: -1}, nil, 200, 0, 200_000, 200_000, false, 0},
		"changed at the end":                {gitlabtest.Fault{CorruptAt: 199_999}, nil, 200, 0, 200_000, 200_000, false, 199_999},
		"changed in a range":                {gitlabtest.Fault{CorruptAt: 70_001}, []string{"Range", "bytes=70000-70009"}, 206, 70_000, 70_010, 10, false, 70_001},
		"shortened, and looks whole":        {gitlabtest.Fault{ClaimLength: 70_001}, nil, 200, 0, 70_001, 70_001, false, -1},
		"shortened to nothing":              {gitlabtest.Fault{ClaimLength: -1}, nil, 200, 0, 0, 0, false, -1},
		"claimed longer than it is":         {gitlabtest.Fault{ClaimLength: 200_001}, nil, 200, 0, 200_000, 200_001, true, -1},
		"chunked":                           {gitlabtest.Fault{Chunked: true}, nil, 200, 0, 200_000, -1, false, -1},
		"chunked and cut":                   {gitlabtest.Fault{Chunked: true, CutAfter: 70_001}, nil, 200, 0, 70_001, -1, true, -1},
		"unframed":                          {gitlabtest.Fault{Unframed: true}, nil, 200, 0, 200_000, -1, false, -1},
		"without ranges":                    {gitlabtest.Fault{IgnoreRange: true}, []string{"Range", "bytes=70000-"}, 200, 0, 200_000, 200_000, false, -1},
		"of another method":                 {gitlabtest.Fault{CutAfter: 1, Method: http.MethodHead}, nil, 200, 0, 200_000, 200_000, false, -1},
		"of another path":                   {gitlabtest.Fault{CutAfter: 1, PathContains: "/other/"}, nil, 200, 0, 200_000, 200_000, false, -1},
		"of this path, two ranges, shorter": {gitlabtest.Fault{ClaimLength: 5, PathContains: "/pkg/"}, nil, 200, 0, 5, 5, false, -1},
	} {
		for _, encrypted := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", HTTP/1.1", true: ", HTTP/2"}[encrypted], func(t *testing.T) {
				t.Parallel()
				var options []gitlabtest.Option
				if encrypted {
					options = append(options, gitlabtest.WithTLS())
				}
				s, body := newBig(t, options...)
				s.Inject(test.fault)
				response, got, err := fetch(t, s, "GET", file(24), nil, test.header...)
				if response == nil {
					t.Fatal(err)
				}
				if encrypted != (response.ProtoMajor == 2) {
					t.Errorf("spoken over %s", response.Proto)
				}
				if response.StatusCode != test.status || response.ContentLength != test.length || (err != nil) != test.breaks {
					t.Errorf("%s, length %d, %v", response.Status, response.ContentLength, err)
				}
				want := body[test.from:test.to]
				if test.changed >= 0 {
					at := test.changed - test.from
					want = want[:at] + string([]byte{want[at] ^ 0xff}) + want[at+1:]
				}
				if got != want {
					t.Errorf("%d bytes, want %d (%d to %d)", len(got), len(want), test.from, test.to)
				}
				if !strings.HasPrefix(name, "of another") {
					again, got, err := fetch(t, s, "GET", file(24), nil)
					if err != nil || again.StatusCode != 200 || got != body {
						t.Errorf("the next one: %v", err)
					}
				}
			})
		}
	}
}

// TestWhatPrecedesAStallArrives reads all of it before it lets the rest go.
func TestWhatPrecedesAStallArrives(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		var options []gitlabtest.Option
		if encrypted {
			options = append(options, gitlabtest.WithTLS())
		}
		s, body := newBig(t, options...)
		release := make(chan struct{})
		s.Inject(gitlabtest.Fault{StallAfter: 1001, Release: release})
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+file(24), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Private-Token", "dev")
		response, err := s.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1001)
		if _, err := io.ReadFull(response.Body, first); err != nil {
			t.Fatal(err)
		}
		close(release)
		rest, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(first)+string(rest) != body {
			t.Errorf("%d bytes after the stall, %v", len(rest), err)
		}
	}
}

func TestAFaultyBodyOfSeveralRangesBreaksOffInGoodOrder(t *testing.T) {
	s, _ := newBig(t)
	s.Inject(gitlabtest.Fault{CutAfter: 5000})
	response, got, err := fetch(t, s, "GET", file(24), nil, "Range", "bytes=0-9999,50000-59999")
	if err == nil || response.StatusCode != 206 || len(got) != 5000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestFaultsStrikeBodiesWhereverTheyComeFrom(t *testing.T) {
	for _, mode := range []gitlabtest.Mode{gitlabtest.LocalDisk, gitlabtest.Proxied, gitlabtest.Redirect} {
		s, body := newBig(t)
		s.SetMode(mode)
		s.Inject(gitlabtest.Fault{CutAfter: 1000})
		if head, _, err := fetch(t, s, "HEAD", file(24), nil); err != nil || head.StatusCode >= 400 {
			t.Errorf("mode %d: a HEAD met it: %v", mode, err)
		}
		response, got, err := fetch(t, s, "GET", file(24), nil)
		if mode == gitlabtest.Redirect && err == nil {
			request, requestErr := http.NewRequestWithContext(t.Context(), http.MethodGet, response.Header.Get("Location"), nil)
			if requestErr != nil {
				t.Fatal(requestErr)
			}
			followed, followErr := s.Client().Do(request)
			if followErr != nil {
				t.Fatal(followErr)
			}
			var read []byte
			read, err = io.ReadAll(followed.Body)
			_ = followed.Body.Close()
			got = string(read)
		}
		if err == nil || got != body[:1000] {
			t.Errorf("mode %d: %d bytes, %v", mode, len(got), err)
		}
	}
}

// TestFaultsOfTheHead holds each fault of a head to what it says.
func TestFaultsOfTheHead(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	close(released)
	for name, test := range map[string]struct {
		fault  gitlabtest.Fault
		status int
		body   string
		header map[string]string
	}{
		"status":                {gitlabtest.Fault{Status: 503, Body: "busy", Header: http.Header{"Retry-After": {"7"}}}, 503, "busy", map[string]string{"Retry-After": "7"}},
		"status without a body": {gitlabtest.Fault{Status: 502}, 502, "", nil},
		"rate limit": {gitlabtest.Fault{Status: 429}, 429, "Retry later", map[string]string{
			"Content-Type": "text/plain", "Retry-After": "37", "Ratelimit-Name": "throttle_authenticated_packages_api", "Ratelimit-Limit": "4000",
			"Ratelimit-Observed": "1001", "Ratelimit-Remaining": "0",
		}},
		"rate limit in own words": {gitlabtest.Fault{Status: 429, Body: "Slow down", Header: http.Header{"Retry-After": {"3"}}}, 429, "Slow down", map[string]string{
			"Retry-After": "3", "Content-Type": "text/plain",
		}},
		"log-in page":          {gitlabtest.Fault{LoginPage200: true}, 200, "<!DOCTYPE html>", map[string]string{"Content-Type": "text/html; charset=utf-8", "X-Checksum-Sha256": ""}},
		"log-in redirect":      {gitlabtest.Fault{LoginRedirect302: true}, 302, "<html>", map[string]string{"Location": "/users/sign_in"}},
		"a header alone":       {gitlabtest.Fault{Header: http.Header{"X-Odd": {"yes"}}}, 200, "0123456789", map[string]string{"X-Odd": "yes"}},
		"hung and released":    {gitlabtest.Fault{Hang: true, Release: released}, 200, "0123456789", nil},
		"late":                 {gitlabtest.Fault{Latency: time.Millisecond}, 200, "0123456789", nil},
		"of the other side":    {gitlabtest.Fault{Status: 500, Storage: true}, 200, "0123456789", nil},
		"of another path":      {gitlabtest.Fault{Status: 500, PathContains: "/1.0.1/"}, 200, "0123456789", nil},
		"of another method":    {gitlabtest.Fault{Status: 500, Method: http.MethodPut}, 200, "0123456789", nil},
		"of an upload":         {gitlabtest.Fault{Status: 500, AfterBody: true}, 200, "0123456789", nil},
		"of this method, path": {gitlabtest.Fault{Status: 500, Method: http.MethodGet, PathContains: "/1.0.0/f"}, 500, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t)
			s.Inject(test.fault)
			response, body := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
			if response.StatusCode != test.status || !strings.HasPrefix(body, test.body) {
				t.Errorf("%s %q", response.Status, body)
			}
			for header, want := range test.header {
				if got := strings.TrimPrefix(response.Header.Get(header), s.URL); got != want {
					t.Errorf("%s: %q, want %q", header, got, want)
				}
			}
		})
	}
}

func TestAFaultIsMetByAsManyAsItSays(t *testing.T) {
	s := newWorld(t)
	s.Inject(gitlabtest.Fault{Status: 500})
	s.Inject(gitlabtest.Fault{Status: 501, Times: 2})
	s.Inject(gitlabtest.Fault{Status: 502, Times: -1})
	got := make([]int, 0, 7)
	for range 6 {
		response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
		got = append(got, response.StatusCode)
	}
	s.ClearFaults()
	response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev")
	got = append(got, response.StatusCode)
	for i, want := range []int{500, 501, 501, 502, 502, 502, 200} {
		if got[i] != want {
			t.Fatalf("got %v", got)
		}
	}
}

func TestProxiedModeRelaysTheTroubleOfTheStorage(t *testing.T) {
	s := newWorld(t)
	s.SetMode(gitlabtest.Proxied)
	s.Inject(gitlabtest.Fault{Status: 503, Storage: true})
	if response, _ := ask(t, s, "GET", file(24), "", "Private-Token", "dev"); response.StatusCode != 503 {
		t.Errorf("got %s", response.Status)
	}
}

func TestAResetIsAReset(t *testing.T) {
	s := newWorld(t)
	s.Inject(gitlabtest.Fault{Reset: true})
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := connection.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestUploadsThatAreCutPublishNothing(t *testing.T) {
	for name, test := range map[string]struct {
		fault    gitlabtest.Fault
		received int64
	}{
		"while it runs":    {gitlabtest.Fault{CutUploadAfter: 70_001}, 70_001},
		"at its beginning": {gitlabtest.Fault{CutUploadAfter: -1}, 0},
		"after its end":    {gitlabtest.Fault{Reset: true, AfterBody: true}, 200_000 * 50},
		"before it":        {gitlabtest.Fault{Reset: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, body := newBig(t)
			s.Inject(test.fault)
			if response, _, err := fetch(t, s, "PUT", generic("24", "pkg/1.0.0/g"), strings.NewReader(strings.Repeat(body, 50))); err == nil {
				t.Errorf("an answer came: %s", response.Status)
			}
			if err := s.Await(t.Context(), func(requests []gitlabtest.Request) bool { return requests[0].Done }); err != nil {
				t.Fatal(err)
			}
			if got := s.Requests()[0]; got.Received != test.received || got.Status != 0 || !got.Faulty {
				t.Errorf("%+v, want %d bytes", got, test.received)
			}
			if response, _, err := fetch(t, s, "GET", generic("24", "pkg/1.0.0/g"), nil); err != nil || response.StatusCode != 404 {
				t.Errorf("it is published all the same: %v", err)
			}
		})
	}
}

func TestFaultsOfAnUpload(t *testing.T) {
	s, body := newBig(t)
	s.Inject(gitlabtest.Fault{Status: 409, Body: `{"message":"409 Conflict: Resource lock"}`, AfterBody: true})
	response, got, err := fetch(t, s, "PUT", file(24), strings.NewReader("second"))
	if err != nil || response.StatusCode != 409 || !strings.Contains(got, "Resource lock") || s.Requests()[0].Received != 6 {
		t.Errorf("refused after the body: %q %v after %d bytes", got, err, s.Requests()[0].Received)
	}
	if _, got, _ := fetch(t, s, "GET", file(24), nil); got != body {
		t.Error("a refused upload is given out")
	}
	s.Inject(gitlabtest.Fault{LoseAnswer: true})
	if _, _, err := fetch(t, s, "PUT", file(24), strings.NewReader("second")); err == nil {
		t.Error("the answer came")
	}
	if _, got, _ := fetch(t, s, "GET", file(24), nil); got != "second" {
		t.Error("an upload whose answer was lost isn't given out")
	}
	// Who was refused before the body has not met the fault.
	s.Inject(gitlabtest.Fault{Status: 500, AfterBody: true})
	if response, _, err := fetch(t, s, "PUT", file(24)+"?status=x", strings.NewReader("third")); err != nil || response.StatusCode != 400 {
		t.Errorf("a publish with a bad status: %v", err)
	}
	if response, _, err := fetch(t, s, "PUT", file(24), strings.NewReader("third")); err != nil || response.StatusCode != 500 {
		t.Errorf("a good publish: %v", err)
	}
}

// TestWhoeverHangsIsFreedWhenTheClientLeaves also shows Reached and Await.
func TestWhoeverHangsIsFreedWhenTheClientLeaves(t *testing.T) {
	for name, test := range map[string]struct {
		fault     gitlabtest.Fault
		put       bool
		encrypted bool
	}{
		"head":           {gitlabtest.Fault{Hang: true}, false, false},
		"head, HTTP/2":   {gitlabtest.Fault{Hang: true}, false, true},
		"body":           {gitlabtest.Fault{StallAfter: 1000}, false, false},
		"body, HTTP/2":   {gitlabtest.Fault{StallAfter: 1000}, false, true},
		"upload, HTTP/2": {gitlabtest.Fault{StallUploadAfter: 1000}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, reached := hang(t, test.fault, test.put, test.encrypted)
			err := s.Await(t.Context(), func(requests []gitlabtest.Request) bool { return requests[0].Done })
			if got := s.Requests()[0]; err != nil || reached != 1 || !got.Faulty {
				t.Errorf("%+v, reached %d times, %v", got, reached, err)
			}
		})
	}
}

// TestWhoeverHangsIsFreedByClose is for those whose clients' leaving net/http can't see.
func TestWhoeverHangsIsFreedByClose(t *testing.T) {
	for name, fault := range map[string]gitlabtest.Fault{
		"upload": {StallUploadAfter: 1000}, "upload, at its beginning": {StallUploadAfter: -1}, "before the body": {Hang: true, Method: http.MethodPut},
	} {
		t.Run(name, func(t *testing.T) {
			s, reached := hang(t, fault, true, false)
			s.Close()
			if got := s.Requests()[0]; reached != 1 || !got.Done {
				t.Errorf("%+v, reached %d times", got, reached)
			}
		})
	}
	t.Run("for want of speed", func(t *testing.T) {
		s, _ := newBig(t)
		s.SetRate(1)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+file(24), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Private-Token", "dev")
		response, err := s.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Error("the whole body came")
		}
		_ = response.Body.Close()
	})
}

// hang sends a request whose client leaves when it meets a fault, and tells how often that was.
func hang(t *testing.T, fault gitlabtest.Fault, put, encrypted bool) (*gitlabtest.Server, int64) {
	t.Helper()
	var options []gitlabtest.Option
	if encrypted {
		options = append(options, gitlabtest.WithTLS())
	}
	s, body := newBig(t, options...)
	var reached atomic.Int64
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	fault.Reached = func() { reached.Add(1); leave() }
	s.Inject(fault)
	method, sent := http.MethodGet, io.Reader(nil)
	if put {
		method, sent = http.MethodPut, strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.URL+file(24), sent)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Private-Token", "dev")
	if response, err := s.Client().Do(request); err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err == nil {
			t.Error("the whole answer came")
		}
	}
	return s, reached.Load()
}
