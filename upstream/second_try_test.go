package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// never is longer than any test waits.
const never = 10 * time.Minute

// crowd is a GitLab behind a relay, reached by connections of which some can be dead.
type crowd struct {
	t      *testing.T
	client *upstream.Client
	relay  *gitlabtest.Relay
	// asked counts the requests that have reached GitLab, puts the uploads among them.
	asked, puts atomic.Int64
	// gate, if set, is waited for by requests before they are answered.
	gate atomic.Pointer[gate]
	// starting has its front answer 503.
	starting atomic.Bool
	http2    bool
}

// gate holds requests until it is open. Those beyond the first left are never answered.
type gate struct {
	open chan struct{}
	left atomic.Int64
}

// protocol is how a crowd's GitLab is spoken to.
type protocol struct {
	name  string
	http2 bool
}

var protocols = []protocol{{"HTTP/1.1", false}, {"HTTP/2", true}}

// newCrowd starts a GitLab. change may change how its connections are doubted.
func newCrowd(t *testing.T, p protocol, change func(*upstream.ConnectionsConfig)) *crowd {
	t.Helper()
	c := &crowd{t: t, http2: p.http2}
	server := httptest.NewUnstartedServer(http.HandlerFunc(c.answer))
	template := &http.Transport{}
	if p.http2 {
		server.EnableHTTP2 = true
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // dials that nobody needed any more
		server.StartTLS()
		authorities := x509.NewCertPool()
		authorities.AddCert(server.Certificate())
		template.TLSClientConfig = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
		template.ForceAttemptHTTP2 = true
	} else {
		server.Start()
	}
	c.relay = gitlabtest.NewRelay(server.URL)
	config := upstream.ConnectionsConfig{Transport: template, Silence: 50 * time.Millisecond, Pause: never, Freshness: time.Nanosecond}
	if change != nil {
		change(&config)
	}
	connections, err := upstream.NewConnections(config)
	if err != nil {
		t.Fatal(err)
	}
	c.client = newClient(t, c.relay.URL, func(c *upstream.Config) {
		c.Transport, c.StorageTransport = connections, connections
		c.HeaderTimeout, c.CheckTimeout = never, never
		c.ProbeTransport = allIsWell{}
	}, closing(connections.CloseIdleConnections), c.relay, closing(server.CloseClientConnections), server)
	return c
}

// allIsWell answers probes, so that they don't count among a relay's connections.
type allIsWell struct{}

func (allIsWell) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
}

// closing makes a server of a function that closes something.
type closing func()

func (c closing) Close() { c() }

func (c *crowd) answer(w http.ResponseWriter, r *http.Request) {
	c.asked.Add(1)
	if c.starting.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Method == http.MethodPut {
		c.puts.Add(1)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	if gate := c.gate.Load(); gate != nil {
		open := gate.open
		if gate.left.Add(-1) < 0 {
			open = nil
		}
		select {
		case <-open:
		case <-r.Context().Done():
			return
		}
	}
	serveFile(w, r)
}

// serveFile answers by a file of three bytes, or the part of it that is asked for: then the connection serves again.
func serveFile(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Disposition", `attachment; filename="app.bin"`)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader("xyz"))
}

// shut has GitLab answer nothing until open is called, and then the first requests alone.
func (c *crowd) shut(first int) (open func()) {
	shut := &gate{open: make(chan struct{})}
	shut.left.Store(int64(first))
	c.gate.Store(shut)
	return func() {
		c.gate.Store(nil)
		close(shut.open)
	}
}

// warm makes n connections that have answered, as far as the protocol has more than one.
func (c *crowd) warm(n int) {
	c.t.Helper()
	if c.http2 {
		n = 1
	}
	before := c.asked.Load()
	open := c.shut(n)
	answers := c.ask(n)
	await(c.t, func() bool { return c.asked.Load() == before+int64(n) })
	open()
	c.allowed(answers, n)
}

// ask asks n questions at a time.
func (c *crowd) ask(n int) <-chan upstream.Answer {
	answers := make(chan upstream.Answer, n)
	for range n {
		go func() { answers <- ask(c.client) }() // ends with the answer
	}
	return answers
}

// allowed waits for n answers, all of which must be a yes.
func (c *crowd) allowed(answers <-chan upstream.Answer, n int) {
	c.t.Helper()
	for range n {
		if answer := <-answers; answer.Verdict != upstream.Allowed {
			c.t.Errorf("%+v", answer)
		}
	}
}

// await waits until something has happened.
func await(t *testing.T, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never happened")
		}
	}
}

