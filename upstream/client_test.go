package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const token = "glpat-s3cr3t" //nolint:gosec // of a stand-in

var ref = upstream.Ref{Project: "24", Package: "pkg", Version: "1.0.0", File: "app.bin"}

func newGitLab(t *testing.T, options ...gitlabtest.Option) *gitlabtest.Server {
	t.Helper()
	gitlab := gitlabtest.New(options...)
	gitlab.AddProject(gitlabtest.Project{ID: 24, Path: "group/app"})
	gitlab.AddToken(gitlabtest.Token{Secret: token, Username: "dev", Roles: map[int]gitlabtest.Role{24: gitlabtest.Developer}})
	return gitlab
}

// openClients counts the clients that newClient made and whose cleanup is still to run. No test here runs in parallel.
var openClients int

// newClient returns a client with short pauses. Nothing of it, and no goroutine, is left when the test ends.
func newClient(t *testing.T, base string, change func(*upstream.Config), servers ...interface{ Close() }) *upstream.Client {
	t.Helper()
	parsed, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	transport, storage := &http.Transport{}, &http.Transport{}
	ignored := goleak.IgnoreCurrent()
	openClients++
	ctx, end := context.WithCancel(context.Background())
	var background sync.WaitGroup
	t.Cleanup(func() {
		openClients--
		end()
		background.Wait()
		for _, server := range servers {
			server.Close()
		}
		transport.CloseIdleConnections()
		storage.CloseIdleConnections()
		if openClients > 0 {
			// A test's other client may have dialled a connection that it didn't need after this client was made. The
			// first one's cleanup runs last and looks for all of them.
			return
		}
		left := errors.New("not looked yet")
		// One look waits for half a second, in which a busy machine may not have run what ends a closed connection.
		for looks := 0; left != nil && looks < 40; looks++ {
			left = goleak.Find(ignored, goleak.IgnoreTopFunction("net/http.(*Server).Serve"))
		}
		if left != nil {
			t.Error(left)
		}
	})
	config := upstream.Config{
		Base: parsed, Transport: transport, StorageTransport: storage, Retries: 3, RetryPause: time.Millisecond,
	}
	if change != nil {
		change(&config)
	}
	client, err := upstream.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	client.UseBreakers(upstream.NewBreakers(upstream.BreakerConfig{Background: func(run func(context.Context)) bool {
		if ctx.Err() != nil {
			return false
		}
		background.Go(func() { run(ctx) })
		return true
	}}))
	return client
}

func callerWith(secret string) upstream.Caller {
	header := http.Header{}
	if secret != "" {
		header.Set("Private-Token", secret)
	}
	return upstream.Caller{Credential: upstream.CredentialOf(header, "", nil), ClientIP: "192.0.2.7", Proto: "https", Host: "edge.example.com"}
}

