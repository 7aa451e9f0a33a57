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

// scripted is a server that replies the same to all and counts how often it was asked.
type scripted struct {
	mu    sync.Mutex
	asked int
	reply reply
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked++
	reply := s.reply
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

// from has the server reply so from now on, and count anew.
func (s *scripted) from(reply reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply, s.asked = reply, 0
}

func (s *scripted) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// watched is a client whose GitLab and storage are scripted, and what its breakers told.
func watched(t *testing.T) (client *upstream.Client, gitlab, storage *scripted, told *[]string) {
	t.Helper()
	gitlab, storage, told = new(scripted), new(scripted), new([]string)
	base := &url.URL{Scheme: "https", Host: "gitlab.example.com"}
	client, err := upstream.NewClient(upstream.Config{Base: base, Transport: gitlab, StorageTransport: storage})
	if err != nil {
		t.Fatal(err)
	}
	client.UseBreakers(upstream.NewBreakers(upstream.DefaultBreakerPause, func(server string, up bool) {
		*told = append(*told, server+map[bool]string{true: " up", false: " down"}[up])
	}))
	return client, gitlab, storage, told
}

func verdictOf(client *upstream.Client) (upstream.Verdict, error) {
	answer := client.Check(context.Background(), callerWith(token), ref, true)
	if answer.Err == nil {
		return answer.Verdict, nil
	}
	return answer.Verdict, answer.Err
}

func TestADeadGitLabIsNotAskedForSomeSecondsAndItsRecoveryIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, gitlab, _, told := watched(t)
		gitlab.from(fails)
		for range 3 {
			if verdict, err := verdictOf(client); verdict != upstream.Unreachable || errors.Is(err, upstream.ErrNotAsked) {
				t.Fatalf("%v, %v", verdict, err)
			}
		}
		for range 100 {
			verdict, err := verdictOf(client)
			var unreachable *upstream.UnreachableError
			if verdict != upstream.Unreachable || !errors.Is(err, upstream.ErrNotAsked) || !errors.As(err, &unreachable) ||
				unreachable.Status != http.StatusServiceUnavailable || unreachable.RetryAfter != "5" {
				t.Fatalf("%v, %#v", verdict, err)
			}
		}
		if _, err := client.Fetch(context.Background(), callerWith(token), ref); !errors.Is(err, upstream.ErrNotAsked) {
			t.Errorf("a fetch: %v", err)
		}
		if gitlab.times() != 3 {
			t.Errorf("asked %d times", gitlab.times())
		}

		time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
		if verdict, err := verdictOf(client); verdict != upstream.Unreachable || errors.Is(err, upstream.ErrNotAsked) {
			t.Errorf("after the pause nobody is asked: %v, %v", verdict, err)
		}
		if _, err := verdictOf(client); !errors.Is(err, upstream.ErrNotAsked) {
			t.Errorf("a second one is asked while it is down: %v", err)
		}
		gitlab.from(aFile)
		time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
		for range 3 {
			if verdict, err := verdictOf(client); verdict != upstream.Allowed {
				t.Errorf("it is back: %v, %v", verdict, err)
			}
		}
		if !slices.Equal(*told, []string{"gitlab down", "gitlab up"}) {
			t.Errorf("told %q", *told)
		}
	})
}

func TestAHangingGitLabCostsFewCallersItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, gitlab, _, _ := watched(t)
		gitlab.from(hangs)
		begun := time.Now()
		for range 3 {
			_, _ = verdictOf(client)
		}
		if took := time.Since(begun); took != 3*upstream.DefaultCheckTimeout {
			t.Errorf("three checks took %v", took)
		}
		begun = time.Now()
		for range 100 {
			_, _ = verdictOf(client)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("further ones took %v", took)
		}
		// Who asks whether it is back doesn't wait longer than a check, and nobody waits with them.
		time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
		begun = time.Now()
		probe := make(chan time.Duration)
		go func() { // ends with the probe
			_, _ = client.Fetch(context.Background(), callerWith(token), ref)
			probe <- time.Since(begun)
		}()
		synctest.Wait()
		if _, err := verdictOf(client); !errors.Is(err, upstream.ErrNotAsked) || time.Since(begun) != 0 {
			t.Errorf("another waits %v beside the probe: %v", time.Since(begun), err)
		}
		if took := <-probe; took > 10*time.Second {
			t.Errorf("the probe took %v", took)
		}
	})
}

func TestOnlyWhatSaysThatAServerIsDownOpensItsBreaker(t *testing.T) {
	gone, leave := context.WithCancel(context.Background())
	leave()
	for name, test := range map[string]struct {
		answer reply
		ctx    context.Context
		open   bool
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
	} {
		t.Run(name, func(t *testing.T) {
			client, gitlab, _, _ := watched(t)
			gitlab.from(test.answer)
			for range 10 {
				client.Check(test.ctx, callerWith(token), ref, true)
			}
			gitlab.from(aFile)
			_, err := verdictOf(client)
			if errors.Is(err, upstream.ErrNotAsked) != test.open {
				t.Errorf("then: %v", err)
			}
		})
	}
}

func TestAStorageThatIsDownEndsNoQuestionsToGitLab(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, gitlab, storage, told := watched(t)
		gitlab.from(reply{status: http.StatusFound, header: http.Header{"Location": {"https://storage.example.com/key?X-Amz-Signature=1"}}})
		storage.from(fails)
		for range 10 {
			_, _ = client.Fetch(context.Background(), callerWith(token), ref)
		}
		if gitlab.times() != 10 || storage.times() != 3 {
			t.Errorf("GitLab was asked %d times, its storage %d times", gitlab.times(), storage.times())
		}
		if !slices.Equal(*told, []string{"object storage down"}) {
			t.Errorf("told %q", *told)
		}
	})
}

func TestUploadsAreNotBegunWhileGitLabIsDownAndGoOnWhileItIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, gitlab, _, _ := watched(t)
		gitlab.from(fails)
		for range 3 {
			_, _ = verdictOf(client)
		}
		upload := func() error {
			r := httptest.NewRequest(http.MethodPut, "https://edge.example.com/x", strings.NewReader("bytes"))
			return client.Forward(httptest.NewRecorder(), r, upstream.Forwarding{Caller: callerWith(token), Path: ref.EscapedPath()})
		}
		if err := upload(); !errors.Is(err, upstream.ErrNotAsked) || gitlab.times() != 3 {
			t.Errorf("%v, asked %d times", err, gitlab.times())
		}
		time.Sleep(upstream.DefaultBreakerPause + time.Millisecond)
		gitlab.from(status(http.StatusCreated))
		for range 3 {
			if err := upload(); err != nil || gitlab.times() == 0 {
				t.Errorf("%v, asked %d times", err, gitlab.times())
			}
		}
	})
}