func TestDeadConnectionsCostNoErrors(t *testing.T) {
	for _, p := range protocols {
		for _, atOnce := range []bool{false, true} {
			t.Run(fmt.Sprint(p.name, ", at once: ", atOnce), func(t *testing.T) {
				c := newCrowd(t, p, nil)
				c.warm(3)
				c.relay.Kill()
				before := c.asked.Load()
				if atOnce {
					c.allowed(c.ask(3), 3)
				} else {
					for range 3 {
						c.allowed(c.ask(1), 1)
					}
				}
				if n := c.asked.Load() - before; n != 3 {
					t.Errorf("3 questions reached GitLab %d times", n)
				}
			})
		}
	}
}

// TestADeadConnectionEndsAllOlderOnes counts connections: were another dead one asked, it would cost one more.
func TestADeadConnectionEndsAllOlderOnes(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			c := newCrowd(t, p, nil)
			c.warm(3)
			c.relay.Kill()
			before := c.relay.Accepted()
			for range 6 {
				c.allowed(c.ask(1), 1)
			}
			if n := c.relay.Accepted() - before; n != 2 {
				t.Errorf("%d connections, not one for the second try and one for all others", n)
			}
		})
	}
}

func TestASlowGitLabIsAskedTwiceOnceAPause(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			c := newCrowd(t, p, nil)
			c.warm(3)
			before := c.asked.Load()
			open := c.shut(3)
			answers := c.ask(3)
			await(t, func() bool { return c.asked.Load() == before+4 })
			open()
			c.allowed(answers, 3)
			open = c.shut(3)
			answers = c.ask(3)
			await(t, func() bool { return c.asked.Load() == before+7 })
			time.Sleep(200 * time.Millisecond) // for the tries that must not come
			if n := c.asked.Load() - before; n != 7 {
				t.Errorf("6 questions reached a slow GitLab %d times", n)
			}
			open()
			c.allowed(answers, 3)
		})
	}
}

// TestTheFirstAnswerCounts lets the old connection answer while the second try waits.
func TestTheFirstAnswerCounts(t *testing.T) {
	first := make(chan struct{})
	var asked, left atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer serveFile(w, r)
		switch asked.Add(1) {
		case 2:
			w.Header().Set("Etag", `"first"`)
			select {
			case <-first:
			case <-r.Context().Done():
			}
		case 3:
			close(first)
			<-r.Context().Done()
			left.Add(1)
		}
	}))
	connections, err := upstream.NewConnections(upstream.ConnectionsConfig{Transport: &http.Transport{}, Silence: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, server.URL, func(c *upstream.Config) {
		c.Transport, c.ProbeTransport = connections, allIsWell{}
	}, closing(connections.CloseIdleConnections), server)
	for range 2 {
		answer := ask(client)
		if answer.Verdict != upstream.Allowed {
			t.Fatalf("%+v", answer)
		}
		if asked.Load() > 1 && answer.Identity.ETag != `"first"` {
			t.Errorf("got %+v", answer.Identity)
		}
	}
	await(t, func() bool { return left.Load() == 1 })
}

// TestTheSecondAnswerIsWhole fetches a file on a dead connection.
func TestTheSecondAnswerIsWhole(t *testing.T) {
	for _, mode := range []gitlabtest.Mode{gitlabtest.LocalDisk, gitlabtest.Redirect} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			body := strings.Repeat("0123456789abcdef", 64<<10)
			gitlab := newGitLab(t)
			gitlab.SetMode(mode)
			gitlab.Publish(24, "pkg", "1.0.0", "app.bin", []byte(body))
			relay := gitlabtest.NewRelay(gitlab.URL)
			connections, err := upstream.NewConnections(upstream.ConnectionsConfig{Transport: &http.Transport{}, Silence: 20 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			client := newClient(t, relay.URL, func(c *upstream.Config) {
				c.Transport, c.StorageTransport = connections, connections
			}, closing(connections.CloseIdleConnections), relay, gitlab)
			for range 3 {
				download, err := client.Fetch(context.Background(), callerWith(token), ref)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(download)
				if err != nil || string(got) != body || download.Resumed != 0 {
					t.Errorf("%d bytes, %v, resumed %d times", len(got), err, download.Resumed)
				}
				_ = download.Close()
				relay.Kill()
			}
		})
	}
}

