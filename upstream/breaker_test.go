package upstream_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// reply is what a scripted server does: it answers, fails, or hangs.
type reply struct {
	status int
	header http.Header
	err    error
	hangs  bool
}

var (
	fails = reply{err: errors.New("connection refused")}
	hangs = reply{hangs: true}
	aFile = reply{status: http.StatusOK, header: http.Header{"X-Checksum-Sha256": {strings.Repeat("a", 64)}}}
)

func status(code int) reply { return reply{status: code} }

// scripted is a server that replies the same to all, but to probes, and counts how often it was asked.
type scripted struct {
	mu             sync.Mutex
	asked, probed  int
	reply, toProbe reply
}

func isProbe(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/api/v4/projects/0/packages/generic/probe/0.0.0/probe") || r.URL.Path == "/"
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	reply := s.reply
	if isProbe(r) {
		reply = s.toProbe
		s.probed++
	} else {
		s.asked++
	}
	s.mu.Unlock()
	if reply.hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if reply.err != nil {
		return nil, reply.err
	}
	header := reply.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: reply.status, Status: http.StatusText(reply.status), ProtoMajor: 1, Header: header, Body: http.NoBody, Request: r}, nil
}

// from has the server reply so from now on, to probes too, and count anew.
func (s *scripted) from(reply reply) { s.both(reply, reply) }

// both has the server reply so, and otherwise to probes.
func (s *scripted) both(reply, toProbe reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply, s.toProbe, s.asked, s.probed = reply, toProbe, 0, 0
}

func (s *scripted) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *scripted) probes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probed
}

// watched is a client whose GitLab and storage are scripted, and what its breakers told. It must be made in a bubble of
// synctest, which ends with the test's goroutine: the breakers' end with leave.
type watched struct {
	*upstream.Client
	gitlab, storage *scripted
	mu              sync.Mutex
	told            []string
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{gitlab: new(scripted), storage: new(scripted)}
	base := &url.URL{Scheme: "https", Host: "gitlab.example.com"}
	client, err := upstream.NewClient(upstream.Config{Base: base, Transport: w.gitlab, StorageTransport: w.storage})
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(context.Background())
	t.Cleanup(leave)
	client.UseBreakers(upstream.NewBreakers(upstream.BreakerConfig{
		OnChange: func(server string, up bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, server+map[bool]string{true: " up", false: " down"}[up])
		},
		Background: func(run func(context.Context)) bool {
			go run(ctx)
			return true
		},
	}))
	w.Client = client
	return w
}

// wellKnown is watch, of a GitLab that has answered a question, and its probe.
func wellKnown(t *testing.T) *watched {
	t.Helper()
	w := watch(t)
	w.gitlab.both(aFile, status(401))
	if verdict, err := w.ask(); verdict != upstream.Allowed {
		t.Fatalf("%v, %v", verdict, err)
	}
	synctest.Wait()
	if w.gitlab.probes() != 1 {
		t.Fatalf("probed %d times after the first answer", w.gitlab.probes())
	}
	time.Sleep(2 * time.Second) // so that the probe may be sent again
	return w
}

func (w *watched) ask() (upstream.Verdict, error) {
	answer := w.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Follow: true, Granted: true})
	synctest.Wait()
	if answer.Err == nil {
		return answer.Verdict, nil
	}
	return answer.Verdict, answer.Err
}

func (w *watched) fetch() error {
	_, err := w.Fetch(context.Background(), callerWith(token), ref)
	synctest.Wait()
	return err
}

func (w *watched) tellings() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}

// isOpen asks once more and reports whether nobody was asked.
func (w *watched) isOpen() bool {
	before := w.gitlab.times()
	_, err := w.ask()
	return errors.Is(err, upstream.ErrNotAsked) && w.gitlab.times() == before
}