func TestCheckTellsAYesFromEverythingElse(t *testing.T) {
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		verdict upstream.Verdict
		known   []upstream.Identity
	}{
		"a file":                     {answerWith(200, "Content-Disposition", `attachment; filename="x"`), upstream.Allowed, nil},
		"a file by its checksum":     {answerWith(200, "X-Checksum-Sha256", strings.Repeat("a", 64)), upstream.Allowed, nil},
		"a page":                     {answerWith(200, "Content-Type", "text/html"), upstream.Refused, nil},
		"an inline file":             {answerWith(200, "Content-Disposition", "inline"), upstream.Refused, nil},
		"a known tag":                {answerWith(200, "Etag", `"x"`), upstream.Allowed, []upstream.Identity{{ETag: `"x"`, Length: -1}}},
		"another tag":                {answerWith(200, "Etag", `"y"`), upstream.Refused, []upstream.Identity{{ETag: `"x"`, Length: -1}}},
		"no":                         {answerWith(401), upstream.Refused, nil},
		"no access":                  {answerWith(403), upstream.Refused, nil},
		"not there":                  {answerWith(404), upstream.Refused, nil},
		"204":                        {answerWith(204), upstream.Refused, nil},
		"a log-in page":              {answerWith(302, "Location", "/users/sign_in"), upstream.Refused, nil},
		"a log-in page elsewhere":    {answerWith(302, "Location", "https://sso.example.com/login?next=x"), upstream.Refused, nil},
		"a signed page of its own":   {answerWith(302, "Location", "/x?X-Amz-Signature=a"), upstream.Refused, nil},
		"a signed file URL":          {answerWith(302, "Location", "file:///etc/passwd?Signature=a"), upstream.Refused, nil},
		"a signed URL with a user":   {answerWith(302, "Location", "https://u:p@s3.example.com/x?Signature=a"), upstream.Refused, nil},
		"a signed log-in page":       {answerWith(302, "Location", "https://sso.example.com/login?SAMLRequest=x&SigAlg=y&Signature=z"), upstream.Refused, nil},
		"something signed":           {answerWith(302, "Location", "https://sso.example.com/login?Signature=z"), upstream.Refused, nil},
		"a location signed by v2":    {answerWith(302, "Location", "https://s3.example.com/x?AWSAccessKeyId=k&Expires=1&Signature=z"), upstream.Allowed, nil},
		"a signed location":          {answerWith(303, "Location", "https://s3.example.com/x?X-Amz-Signature=a"), upstream.Allowed, nil},
		"a location the admin named": {answerWith(302, "Location", "https://minio.example.com:9000/x"), upstream.Allowed, nil},
		"rate limited":               {answerWith(429, "Retry-After", "9"), upstream.RateLimited, nil},
		"broken":                     {answerWith(500), upstream.Unreachable, nil},
		"overloaded":                 {answerWith(503), upstream.Unreachable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			client := newClient(t, server.URL, func(c *upstream.Config) { c.StorageHosts = []string{"minio.example.com:9000"} }, server)
			answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Known: test.known})
			if answer.Verdict != test.verdict {
				t.Errorf("got %v, want %v", answer.Verdict, test.verdict)
			}
			if unproven := strings.Contains(name, "location"); answer.Unproven != unproven {
				t.Errorf("unproven: %v", answer.Unproven)
			}
		})
	}
}

func answerWith(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

func TestHTTPSIsNeverLeftForHTTP(t *testing.T) {
	server := httptest.NewTLSServer(answerWith(302, "Location", "http://s3.example.com/x?X-Amz-Signature=a"))
	client := newClient(t, server.URL, func(c *upstream.Config) {
		c.Transport.(*http.Transport).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	}, server)
	if answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref}); answer.Verdict != upstream.Unreachable {
		t.Errorf("got %v", answer.Verdict)
	}
}

func TestStorageThatRedirectsWithoutEndIsGivenUp(t *testing.T) {
	var hops atomic.Int64
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" { // the probe
			hops.Add(1)
		}
		http.Redirect(w, r, "/again?X-Amz-Signature=s3cr3t", http.StatusTemporaryRedirect)
	}))
	gitlab := httptest.NewServer(answerWith(302, "Location", storage.URL+"/x?X-Amz-Signature=s3cr3t"))
	client := newClient(t, gitlab.URL, nil, gitlab, storage)
	_, err := client.Fetch(context.Background(), callerWith(token), ref)
	var unreachable *upstream.UnreachableError
	if !errors.As(err, &unreachable) || hops.Load() > 5 || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("after %d hops: %v", hops.Load(), err)
	}
}

func TestACheckTellsGitLabOnlyWhoAsksAndWhence(t *testing.T) {
	gitlab := newGitLab(t)
	client := newClient(t, gitlab.URL, nil, gitlab)
	gitlab.Publish(24, "pkg", "1.0.0", "app.bin", []byte("x"))
	client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref})
	request := gitlab.Requests()[0]
	want := map[string]string{
		"Private-Token": token, "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http", "X-Forwarded-Host": request.Host,
		"User-Agent": "caddy-gitlab-packages", "Accept-Encoding": "identity", "Range": "bytes=0-0",
	}
	for name, values := range request.Header {
		if len(values) != 1 || want[name] != values[0] {
			t.Errorf("sent %s: %q", name, values)
		}
	}
	if len(request.Header) != len(want) || request.Method != http.MethodGet || request.Path != ref.EscapedPath() {
		t.Errorf("sent %s %s with %v", request.Method, request.Path, request.Header)
	}
}

