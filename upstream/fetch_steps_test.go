//nolint:bodyclose // answers are made up; their bodies are what is tested, or there is none
package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var refOfSteps = Ref{Project: "24", Package: "pkg", Version: "1.0.0", File: "app.bin"}

// hexOf is the SHA-256 of a text in hex.
func hexOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// script answers requests in turn, and keeps them.
type script struct {
	answers []func(*http.Request) (*http.Response, error)
	asked   []*http.Request
}

func (s *script) RoundTrip(request *http.Request) (*http.Response, error) {
	s.asked = append(s.asked, request)
	answer := s.answers[0]
	s.answers = s.answers[1:]
	return answer(request)
}

// says is an answer of a file's bytes, or of a part of them.
func says(status int, header http.Header, body io.ReadCloser, length int64) func(*http.Request) (*http.Response, error) {
	return func(request *http.Request) (*http.Response, error) {
		header := header.Clone()
		header.Set("Content-Disposition", `attachment; filename="app.bin"`)
		response := answerOf(request, status, header, body)
		response.ContentLength = length
		return response, nil
	}
}

var tagged = http.Header{"Etag": {`"1"`}}

func partOf(span string) http.Header {
	return http.Header{"Etag": {`"1"`}, "Content-Range": {"bytes " + span}}
}

// brokenBody is a body that breaks off after a text.
func brokenBody(text string) *stepBody {
	return &stepBody{Reader: &pieces{{text, nil}, {"", errors.New("connection reset")}}}
}

func TestABodyThatBreaksOffGoesOnWithoutAnEmptyRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := brokenBody("abc")
		s := &script{answers: []func(*http.Request) (*http.Response, error){
			says(200, tagged, first, 6), says(206, partOf("3-5/6"), io.NopCloser(strings.NewReader("def")), 3),
		}}
		client := clientBy(t, func(c *Config) { c.Retries = 1 }, s.RoundTrip)
		download, err := client.Fetch(t.Context(), Caller{}, refOfSteps)
		if err != nil || download.Disposition != `attachment; filename="app.bin"` {
			t.Fatal(download, err)
		}
		var got strings.Builder
		for got.Len() < 6 {
			p := make([]byte, 8)
			n, err := download.Read(p)
			if n == 0 || err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
			got.Write(p[:n])
		}
		if got.String() != "abcdef" || download.Resumed != 1 || !first.closed.Load() {
			t.Errorf("%q, resumed %d times, the first body is closed: %v", got.String(), download.Resumed, first.closed.Load())
		}
	})
}