func TestADeadGitLabIsNotAskedForSomeSecondsAndItsRecoveryIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wellKnown(t)
		w.gitlab.from(fails)
		for range 2 {
			if verdict, err := w.ask(); verdict != upstream.Unreachable || errors.Is(err, upstream.ErrNotAsked) {
				t.Fatalf("%v, %v", verdict, err)
			}
		}
		for range 100 {
			verdict, err := w.ask()
			var unreachable *upstream.UnreachableError
			if verdict != upstream.Unreachable || !errors.Is(err, upstream.ErrNotAsked) || !errors.As(err, &unreachable) ||
				unreachable.Status != http.StatusServiceUnavailable || unreachable.RetryAfter != "5" || !unreachable.Trouble.IsOutage() {
				t.Fatalf("%v, %#v", verdict, err)
			}
		}
		if err := w.fetch(); !errors.Is(err, upstream.ErrNotAsked) {
			t.Errorf("a fetch: %v", err)
		}
		if w.gitlab.times() != 2 || w.gitlab.probes() != 1 {
			t.Errorf("asked %d times, probed %d times", w.gitlab.times(), w.gitlab.probes())
		}

		time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
		if verdict, err := w.ask(); verdict != upstream.Unreachable || errors.Is(err, upstream.ErrNotAsked) {
			t.Errorf("after the pause nobody is asked: %v, %v", verdict, err)
		}
		if !w.isOpen() {
			t.Error("a second one is asked while it is down")
		}
		w.gitlab.both(aFile, status(401))
		time.Sleep(2*upstream.DefaultBreakerPause + time.Millisecond)
		for range 3 {
			if verdict, err := w.ask(); verdict != upstream.Allowed {
				t.Errorf("it is back: %v, %v", verdict, err)
			}
		}
		if told := w.tellings(); !slices.Equal(told, []string{"gitlab down", "gitlab up"}) {
			t.Errorf("told %q", told)
		}
	})
}

// TestOnlyTheProbeOpensTheBreaker has every question and fetch fail in every way while the probe is answered: one bad file,
// or many, end nobody's questions, and cost GitLab one probe a second at most.
func TestOnlyTheProbeOpensTheBreaker(t *testing.T) {
	for name, trouble := range map[string]reply{
		"network": fails, "502": status(502), "503": status(503), "504": status(504), "522": status(522), "500": status(500),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := wellKnown(t)
				w.gitlab.both(trouble, status(401))
				for range 50 {
					_, _ = w.ask()
					_ = w.fetch()
					time.Sleep(100 * time.Millisecond)
				}
				if w.gitlab.times() != 100 || w.isOpen() {
					t.Errorf("asked %d times", w.gitlab.times())
				}
				if w.gitlab.probes() > 6 {
					t.Errorf("probed %d times in five seconds", w.gitlab.probes())
				}
			})
		})
	}
}

func TestOnlyTwoFailuresInARowStartTheProbe(t *testing.T) {
	gone, leave := context.WithCancel(context.Background())
	leave()
	for name, test := range map[string]struct {
		answer reply
		ctx    context.Context
		opens  bool
	}{
		"network":       {fails, context.Background(), true},
		"502":           {status(502), context.Background(), true},
		"503":           {status(503), context.Background(), true},
		"504":           {status(504), context.Background(), true},
		"522":           {status(522), context.Background(), true},
		"500":           {status(500), context.Background(), false},
		"501":           {status(501), context.Background(), false},
		"401":           {status(401), context.Background(), false},
		"404":           {status(404), context.Background(), false},
		"429":           {status(429), context.Background(), false},
		"log-in page":   {reply{status: 200, header: http.Header{"Content-Type": {"text/html"}}}, context.Background(), false},
		"caller leaves": {hangs, gone, false},
		"headers that are more than HTTP/2 takes": {
			reply{err: errors.New("http2: request header list larger than peer's advertised limit")}, context.Background(), false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := wellKnown(t)
				w.gitlab.both(test.answer, fails)
				for range 10 {
					w.Check(test.ctx, upstream.Question{Caller: callerWith(token), Ref: ref, Granted: true})
					synctest.Wait()
					if test.opens {
						break // the next one is isOpen's
					}
				}
				if w.isOpen() {
					t.Error("one failure has opened it")
				}
				if open := w.isOpen(); open != test.opens {
					t.Errorf("after another, it is open: %v", open)
				}
			})
		})
	}
}

