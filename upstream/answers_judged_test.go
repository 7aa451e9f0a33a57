package upstream_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestALocationProvesNothingButTheContentThatItNames: GitLab signs for what it wants, also for what nobody has vouched for.
func TestALocationProvesNothingButTheContentThatItNames(t *testing.T) {
	gitlab := httptest.NewServer(answerWith(302, "Location", "https://s3.example.com/packages/1?X-Amz-Signature="+signature))
	client := newClient(t, gitlab.URL, nil, gitlab)
	if client.Redirects() {
		t.Error("it redirects before it was asked")
	}
	vouched := upstream.Identity{Location: "s3.example.com/packages/1", Length: 7, ETag: `"1"`}
	for name, test := range map[string]struct {
		known  []upstream.Identity
		proven bool
	}{
		"nothing is known":        {nil, false},
		"the location is known":   {[]upstream.Identity{{Location: "s3.example.com/packages/2"}, vouched}, true},
		"another location is":     {[]upstream.Identity{{Location: "s3.example.com/packages/2", Length: 7}}, false},
		"another host is":         {[]upstream.Identity{{Location: "s4.example.com/packages/1", Length: 7}}, false},
		"another kind of name is": {[]upstream.Identity{{SHA256: sums("a"), ETag: `"1"`, Length: 7}}, false},
	} {
		answer := ask(client, test.known...)
		if answer.Verdict != upstream.Allowed || answer.Unproven == test.proven || (test.proven && answer.Identity != vouched) ||
			(!test.proven && answer.Identity != upstream.Identity{Location: vouched.Location, Length: -1}) {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	if !client.Redirects() {
		t.Error("it isn't known to redirect")
	}
}

// TestAStorageProvesAYesByTheFileAlone has it answer a check that is followed.
func TestAStorageProvesAYesByTheFileAlone(t *testing.T) {
	attachment := []string{"Content-Disposition", "attachment"}
	for name, test := range map[string]struct {
		status  int
		header  []string
		verdict upstream.Verdict
		length  int64
	}{
		"its first byte":                     {206, append([]string{"Content-Range", "bytes 0-0/12"}, attachment...), upstream.Allowed, 12},
		"its first byte, of unknown length":  {206, append([]string{"Content-Range", "bytes 0-0/*"}, attachment...), upstream.Allowed, -1},
		"a byte of its midst":                {206, append([]string{"Content-Range", "bytes 5-5/12"}, attachment...), upstream.Unreachable, 0},
		"a part of no range":                 {206, attachment, upstream.Unreachable, 0},
		"it is empty":                        {416, append([]string{"Content-Range", "bytes */0"}, attachment...), upstream.Allowed, 0},
		"no first byte of one that is full":  {416, append([]string{"Content-Range", "bytes */12"}, attachment...), upstream.Unreachable, 0},
		"a page":                             {200, []string{"Content-Type", "text/html"}, upstream.Refused, 0},
		"a part of a page":                   {206, []string{"Content-Type", "application/xhtml+xml", "Content-Range", "bytes 0-0/12"}, upstream.Refused, 0},
		"a file that is a page":              {206, append([]string{"Content-Type", "text/html", "Content-Range", "bytes 0-0/12"}, attachment...), upstream.Allowed, 12},
		"a file that GitLab signed long ago": {206, []string{"Content-Type", "application/octet-stream", "Content-Range", "bytes 0-0/12"}, upstream.Allowed, 12},
		"refused":                            {403, nil, upstream.Unreachable, 0},
		"gone":                               {404, nil, upstream.Unreachable, 0},
		"broken":                             {500, nil, upstream.Unreachable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			storage := httptest.NewServer(answerWith(test.status, test.header...))
			gitlab := httptest.NewServer(redirectsTo(storage.URL))
			client := newClient(t, gitlab.URL, nil, gitlab, storage)
			answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Follow: true})
			if answer.Verdict != test.verdict || (test.verdict == upstream.Allowed && (answer.Unproven || answer.Identity.Length != test.length)) {
				t.Errorf("%+v", answer)
			}
		})
	}
}