func TestABodyThatEndsTooSoonHasNoEnd(t *testing.T) {
	s := &script{answers: []func(*http.Request) (*http.Response, error){says(200, tagged, io.NopCloser(strings.NewReader("abc")), 6)}}
	download, err := clientBy(t, nil, s.RoundTrip).Fetch(t.Context(), Caller{}, refOfSteps)
	if err != nil {
		t.Fatal(err)
	}
	download.client.cfg.Retries = 0
	if got, err := io.ReadAll(download); string(got) != "abc" || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestASumIsComparedWithTheLastByte: whoever reads as much as was announced needs no end.
func TestASumIsComparedWithTheLastByte(t *testing.T) {
	for name, test := range map[string]struct {
		last error
		sum  string
		want error
	}{
		"right":                      {nil, "abc", nil},
		"wrong":                      {nil, "abd", ErrChecksum},
		"wrong with the end":         {io.EOF, "abd", ErrChecksum},
		"wrong, and the line breaks": {errors.New("connection reset"), "abd", nil},
	} {
		want := sha256.Sum256([]byte(test.sum))
		client := clientBy(t, nil, nil)
		client.cfg.Retries = 0
		d := &Download{
			client: client, ctx: t.Context(), Length: 3, Framed: true, sum: sum{kind: sumSHA256, value: string(want[:])},
			body: io.NopCloser(&pieces{{"ab", nil}, {"c", test.last}}),
		}
		_, _ = d.Read(make([]byte, 2))
		n, err := d.Read(make([]byte, 2))
		if errors.Is(err, ErrChecksum) != (test.want != nil) || (n == 0) != (test.want != nil) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func TestWhyABodyIsGivenUp(t *testing.T) {
	refused := func(request *http.Request) (*http.Response, error) {
		return answerOf(request, 404, nil, http.NoBody), nil
	}
	down := func(request *http.Request) (*http.Response, error) {
		return answerOf(request, 503, nil, http.NoBody), nil
	}
	leaves := errors.New("the caller leaves")
	for name, test := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		other  func() (Caller, bool)
		leaves bool
		want   func(error) bool
	}{
		"the caller leaves": {nil, nil, true, func(err error) bool { return errors.Is(err, leaves) }},
		"GitLab is down": {down, nil, false, func(err error) bool {
			unreachable, ok := errors.AsType[*UnreachableError](err)
			return ok && unreachable.Status == 503
		}},
		"GitLab refuses, and nobody else is there": {refused, nil, false, isRefused},
		"GitLab refuses, and nobody else wants it": {refused, func() (Caller, bool) { return Caller{}, false }, false, isRefused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, leave := context.WithCancelCause(t.Context())
				defer leave(nil)
				s := &script{answers: []func(*http.Request) (*http.Response, error){says(200, tagged, brokenBody("abc"), 6), test.answer}}
				client := clientBy(t, func(c *Config) { c.Retries, c.RetryPause = 1, time.Minute }, s.RoundTrip)
				download, err := client.Fetch(ctx, Caller{}, refOfSteps)
				if err != nil {
					t.Fatal(err)
				}
				download.OtherCaller = test.other
				if test.leaves {
					go leave(leaves) // ends at once
				}
				if got, err := io.ReadAll(download); string(got) != "abc" || err == nil || !test.want(err) {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}

func isRefused(err error) bool {
	refused, ok := errors.AsType[*RefusedError](err)
	return ok && refused.Status == 404
}

func TestARestIsFramedAndHasItsAnswersName(t *testing.T) {
	s := &script{answers: []func(*http.Request) (*http.Response, error){says(206, partOf("3-5/6"), io.NopCloser(strings.NewReader("def")), 3)}}
	download, err := clientBy(t, nil, s.RoundTrip).FetchFrom(t.Context(), Caller{}, refOfSteps, 3, Identity{ETag: `"1"`, Length: 6})
	if err != nil || !download.Storable() || download.Disposition != `attachment; filename="app.bin"` {
		t.Errorf("%+v, %v", download, err)
	}
}

// TestASkippedBeginningThatBreaksOffIsTrouble has a server that knows no ranges.
func TestASkippedBeginningThatBreaksOffIsTrouble(t *testing.T) {
	body := brokenBody("ab")
	s := &script{answers: []func(*http.Request) (*http.Response, error){says(200, tagged, body, 6)}}
	_, err := clientBy(t, nil, s.RoundTrip).FetchFrom(t.Context(), Caller{}, refOfSteps, 3, Identity{ETag: `"1"`, Length: 6})
	if _, ok := errors.AsType[*UnreachableError](err); !ok || !body.closed.Load() {
		t.Errorf("%v; closed: %v", err, body.closed.Load())
	}
}

func TestWhatContinuesABody(t *testing.T) {
	dated := Identity{LastModified: time.Unix(1_700_000_000, 0), Length: -1}
	withSum := dated
	withSum.SHA256 = hexOf("x")
	tag := Identity{ETag: `"1"`, Length: -1}
	whole := answerOf(nil, 200, nil, nil)
	whole.ContentLength = 6
	part := func(span string) *http.Response {
		response := answerOf(nil, 206, http.Header{}, nil)
		if span != "" {
			response.Header.Set("Content-Range", "bytes "+span)
		}
		return response
	}
	for name, test := range map[string]struct {
		first, second Identity
		verified      bool
		length        int64
		offset        int64
		answer        *http.Response
		want          error
	}{
		"the same tag":                           {tag, tag, false, 6, 3, part("3-5/6"), nil},
		"all of it":                              {tag, tag, false, 6, 3, whole, nil},
		"all of it, of unknown length":           {tag, tag, false, -1, 3, whole, nil},
		"all of it, of no length":                {tag, tag, false, 0, 0, whole, ErrChanged},
		"all of it, of another length":           {tag, tag, false, 7, 3, whole, ErrChanged},
		"a part of unknown length":               {tag, tag, false, -1, 3, part("3-5/6"), nil},
		"a part of no length":                    {tag, tag, false, 0, 0, part("0-5/6"), ErrChanged},
		"a part of another length":               {tag, tag, false, 7, 3, part("3-5/6"), ErrChanged},
		"a part from elsewhere":                  {tag, tag, false, 6, 3, part("2-5/6"), ErrChanged},
		"a part of nothing that is named":        {tag, tag, false, -1, 0, part(""), ErrChanged},
		"another tag":                            {tag, Identity{ETag: `"2"`, Length: -1}, false, 6, 3, part("3-5/6"), ErrChanged},
		"an unsettled date":                      {dated, dated, false, 6, 3, part("3-5/6"), ErrChanged},
		"an unsettled date, verified":            {dated, dated, true, 6, 3, part("3-5/6"), ErrChanged},
		"an unsettled date with a sum":           {withSum, dated, false, 6, 3, part("3-5/6"), ErrChanged},
		"an unsettled date with a sum, verified": {withSum, dated, true, 6, 3, part("3-5/6"), nil},
	} {
		d := &Download{Identity: test.first, Length: test.length, offset: test.offset, Verified: test.verified}
		if err := d.continues(test.answer, test.second); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// storageOf answers GitLab's part by a redirect to object storage.
func storageOf(s *script) roundTripFunc {
	return func(request *http.Request) (*http.Response, error) {
		if request.URL.Host == "gitlab.example.com" {
			return answerOf(request, 302, http.Header{"Location": {"http://s3.example.com/object?X-Amz-Signature=a"}}, http.NoBody), nil
		}
		return s.RoundTrip(request)
	}
}

func download(t *testing.T, client *Client, method string, how Forwarding) (*written, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://edge.example.com/f", nil)
	if err != nil {
		t.Fatal(err)
	}
	how.Path = refOfSteps.EscapedPath()
	w := &written{header: http.Header{}}
	return w, client.Forward(w, request, how)
}

func TestAHeadThatTheStorageSignsForGETAloneIsAskedByGET(t *testing.T) {
	for method, want := range map[string]int{http.MethodHead: 2, http.MethodGet: 1} {
		refused, body := &stepBody{Reader: strings.NewReader("")}, &stepBody{Reader: strings.NewReader("abc")}
		s := &script{answers: []func(*http.Request) (*http.Response, error){says(403, http.Header{}, refused, 0), says(200, http.Header{}, body, 3)}}
		client := clientBy(t, nil, storageOf(s))
		w, err := download(t, client, method, Forwarding{OnAnswer: func(response *http.Response) {
			if response.Request.URL.Host != "gitlab.example.com" || response.Body != http.NoBody {
				t.Errorf("%s is shown, with a body: %v", response.Request.URL, response.Body != http.NoBody)
			}
		}})
		if len(s.asked) != want || !refused.closed.Load() {
			t.Errorf("%s: asked %d times, closed: %v", method, len(s.asked), refused.closed.Load())
		}
		if method == http.MethodHead && (err != nil || !slices.Equal(w.statuses, []int{200}) || !body.closed.Load() || s.asked[1].Method != http.MethodGet) {
			t.Errorf("%v, %v, closed: %v", err, w.statuses, body.closed.Load())
		}
		for _, asked := range s.asked {
			if asked.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("the storage may encode: %v", asked.Header)
			}
		}
	}
	s := &script{answers: []func(*http.Request) (*http.Response, error){
		says(403, http.Header{}, http.NoBody, 0), func(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") },
	}}
	if _, err := download(t, clientBy(t, nil, storageOf(s)), http.MethodHead, Forwarding{}); err == nil {
		t.Error("no error of the second question")
	}
}

func TestAPageOfTheStorageIsNoFileButMayBeAnotherAnswer(t *testing.T) {
	page := func(status int) func(*http.Request) (*http.Response, error) {
		return func(request *http.Request) (*http.Response, error) {
			return answerOf(request, status, http.Header{"Content-Type": {"text/html; charset"}}, io.NopCloser(strings.NewReader("x"))), nil
		}
	}
	for status, ok := range map[int]bool{200: false, 412: true, 416: true} {
		s := &script{answers: []func(*http.Request) (*http.Response, error){page(status)}}
		w, err := download(t, clientBy(t, nil, storageOf(s)), http.MethodGet, Forwarding{})
		if (err == nil) != ok || slices.Equal(w.statuses, []int{status}) != ok {
			t.Errorf("%d: %v, %v", status, err, w.statuses)
		}
	}
}

// TestWhatIsForwardedIsACallersOwn: how long its answer takes shows nothing, so that it has second tries of its own.
func TestWhatIsForwardedIsACallersOwn(t *testing.T) {
	var by []requester
	s := &script{answers: []func(*http.Request) (*http.Response, error){says(200, http.Header{}, io.NopCloser(strings.NewReader("abc")), 3)}}
	storage := storageOf(s)
	client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
		by = append(by, requesterOf(request.Context()))
		return storage(request)
	})
	if _, err := download(t, client, http.MethodGet, Forwarding{}); err != nil || !slices.Equal(by, []requester{aCaller, aCaller}) {
		t.Errorf("%v, %v", err, by)
	}
}

func TestAStrangersPlaceIsGivenBackWhateverComes(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		synctest.Test(t, func(t *testing.T) {
			fails := true
			client := clientBy(t, func(c *Config) { c.MaxConnections = 2 }, func(request *http.Request) (*http.Response, error) {
				if fails {
					return nil, errors.New("connection reset")
				}
				return answerOf(request, 404, nil, io.NopCloser(strings.NewReader("no"))), nil
			})
			begun := time.Now()
			if _, err := download(t, client, method, Forwarding{}); err == nil {
				t.Error("no error")
			}
			fails = false
			for range 3 {
				if w, err := download(t, client, method, Forwarding{}); err != nil || !slices.Equal(w.statuses, []int{404}) {
					t.Errorf("%s: %v, %v", method, err, w.statuses)
				}
			}
			if !time.Now().Equal(begun) {
				t.Errorf("%s: a place was waited for", method)
			}
			client.strangers.places <- struct{}{} // somebody else's
			_, err := download(t, client, method, Forwarding{})
			if unreachable, ok := errors.AsType[*UnreachableError](err); !ok || unreachable.Trouble != TroubleEdge {
				t.Errorf("%s: without a place %v", method, err)
			}
			if _, err := download(t, client, method, Forwarding{Standing: Trusted}); err != nil {
				t.Errorf("%s: who is trusted: %v", method, err)
			}
		})
	}
}

// TestAPlaceIsHeldUntilTheAnswersEnd: the answer's body holds the connection.
func TestAPlaceIsHeldUntilTheAnswersEnd(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		client := clientBy(t, func(c *Config) { c.MaxConnections = 2 }, func(request *http.Request) (*http.Response, error) {
			return answerOf(request, 404, nil, io.NopCloser(strings.NewReader("no"))), nil
		})
		request, err := http.NewRequestWithContext(t.Context(), method, "http://gitlab.example.com/f", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := forwardTransport{client, Forwarding{Delivery: new(Delivery)}}.RoundTrip(request)
		if err != nil || len(client.strangers.places) != 1 {
			t.Fatalf("%s: %v, %d places are taken", method, err, len(client.strangers.places))
		}
		if _ = response.Body.Close(); len(client.strangers.places) != 0 {
			t.Errorf("%s: the place is kept", method)
		}
	}
}

// TestARequestThatShowsWhetherAServerIsBackIsWaitedForNoLongerThanACheck has breakers that are open.
func TestARequestThatShowsWhetherAServerIsBackIsWaitedForNoLongerThanACheck(t *testing.T) {
	for trial, want := range map[bool]time.Duration{true: time.Minute, false: time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
				<-request.Context().Done()
				return nil, request.Context().Err()
			})
			breakers := client.breakers.Load()
			for _, b := range []*breaker{breakers.gitlab, breakers.storageAt("s3.example.com")} {
				b.open, b.trial = trial, trial
			}
			for name, ask := range map[string]func(*http.Request) (*http.Response, error){
				"GitLab":  func(r *http.Request) (*http.Response, error) { return client.askGitLab(r, time.Hour) },
				"storage": func(r *http.Request) (*http.Response, error) { return client.askStorage(r, theEdge) },
			} {
				host := map[string]string{"GitLab": "gitlab.example.com", "storage": "s3.example.com"}[name]
				request := (&http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: host, Path: "/f"}, Header: http.Header{}}).WithContext(t.Context())
				begun := time.Now()
				if _, err := ask(request); !errors.Is(err, errHeaderTimeout) || time.Since(begun) != want {
					t.Errorf("%s, trial %v: %v after %v", name, trial, err, time.Since(begun))
				}
			}
		})
	}
}

func TestAContentIsNamedExactlyByAnythingButItsTime(t *testing.T) {
	for name, test := range map[string]struct {
		identity Identity
		want     bool
	}{
		"a sum": {Identity{SHA256: hexOf("x")}, true}, "a location": {Identity{Location: "s3.example.com/x"}, true}, "a tag": {Identity{ETag: `"1"`}, true},
		"a time": {Identity{LastModified: time.Unix(1, 0), Settled: true, Length: 3}, false},
	} {
		if got := (Progress{identity: test.identity}).IsExact(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