func TestAFetchIsResumedFromItsByteInEveryMode(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	for mode, name := range map[gitlabtest.Mode]string{gitlabtest.LocalDisk: "local", gitlabtest.Proxied: "proxied", gitlabtest.Redirect: "redirect"} {
		for _, fault := range []gitlabtest.Fault{{CutAfter: 300_000}, {StallAfter: 300_000}} {
			// What stands still is given up soon. A busy machine may stand still for as long, and once more then.
			stall, most := upstream.DefaultStallTimeout, 1
			if fault.StallAfter > 0 {
				stall, most = 50*time.Millisecond, 100
			}
			t.Run(fmt.Sprint(name, fault.CutAfter), func(t *testing.T) {
				gitlab := newGitLab(t)
				gitlab.SetMode(mode)
				gitlab.SetClock(func() time.Time { return time.Now().Add(-time.Hour) })
				gitlab.Publish(24, "pkg", "1.0.0", "app.bin", body)
				gitlab.SetClock(time.Now)
				client := newClient(t, gitlab.URL, func(c *upstream.Config) { c.StallTimeout, c.Retries = stall, most+2 }, gitlab)
				gitlab.Inject(fault)
				download, err := client.Fetch(context.Background(), callerWith(token), ref)
				if err != nil {
					t.Fatal(err)
				}
				defer download.Close()
				got, err := io.ReadAll(download)
				if err != nil || !bytes.Equal(got, body) || download.Resumed < 1 || download.Resumed > most {
					t.Errorf("%d bytes, %v, resumed %d times", len(got), err, download.Resumed)
				}
				for _, request := range gitlab.Requests() {
					if request.Storage && request.Header.Get("Private-Token") != "" {
						t.Error("the storage got the token")
					}
				}
			})
		}
	}
}

func TestAChangedFileIsNeverJoinedToTheOldOne(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	for mode, name := range map[gitlabtest.Mode]string{gitlabtest.LocalDisk: "local", gitlabtest.Proxied: "proxied", gitlabtest.Redirect: "redirect"} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t)
			gitlab.SetMode(mode)
			gitlab.SetClock(func() time.Time { return time.Now().Add(-time.Hour) })
			gitlab.Publish(24, "pkg", "1.0.0", "app.bin", body)
			gitlab.SetClock(time.Now)
			client := newClient(t, gitlab.URL, nil, gitlab)
			gitlab.Inject(gitlabtest.Fault{CutAfter: 300_000})
			download, err := client.Fetch(context.Background(), callerWith(token), ref)
			if err != nil {
				t.Fatal(err)
			}
			defer download.Close()
			gitlab.Publish(24, "pkg", "1.0.0", "app.bin", bytes.ToUpper(body))
			if got, err := io.ReadAll(download); !errors.Is(err, upstream.ErrChanged) || bytes.Contains(got, []byte("ABC")) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestRetriesAreBoundedAndErrorsTellNoSecret(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	gitlab.Publish(24, "pkg", "1.0.0", "app.bin", make([]byte, 1<<20))
	client := newClient(t, gitlab.URL, nil, gitlab)
	gitlab.Inject(gitlabtest.Fault{CutAfter: 100_000, Times: -1})
	caller := callerWith("")
	caller.Credential = upstream.CredentialOf(http.Header{}, "private_token="+token, nil)
	download, err := client.Fetch(context.Background(), caller, ref)
	if err != nil {
		t.Fatal(err)
	}
	defer download.Close()
	_, err = io.ReadAll(download)
	if err == nil || strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "Signature") || strings.Contains(err.Error(), "private_token") {
		t.Errorf("got %v", err)
	}
	if gets := gitlab.Count(http.MethodGet); gets > 4 {
		t.Errorf("%d GET for 3 retries", gets)
	}
}

// TestTheErrorOfAGitLabThatIsGoneTellsNoSecret is a test of its own: a client that another outlives would find that one's goroutines.
func TestTheErrorOfAGitLabThatIsGoneTellsNoSecret(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	caller := callerWith("")
	caller.Credential = upstream.CredentialOf(http.Header{}, "private_token="+token, nil)
	gone := newClient(t, "http://"+nobody.Addr().String(), nil)
	if _, err := gone.Fetch(context.Background(), caller, ref); err == nil || strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "private_token") {
		t.Errorf("got %v", err)
	}
}