func TestASilentRequestStartsTheProbeAfterThreeSecondsAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wellKnown(t)
		w.gitlab.from(hangs)
		begun := time.Now()
		slow := make(chan time.Duration)
		go func() { // ends with the fetch
			_, _ = w.Fetch(context.Background(), callerWith(token), ref)
			slow <- time.Since(begun)
		}()
		time.Sleep(2900 * time.Millisecond)
		if w.gitlab.probes() != 0 {
			t.Error("probed before three seconds of silence")
		}
		time.Sleep(3200 * time.Millisecond) // silence, and the probe's
		if !w.isOpen() {
			t.Error("GitLab is still asked")
		}
		if took := <-slow; took != upstream.DefaultHeaderTimeout {
			t.Errorf("the silent fetch took %v", took)
		}
	})
}

func TestASilenceThatEndsInAnAnswerOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wellKnown(t)
		w.gitlab.both(aFile, hangs)
		// The probe is on its way, and GitLab answers somebody else meanwhile: that is the newer evidence.
		w.gitlab.both(hangs, hangs)
		go func() { _ = w.fetch() }() // ends with its time-out
		time.Sleep(3500 * time.Millisecond)
		w.gitlab.both(aFile, hangs)
		_, _ = w.ask()
		time.Sleep(3 * time.Second)
		if w.isOpen() {
			t.Error("the breaker has opened")
		}
		time.Sleep(time.Minute)
	})
}

// TestAProbeThatWasNeverAnsweredIsNotBelieved has something in front of GitLab that always fails the probe. To find that out
// costs a request a minute.
func TestAProbeThatWasNeverAnsweredIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		for _, answer := range []reply{aFile, status(502)} {
			w.gitlab.both(answer, status(502))
			for range 120 {
				_, _ = w.ask()
				time.Sleep(time.Second)
			}
			if w.isOpen() || w.gitlab.probes() < 2 || w.gitlab.probes() > 3 {
				t.Errorf("probed %d times in two minutes, told %q", w.gitlab.probes(), w.tellings())
			}
		}
	})
}

func TestEachPauseIsTwiceAsLongUpToAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wellKnown(t)
		w.gitlab.from(fails)
		_, _ = w.ask()
		_, _ = w.ask()
		for _, seconds := range []int{5, 10, 20, 40, 60, 60} {
			w.gitlab.from(fails)
			time.Sleep(time.Duration(seconds)*time.Second - time.Millisecond)
			if w.gitlab.probes() != 0 {
				t.Errorf("probed before %d s", seconds)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if w.gitlab.probes() != 1 {
				t.Errorf("probed %d times after %d s", w.gitlab.probes(), seconds)
			}
		}
	})
}

// TestEitherTheProbeOrOneQuestionClosesTheBreaker lets GitLab answer one of them alone.
func TestEitherTheProbeOrOneQuestionClosesTheBreaker(t *testing.T) {
	for name, back := range map[string][2]reply{"the probe": {fails, status(401)}, "a question": {aFile, fails}, "a no": {status(403), fails}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := wellKnown(t)
				w.gitlab.from(fails)
				_, _ = w.ask()
				_, _ = w.ask()
				if !w.isOpen() {
					t.Fatal("it isn't open")
				}
				w.gitlab.both(back[0], back[1])
				time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
				_, _ = w.ask()
				if w.isOpen() {
					t.Error("it stays open")
				}
			})
		})
	}
}