// TestGitLabsAnswerIsAFileByWhatOnlyFilesHave: a page in front of GitLab has none of it.
func TestGitLabsAnswerIsAFileByWhatOnlyFilesHave(t *testing.T) {
	unrelated := []upstream.Identity{{ETag: `"1"`, Length: -1}, {Location: "s3.example.com/x", Length: 0}}
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		known   []upstream.Identity
		verdict upstream.Verdict
		length  int64
	}{
		"an empty file":                   {answerWith(416, "Content-Range", "bytes */0", "Content-Disposition", "attachment"), nil, upstream.Allowed, 0},
		"no first byte of a full one":     {answerWith(416, "Content-Range", "bytes */9", "Content-Disposition", "attachment"), nil, upstream.Refused, 0},
		"an attachment, in other letters": {answerWith(206, "Content-Range", "bytes 0-0/9", "Content-Disposition", `ATTACHMENT; filename="x"`), nil, upstream.Allowed, 9},
		"a page, where much is known":     {answerWith(200, "Content-Type", "text/html"), unrelated, upstream.Refused, 0},
		"a page that is dated":            {answerWith(200, "Last-Modified", lastModified), unrelated, upstream.Refused, 0},
		"a redirect to a signed log-in":   {answerWith(302, "Location", "https://sso.example.com/?SAMLRequest=x&KeyName=k&Signature=z"), nil, upstream.Refused, 0},
		"to one that Amazon signed":       {answerWith(302, "Location", "https://sso.example.com/?RelayState=x&X-Amz-Signature=z"), nil, upstream.Refused, 0},
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := httptest.NewServer(test.answer)
			client := newClient(t, gitlab.URL, nil, gitlab)
			answer := ask(client, test.known...)
			if answer.Verdict != test.verdict || (test.verdict == upstream.Allowed && answer.Identity.Length != test.length) || client.ShowsChecksums() {
				t.Errorf("%+v", answer)
			}
		})
	}
	gitlab := httptest.NewServer(answerWith(200, "X-Checksum-Sha256", sums("a")))
	client := newClient(t, gitlab.URL, nil, gitlab)
	if ask(client); !client.ShowsChecksums() {
		t.Error("a GitLab that names checksums isn't known as one")
	}
}

// TestAForwardedRequestTellsNothingThatTheCallerMadeUpOfItself, also where Caddy knows nothing to put in its place.
func TestAForwardedRequestTellsNothingThatTheCallerMadeUpOfItself(t *testing.T) {
	var asked seenRequests
	gitlab := httptest.NewServer(asked.noted(answerWith(404)))
	client := newClient(t, gitlab.URL, nil, gitlab)
	for _, caller := range []upstream.Caller{{}, {ClientIP: "192.0.2.7", Proto: "https", Host: "edge.example.com", Trace: http.Header{"Traceparent": {"00-1-2-01"}}}} {
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			request := httptest.NewRequestWithContext(t.Context(), method, ref.EscapedPath(), nil)
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X_Forwarded_For", "X-Real-Ip", "X_Real_Ip", "X-Bypass", "X_bypass"} {
				request.Header[name] = []string{"evil"}
			}
			how := upstream.Forwarding{Caller: caller, Path: ref.EscapedPath(), DropHeaders: []string{"X-Bypass"}}
			if err := client.Forward(httptest.NewRecorder(), request, how); err != nil {
				t.Fatal(err)
			}
			all := asked.all()
			got := all[len(all)-1].Header
			for name, values := range got {
				if strings.Contains(strings.Join(values, " "), "evil") {
					t.Errorf("%s passed: %q", name, values)
				}
			}
			if got.Get("X-Forwarded-For") != caller.ClientIP || got.Get("X-Forwarded-Proto") != caller.Proto || got.Get("X-Forwarded-Host") != caller.Host ||
				got.Get("Traceparent") != caller.Trace.Get("Traceparent") || got.Get("Accept-Encoding") != "identity" {
				t.Errorf("GitLab got %v", got)
			}
		}
	}
	ask(client)
	client.Check(t.Context(), upstream.Question{Caller: upstream.Caller{Trace: http.Header{"Traceparent": {"00-1-2-01"}}}, Ref: ref})
	if all := asked.all(); all[len(all)-1].Header.Get("Traceparent") != "00-1-2-01" {
		t.Error("a check ends the trace")
	}
}

// TestNothingButADownloadIsLedToStorage: who saw the redirect of an upload would have a signed URL.
func TestNothingButADownloadIsLedToStorage(t *testing.T) {
	var stored seenRequests
	storage := httptest.NewServer(stored.noted(aStoredFile))
	gitlab := httptest.NewServer(redirectsTo(storage.URL))
	client := newClient(t, gitlab.URL, nil, gitlab, storage)
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
		recorder, err := forwardsBy(method)(client, http.Header{"Private-Token": {token}}, "")
		_, unreachable := errors.AsType[*upstream.UnreachableError](err)
		if !unreachable || strings.Contains(err.Error(), signature) || len(recorder.Header()) > 0 || recorder.Body.Len() > 0 || len(stored.all()) > 0 {
			t.Errorf("%s: %v, %v", method, err, recorder.Header())
		}
	}
}

// leavingBody is the body of a caller who leaves after its first bytes.
type leavingBody struct {
	leave context.CancelFunc
	// gone are closed when the connection to GitLab is, or the answer is awaited all the same.
	gone, awaited <-chan struct{}
	begun         bool
}