func TestAHangingGitLabIsGivenUpInTime(t *testing.T) {
	gitlab := newGitLab(t)
	client := newClient(t, gitlab.URL, func(c *upstream.Config) { c.HeaderTimeout = 20 * time.Millisecond }, gitlab)
	gitlab.Inject(gitlabtest.Fault{Hang: true, Times: -1})
	if answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref}); answer.Verdict != upstream.Unreachable {
		t.Errorf("a check: %v", answer.Verdict)
	}
	var unreachable *upstream.UnreachableError
	if _, err := client.Fetch(context.Background(), callerWith(token), ref); !errors.As(err, &unreachable) {
		t.Errorf("a fetch: %v", err)
	}
}

func TestForwardKeepsTheRequestAndDropsWhatCannotBeTrusted(t *testing.T) {
	gitlab := newGitLab(t)
	client := newClient(t, gitlab.URL, nil, gitlab)
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		how := upstream.Forwarding{Caller: callerWith(""), Path: r.URL.EscapedPath(), DropHeaders: []string{"X-Bypass"}}
		if err := client.Forward(w, r, how); err != nil {
			http.Error(w, "unreachable", http.StatusBadGateway)
		}
	}))
	defer edge.Close()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, edge.URL+"//api/v4/%67roups/x%2Fy;z?a=%2F&b", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Forwarded", "Client-Ip", "X-Real-Ip", "X-Original-Url", "X-Http-Method-Override", "Gitlab-Bypass-Rate-Limiting", "X-Bypass", "X-Forwarded-For"} {
		request.Header.Set(name, "evil")
	}
	request.Header.Set("Private-Token", token)
	request.Header.Set("Accept", "x/y")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	got := gitlab.Requests()[0]
	if got.Path != "//api/v4/%67roups/x%2Fy;z" || got.Query != "a=%2F&b" || !strings.HasSuffix(gitlab.URL, got.Host) {
		t.Errorf("arrived as %s?%s for %s", got.Path, got.Query, got.Host)
	}
	for name, values := range got.Header {
		if strings.Contains(strings.Join(values, " "), "evil") {
			t.Errorf("%s passed", name)
		}
	}
	if got.Header.Get("Private-Token") != token || got.Header.Get("Accept") != "x/y" || got.Header.Get("X-Forwarded-For") != "192.0.2.7" {
		t.Errorf("headers: %v", got.Header)
	}
}

func TestForwardFollowsStorageAndShowsNothingOfIt(t *testing.T) {
	for name, options := range map[string][]gitlabtest.Option{"signed for each method": nil, "signed for GET only": {gitlabtest.SignsForGETOnly()}} {
		t.Run(name, func(t *testing.T) {
			gitlab := newGitLab(t, options...)
			gitlab.SetMode(gitlabtest.Redirect)
			gitlab.Publish(24, "pkg", "1.0.0", "app.bin", []byte("0123456789"))
			client := newClient(t, gitlab.URL, nil, gitlab)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				request := httptest.NewRequestWithContext(context.Background(), method, ref.EscapedPath(), nil)
				request.Header.Set("Private-Token", token)
				request.Header.Set("Range", "bytes=2-4")
				recorder := httptest.NewRecorder()
				if err := client.Forward(recorder, request, upstream.Forwarding{Caller: callerWith(""), Path: ref.EscapedPath()}); err != nil {
					t.Fatal(err)
				}
				header := fmt.Sprint(recorder.Header())
				if recorder.Code != 206 || (method == http.MethodGet && recorder.Body.String() != "234") || strings.Contains(header, "Signature") || strings.Contains(header, "Amz") {
					t.Errorf("%s: %d %q %s", method, recorder.Code, recorder.Body, header)
				}
			}
			if answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Follow: true}); answer.Verdict != upstream.Allowed || answer.Unproven || answer.Identity.Length != 10 {
				t.Errorf("a check that follows: %+v", answer)
			}
		})
	}
}

func TestForwardToNobodyWritesNothing(t *testing.T) {
	client := newClient(t, "http://127.0.0.1:1", nil)
	request := httptest.NewRequestWithContext(context.Background(), http.MethodPut, ref.EscapedPath()+"?private_token="+token, strings.NewReader("x"))
	recorder := httptest.NewRecorder()
	err := client.Forward(recorder, request, upstream.Forwarding{Caller: callerWith(""), Path: ref.EscapedPath()})
	var unreachable *upstream.UnreachableError
	if !errors.As(err, &unreachable) || strings.Contains(err.Error(), token) || len(recorder.Header()) != 0 || recorder.Body.Len() != 0 {
		t.Errorf("%v, %v", err, recorder)
	}
}
