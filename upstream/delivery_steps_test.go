package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pieces is a body of which each read is told before.
type pieces []struct {
	text string
	err  error
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	piece := (*p)[0]
	*p = (*p)[1:]
	return copy(b, piece.text), piece.err
}

func TestABodyIsWholeOnceAndNoEmptyPieceIsShown(t *testing.T) {
	for name, length := range map[string]int64{"of known length": 3, "of unknown length": -1} {
		whole, seen := 0, []string{}
		delivery := &Delivery{onWhole: func() { whole++ }}
		body := delivery.observe(io.NopCloser(&pieces{{"ab", nil}, {"", nil}, {"c", nil}, {"", io.EOF}}), length, func(piece []byte) { seen = append(seen, string(piece)) })
		for range 5 {
			_, _ = body.Read(make([]byte, 8))
			delivery.sent() // a body that was sent says nothing: its end must have been read
		}
		if whole != 1 || !delivery.IsWhole() || strings.Join(seen, "|") != "ab|c" {
			t.Errorf("%s: whole %d times, %v; seen %q", name, whole, delivery.IsWhole(), seen)
		}
	}
	whole := 0
	delivery := &Delivery{onWhole: func() { whole++ }}
	delivery.sent()
	delivery.sent()
	if whole != 1 || !delivery.IsWhole() {
		t.Errorf("without a body: whole %d times", whole)
	}
	unobserved := new(Delivery)
	unobserved.sent()
	unobserved.end()
	if !unobserved.IsWhole() {
		t.Error("nobody is told, and it isn't whole")
	}
}

func TestABodyThatOnlyWasSentIsNotWhole(t *testing.T) {
	delivery := &Delivery{onWhole: func() { t.Error("it is whole") }}
	delivery.observe(io.NopCloser(&pieces{}), 3, nil)
	if delivery.sent(); delivery.IsWhole() {
		t.Error("it is whole")
	}
}

// failingToClose is a body whose Close fails.
type failingToClose struct{ io.Reader }

var errClose = errors.New("closing failed")

func (failingToClose) Close() error { return errClose }

func TestABodysErrorAtItsEndIsTold(t *testing.T) {
	closed := false
	if err := (closingBody{failingToClose{}, func() { closed = true }}).Close(); !errors.Is(err, errClose) || !closed {
		t.Errorf("%v, closed %v", err, closed)
	}
	if err := (&cancelingBody{ReadCloser: failingToClose{}, cancel: func(error) {}}).Close(); !errors.Is(err, errClose) {
		t.Error(err)
	}
	if err := (&Download{body: failingToClose{}}).Close(); !errors.Is(err, errClose) {
		t.Error(err)
	}
}

// stalling is a body that gives nothing until it is given up, and then what it is told to.
type stalling struct {
	ctx  context.Context
	text string
	err  error
}

func (s stalling) Read(p []byte) (int, error) {
	<-s.ctx.Done()
	return copy(p, s.text), s.err
}

func (stalling) Close() error { return nil }

func TestABodyThatStandsStillIsGivenUpForThat(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		err  error
		want error
	}{
		"for good":           {"", context.Canceled, errStalled},
		"until just in time": {"x", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				body := &cancelingBody{ReadCloser: stalling{ctx, test.text, test.err}, cancel: cancel, stall: time.Second}
				n, err := body.Read(make([]byte, 8))
				if n != len(test.text) || !errors.Is(err, test.want) || (test.want == nil && err != nil) {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // whose pace is nobody's matter
		ctx, cancel := context.WithCancelCause(t.Context())
		body := &cancelingBody{ReadCloser: stalling{ctx, "x", nil}, cancel: cancel}
		read := make(chan error)
		go func() { // ends with the read
			_, err := body.Read(make([]byte, 8))
			read <- err
		}()
		time.Sleep(time.Hour)
		if ctx.Err() != nil || body.timer != nil {
			t.Error("it is given up")
		}
		_ = body.Close()
		<-read //nolint:errcheck // only that it is over
	})
}

func TestTheWaitForAnAnswerGoesOnOnlyUntilItHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		givenUp, left := 0, 0
		passes := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		ask := func() (func(), bool) { return func() { left++ }, true }
		w := &answerWait{patience: time.Second, giveUp: func() { givenUp++ }}
		w.begin()
		if w.goOn(func() (func(), bool) { return nil, false }) {
			t.Error("it goes on without leave")
		}
		if !w.goOn(ask) || left != 0 {
			t.Errorf("it doesn't go on, or was left %d times", left)
		}
		w.answered()
		passes(time.Minute)
		if givenUp != 0 || left != 0 {
			t.Errorf("answered: given up %d times, left %d times", givenUp, left)
		}
		w.end()
		if w.end(); left != 1 {
			t.Errorf("over: left %d times", left)
		}
		if !w.goOn(ask) || left != 2 {
			t.Errorf("who leaves after the answer: left %d times", left)
		}
		w.begin()
		if passes(time.Minute); givenUp != 0 {
			t.Error("a wait has begun after the answer")
		}
		other := &answerWait{patience: time.Second, giveUp: func() { givenUp++ }}
		other.begin()
		other.end()
		if passes(time.Minute); givenUp != 0 {
			t.Error("a wait that is over goes on")
		}
		other = &answerWait{patience: time.Second, giveUp: func() { givenUp++ }}
		other.begin()
		if passes(time.Second); givenUp != 1 {
			t.Errorf("given up %d times", givenUp)
		}
	})
}