// TestACallersOwnRequestIsNeverTheOneThatTries forwards requests, held open and failing, while GitLab is down: none counts
// as a failure, none is sent in place of a question.
func TestACallersOwnRequestIsNeverTheOneThatTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wellKnown(t)
		forward := func(method string) error {
			r := httptest.NewRequest(method, "https://edge.example.com/x", strings.NewReader("bytes"))
			return w.Forward(httptest.NewRecorder(), r, upstream.Forwarding{Caller: callerWith(token), Path: ref.EscapedPath()})
		}
		w.gitlab.from(fails)
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost} {
			for range 10 {
				_ = forward(method)
			}
		}
		synctest.Wait()
		if w.gitlab.times() != 30 || w.gitlab.probes() != 0 {
			t.Errorf("forwarded %d times, probed %d times", w.gitlab.times(), w.gitlab.probes())
		}
		_, _ = w.ask()
		_, _ = w.ask()
		time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
		before := w.gitlab.times()
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			var unreachable *upstream.UnreachableError
			if err := forward(method); !errors.As(err, &unreachable) || unreachable.Trouble != upstream.TroubleNotAsked {
				t.Errorf("%s: %v", method, err)
			}
		}
		if w.gitlab.times() != before {
			t.Error("a caller's request was sent to see whether GitLab is back")
		}
		if _, err := w.ask(); errors.Is(err, upstream.ErrNotAsked) {
			t.Error("and no question could be")
		}
	})
}

func TestAStorageThatIsDownEndsNoQuestionsToGitLabNorToOtherStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wellKnown(t)
		at := func(host string) reply {
			return reply{status: http.StatusFound, header: http.Header{"Location": {"https://" + host + "/key?X-Amz-Signature=1"}}}
		}
		for _, host := range []string{"storage.example.com", "other.example.com"} {
			w.gitlab.both(at(host), status(401))
			w.storage.both(aFile, status(403))
			if err := w.fetch(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		w.gitlab.both(at("storage.example.com"), status(401))
		w.storage.from(fails)
		for range 10 {
			_ = w.fetch()
		}
		if w.gitlab.times() != 10 || w.storage.times() != 2 {
			t.Errorf("GitLab was asked %d times, its storage %d times", w.gitlab.times(), w.storage.times())
		}
		w.gitlab.both(at("other.example.com"), status(401))
		w.storage.both(aFile, fails)
		if err := w.fetch(); err != nil {
			t.Errorf("another storage: %v", err)
		}
		if told := w.tellings(); !slices.Equal(told, []string{"object storage down"}) {
			t.Errorf("told %q", told)
		}
	})
}

// TestACallersOwnRequestTellsNothingOfItsStorage forwards downloads whose storage fails, and then has the storage be down.
func TestACallersOwnRequestTellsNothingOfItsStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wellKnown(t)
		w.gitlab.both(reply{status: http.StatusFound, header: http.Header{"Location": {"https://storage.example.com/key?X-Amz-Signature=1"}}}, status(401))
		w.storage.both(aFile, status(403))
		if err := w.fetch(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		forward := func() error {
			r := httptest.NewRequest(http.MethodGet, "https://edge.example.com/x", nil)
			return w.Forward(httptest.NewRecorder(), r, upstream.Forwarding{Caller: callerWith(token), Path: ref.EscapedPath()})
		}
		w.storage.from(fails)
		for range 10 {
			_ = forward()
		}
		synctest.Wait()
		if w.storage.times() != 10 || w.storage.probes() != 0 {
			t.Errorf("forwarded %d times, probed %d times", w.storage.times(), w.storage.probes())
		}
		_, _ = w.fetch(), w.fetch()
		time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
		asked := w.storage.times()
		if err := forward(); !errors.Is(err, upstream.ErrNotAsked) || w.storage.times() != asked {
			t.Errorf("a caller's request is sent to see whether the storage is back: %v", err)
		}
		if err := w.fetch(); errors.Is(err, upstream.ErrNotAsked) {
			t.Error("and no fetch could be")
		}
	})
}