func TestADeadConnectionToTheStorageIsFoundOut(t *testing.T) {
	storage := httptest.NewServer(http.HandlerFunc(serveFile))
	relay := gitlabtest.NewRelay(storage.URL)
	gitlab := httptest.NewServer(answerWith(302, "Location", relay.URL+"/x?X-Amz-Signature=a"))
	var all [2]*upstream.Connections
	for i := range all {
		connections, err := upstream.NewConnections(upstream.ConnectionsConfig{Transport: &http.Transport{}, Silence: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		all[i] = connections
	}
	client := newClient(t, gitlab.URL, func(c *upstream.Config) {
		c.Transport, c.StorageTransport = all[0], all[1]
	}, closing(all[0].CloseIdleConnections), closing(all[1].CloseIdleConnections), relay, gitlab, storage)
	for range 3 {
		answer := client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Follow: true})
		if answer.Verdict != upstream.Allowed || answer.Unproven {
			t.Fatalf("%+v", answer)
		}
		relay.Kill()
	}
}

func TestAnUploadIsNotSentOnADeadConnection(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			// No second try: it would find the dead connections out.
			c := newCrowd(t, p, func(config *upstream.ConnectionsConfig) { config.Silence = never })
			c.warm(3)
			c.relay.Kill()
			stuck, leave := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() { // ends with its caller
				defer close(ended)
				c.client.Check(stuck, upstream.Question{Caller: callerWith(token), Ref: ref})
			}()
			for range 3 {
				if _, err := put(c.client, context.Background(), strings.NewReader("bytes"), upstream.Forwarding{}); err != nil {
					t.Fatal(err)
				}
				c.relay.Kill()
			}
			if c.puts.Load() != 3 {
				t.Errorf("%d uploads have reached GitLab", c.puts.Load())
			}
			leave()
			<-ended
		})
	}
}

// TestForwardedDownloadsLeaveTheTriesOfTheEdgesOwn has a forwarded download use up its try before a question needs one.
func TestForwardedDownloadsLeaveTheTriesOfTheEdgesOwn(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			c := newCrowd(t, p, nil)
			c.warm(1)
			c.relay.Kill()
			r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "https://edge.example.com/x", nil)
			how := upstream.Forwarding{Caller: callerWith(token), Path: ref.EscapedPath()}
			if err := c.client.Forward(httptest.NewRecorder(), r, how); err != nil {
				t.Fatal(err)
			}
			c.warm(1)
			c.relay.Kill()
			c.allowed(c.ask(1), 1)
		})
	}
}

func TestUploadsInARowShareTheirConnection(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			c := newCrowd(t, p, func(config *upstream.ConnectionsConfig) { config.Freshness = never })
			for range 5 {
				if _, err := put(c.client, context.Background(), strings.NewReader("bytes"), upstream.Forwarding{}); err != nil {
					t.Fatal(err)
				}
			}
			if n := c.relay.Accepted(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestWhoLeavesEndsBothTries has GitLab answer nobody.
func TestWhoLeavesEndsBothTries(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			c := newCrowd(t, p, nil)
			c.warm(1)
			before := c.asked.Load()
			open := c.shut(0)
			defer open()
			ctx, leave := context.WithCancel(context.Background())
			answered := make(chan upstream.Answer, 1)
			go func() { // ends with its caller
				answered <- c.client.Check(ctx, upstream.Question{Caller: callerWith(token), Ref: ref})
			}()
			await(t, func() bool { return c.asked.Load() == before+2 })
			leave()
			if answer := <-answered; answer.Verdict != upstream.Unreachable {
				t.Errorf("%+v", answer)
			}
		})
	}
}