// roundTripFunc is a transport.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// clientBy returns a client that asks by a transport of the test's own.
func clientBy(t *testing.T, change func(*Config), transport roundTripFunc) *Client {
	t.Helper()
	probed := roundTripFunc(func(request *http.Request) (*http.Response, error) {
		return answerOf(request, 404, nil, http.NoBody), nil
	})
	config := Config{
		ProbeTransport: probed, StorageProbeTransport: probed,
		Base: &url.URL{Scheme: "http", Host: "gitlab.example.com"}, Transport: transport, StorageTransport: transport,
		PublishTimeout: time.Second, HeaderTimeout: time.Hour, CheckTimeout: time.Minute,
	}
	if change != nil {
		change(&config)
	}
	client, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// uploadBy is a request with a body that is whole when it was sent.
func uploadBy(ctx context.Context, t *testing.T) (*http.Request, *Delivery) {
	t.Helper()
	delivery := new(Delivery)
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://gitlab.example.com/f", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Body = delivery.observe(io.NopCloser(&pieces{{"abc", nil}}), 3, nil)
	return request, delivery
}

func answerOf(request *http.Request, status int, header http.Header, body io.ReadCloser) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: body, Request: request, ContentLength: -1, ProtoMajor: 2}
}

func TestOnceTheAnswersHeadIsThereTheRestEndsWithTheCallerAndWithNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent context.Context
		client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
			sent = request.Context()
			_, _ = io.ReadAll(request.Body)
			return answerOf(request, 201, nil, &stepBody{Reader: strings.NewReader("")}), nil
		})
		ctx, leave := context.WithCancel(t.Context())
		request, delivery := uploadBy(ctx, t)
		response, err := client.deliver(request, Forwarding{Delivery: delivery, AwaitAnswer: func() (func(), bool) {
			t.Error("an answer that is there is waited for")
			return func() {}, true
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if sent.Err() != nil {
			t.Error("the answer's body is cut off after the time for its head")
		}
		leave()
		synctest.Wait()
		if sent.Err() == nil {
			t.Error("the request goes on when its caller has left")
		}
		_ = response.Body.Close()

		request, delivery = uploadBy(t.Context(), t)
		response, err = client.deliver(request, Forwarding{Delivery: delivery})
		if err != nil {
			t.Fatal(err)
		}
		if _ = response.Body.Close(); sent.Err() == nil {
			t.Error("the request goes on when the answer's body is closed")
		}
	})
}

func TestWhatEndsADeliveryThatIsNotAnswered(t *testing.T) {
	for name, test := range map[string]struct {
		leaves, awaits bool
		want           error
		after          time.Duration
	}{
		"the time is over":                           {false, false, errHeaderTimeout, time.Second},
		"a caller who leaves":                        {true, false, context.Canceled, 0},
		"the time is over after the caller has left": {true, true, errHeaderTimeout, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				var sent context.Context
				client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
					sent = request.Context()
					_, _ = io.ReadAll(request.Body)
					if test.leaves {
						leave()
					}
					<-request.Context().Done()
					return nil, request.Context().Err()
				})
				released := 0
				request, delivery := uploadBy(ctx, t)
				how := Forwarding{Delivery: delivery}
				if test.awaits {
					how.AwaitAnswer = func() (func(), bool) { return func() { released++ }, true }
				}
				begun := time.Now()
				_, err := client.deliver(request, how) //nolint:bodyclose // there is none
				if !errors.Is(err, test.want) || time.Since(begun) != test.after || sent.Err() == nil {
					t.Errorf("after %v: %v", time.Since(begun), err)
				}
				if test.awaits != (released == 1) {
					t.Errorf("released %d times", released)
				}
			})
		})
	}
}

func TestADeliveryThatFailsLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent context.Context
		failed := errors.New("connection reset")
		client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
			sent = request.Context()
			return nil, failed
		})
		request, delivery := uploadBy(t.Context(), t)
		if _, err := client.deliver(request, Forwarding{Delivery: delivery}); !errors.Is(err, failed) || sent.Err() == nil { //nolint:bodyclose // there is none
			t.Errorf("%v; the context has ended: %v", err, sent.Err())
		}
	})
}