// Read implements io.Reader.
func (b *leavingBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		return copy(p, "abc"), nil
	}
	b.leave()
	select {
	case <-b.gone:
	case <-b.awaited:
	}
	return 0, errors.New("the caller has left")
}

// TestAnUploadIsAwaitedForNobodyWhoLeavesBeforeItsEnd: GitLab can't have taken it.
func TestAnUploadIsAwaitedForNobodyWhoLeavesBeforeItsEnd(t *testing.T) {
	gone, awaited := make(chan struct{}), make(chan struct{})
	gitlab := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !isProbe(r) {
			_, _ = io.Copy(io.Discard, r.Body)
			close(gone)
		}
	}))
	client := newClient(t, gitlab.URL, nil, gitlab)
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	delivery, err := put(client, ctx, &leavingBody{leave: leave, gone: gone, awaited: awaited}, upstream.Forwarding{AwaitAnswer: func() (func(), bool) {
		close(awaited)
		return func() {}, true
	}})
	select {
	case <-awaited:
		t.Error("an upload that isn't whole is awaited")
	default:
	}
	if err == nil || delivery.IsWhole() {
		t.Errorf("%v; whole: %v", err, delivery.IsWhole())
	}
}

// TestAnUpstreamIsOneInAnyLetters: keys and grants are told apart by it.
func TestAnUpstreamIsOneInAnyLetters(t *testing.T) {
	for text, want := range map[string]string{
		"https://gitlab.example.com": "https://gitlab.example.com", "HTTPS://GitLab.Example.com/": "https://gitlab.example.com",
		"https://gitlab.example.com/Git//": "https://gitlab.example.com/Git",
	} {
		parsed, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		client, err := upstream.NewClient(upstream.Config{Base: parsed, Transport: new(scripted), StorageTransport: new(scripted)})
		if err != nil || client.Upstream() != want {
			t.Errorf("%s is %s, %v", text, client.Upstream(), err)
		}
	}
}

// TestACheckIsNeverMorePatientThanAFetch, whatever an admin writes.
func TestACheckIsNeverMorePatientThanAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gitlab := new(scripted)
		gitlab.from(hangs)
		client, err := upstream.NewClient(upstream.Config{
			Base: &url.URL{Scheme: "https", Host: "gitlab.example.com"}, Transport: gitlab, StorageTransport: new(scripted),
			HeaderTimeout: time.Second, CheckTimeout: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		client.Check(t.Context(), upstream.Question{Caller: callerWith(token), Ref: ref, Granted: true})
		if took := time.Since(begun); took > time.Second {
			t.Errorf("a check took %v", took)
		}
		synctest.Wait()
	})
}

// TestAProbeThatTheEdgeCannotSendOpensNothing: that its files are used up says nothing of GitLab.
func TestAProbeThatTheEdgeCannotSendOpensNothing(t *testing.T) {
	for name, test := range map[string]struct {
		toProbe reply
		opens   bool
	}{"no file left": {reply{err: syscall.EMFILE}, false}, "no port left": {reply{err: syscall.EADDRNOTAVAIL}, false}, "refused": {fails, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := wellKnown(t)
				w.gitlab.both(fails, test.toProbe)
				for range 3 {
					_, _ = w.ask()
				}
				if w.gitlab.probes() == 0 || w.isOpen() != test.opens {
					t.Errorf("after %d probes open: %v", w.gitlab.probes(), !test.opens)
				}
			})
		})
	}
}

// TestTheAdminsTokenIsSentToGitLabAlone, over redirects too, of which it follows three.
func TestTheAdminsTokenIsSentToGitLabAlone(t *testing.T) {
	var elsewhere seenRequests
	other := httptest.NewServer(elsewhere.noted(answerWith(200)))
	gitlab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		switch left, err := strconv.Atoi(name); {
		case isProbe(r):
		case name == "elsewhere":
			http.Redirect(w, r, other.URL+"/api/v4/projects/24", http.StatusMovedPermanently)
		case err == nil && left > 1000:
			http.Redirect(w, r, "/api/v4/projects/"+strconv.Itoa(left-1), http.StatusMovedPermanently)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"id":1000,"path_with_namespace":"group/app"}`)
		}
	}))
	client := newClient(t, gitlab.URL, nil, gitlab, other)
	aliases := upstream.NewAliases(client, "glpat-admin", upstream.NewAliasMemory())
	for name, known := range map[string]bool{"1000": true, "1001": true, "1003": true, "1004": false, "elsewhere": false} {
		got, err := aliases.Ask(t.Context(), name, upstream.OfAdmin())
		if (err == nil && got.ID == "1000") != known {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "glpat") {
			t.Errorf("the error shows the token: %v", err)
		}
	}
	if len(elsewhere.all()) > 0 {
		t.Errorf("another host was asked with %v", elsewhere.all()[0].Header)
	}
}