func TestWhichRequestsGetTheEdgesExpectation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := clientBy(t, nil, nil)
		upload := func() *http.Request {
			return &http.Request{Method: http.MethodPut, Body: io.NopCloser(strings.NewReader("x")), ContentLength: 1, Header: http.Header{}}
		}
		for name, test := range map[string]struct {
			change func(*http.Request)
			want   bool
		}{
			"an upload":                {func(*http.Request) {}, true},
			"of unknown length":        {func(r *http.Request) { r.ContentLength = -1 }, true},
			"another method":           {func(r *http.Request) { r.Method = http.MethodPost }, false},
			"no body":                  {func(r *http.Request) { r.Body = http.NoBody }, false},
			"an empty one":             {func(r *http.Request) { r.ContentLength = 0 }, false},
			"an expectation of theirs": {func(r *http.Request) { r.Header.Set("Expect", "100-continue") }, false},
			"a 417 within an hour":     {func(*http.Request) { client.refusesExpect.Store(time.Now().UnixNano() + 1) }, false},
			"a 417 an hour ago":        {func(*http.Request) { client.refusesExpect.Store(time.Now().UnixNano()) }, true},
		} {
			client.refusesExpect.Store(0)
			request := upload()
			test.change(request)
			if got := client.addsExpectation(request); got != test.want {
				t.Errorf("%s: %v", name, got)
			}
		}
	})
}

// written is a response that keeps the statuses that were written.
type written struct {
	header   http.Header
	statuses []int
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) Write(p []byte) (int, error) { return len(p), nil }
func (w *written) WriteHeader(status int)      { w.statuses = append(w.statuses, status) }

func TestTheSitesHeadersAreThereInTheLastAnswerOnce(t *testing.T) {
	for _, last := range []int{http.StatusSwitchingProtocols, http.StatusOK, http.StatusCreated} {
		for _, drops := range []bool{false, true} {
			w := &written{header: http.Header{}}
			informed := &informing{ResponseWriter: w, dropsContinue: drops, before: http.Header{"X-Site": {"yes"}}}
			informed.WriteHeader(http.StatusContinue)
			informed.WriteHeader(http.StatusEarlyHints)
			if len(w.header) != 0 {
				t.Errorf("%v come back too early", w.header)
			}
			informed.WriteHeader(last)
			first := len(w.header["X-Site"])
			informed.restore()
			if got := w.header["X-Site"]; first != 1 || len(got) != 1 || len(w.statuses) != map[bool]int{false: 3, true: 2}[drops] || w.statuses[len(w.statuses)-1] != last {
				t.Errorf("%d, drops %v: %v, %v", last, drops, got, w.statuses)
			}
		}
	}
}

func TestABodyThatA100HasAskedForIsSentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
			httptrace.ContextClientTrace(request.Context()).Got100Continue()
			if got, err := io.ReadAll(request.Body); string(got) != "abc" || err != nil || !time.Now().Equal(begun) {
				t.Errorf("after %v: %q, %v", time.Since(begun), got, err)
			}
			return answerOf(request, 201, nil, http.NoBody), nil
		})
		request, _ := uploadBy(t.Context(), t)
		if _, err := client.sendExpecting(request); err != nil { //nolint:bodyclose // there is none
			t.Error(err)
		}
	})
}

func TestABodyThatNoAnswerForbidsIsSentAfterTheGraceOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		body := &untouchedBody{ReadCloser: io.NopCloser(&pieces{{"a", nil}, {"b", nil}}), grace: time.Second, answered: make(chan struct{}), closed: make(chan struct{})}
		if got, err := io.ReadAll(body); string(got) != "ab" || err != nil || time.Since(begun) != time.Second {
			t.Errorf("after %v: %q, %v", time.Since(begun), got, err)
		}
		if body.takeBack() {
			t.Error("a body that was read is taken back")
		}
	})
}

func TestABodyThatIsTakenBackIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := &untouchedBody{ReadCloser: io.NopCloser(&pieces{{"a", nil}}), grace: time.Second, answered: make(chan struct{}), closed: make(chan struct{})}
		if !body.takeBack() {
			t.Error("it can't be taken back")
		}
		if n, err := body.Read(make([]byte, 8)); n != 0 || !errors.Is(err, errTakenBack) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// TestABodyThatIsAnsweredWaitsForTheAnswersEnd: net/http would cut the answer at the body's error.
func TestABodyThatIsAnsweredWaitsForTheAnswersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := &untouchedBody{ReadCloser: io.NopCloser(&pieces{{"a", nil}}), grace: time.Second, answered: make(chan struct{}), closed: make(chan struct{})}
		close(body.answered)
		read := make(chan error, 1)
		go func() { // ends with the answer's body
			_, err := body.Read(make([]byte, 8))
			read <- err
		}()
		time.Sleep(time.Minute)
		select {
		case err := <-read:
			t.Errorf("it doesn't wait: %v", err)
		default:
		}
		close(body.closed)
		if err := <-read; !errors.Is(err, errTakenBack) {
			t.Error(err)
		}
	})
}

func TestAnErrorInPlaceOfAnAnswerEndsTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan error, 1)
		client := clientBy(t, nil, func(request *http.Request) (*http.Response, error) {
			go func() { // ends with the error
				_, err := request.Body.Read(make([]byte, 8))
				read <- err
			}()
			return nil, errors.New("connection reset")
		})
		request, _ := uploadBy(t.Context(), t)
		if _, err := client.sendExpecting(request); err == nil { //nolint:bodyclose // there is none
			t.Error("no error")
		}
		if err := <-read; !errors.Is(err, errTakenBack) {
			t.Error(err)
		}
	})
}
