package upstream_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

func follow(client *upstream.Client) upstream.Answer {
	return client.Check(context.Background(), upstream.Question{Caller: callerWith(token), Ref: ref, Follow: true})
}

// storedAt has a GitLab that sends all downloads to an object storage with this answer. asked counts the storage's requests, and
// connections what they came by.
func storedAt(t *testing.T, answer http.HandlerFunc) (client *upstream.Client, asked, connections *atomic.Int64) {
	t.Helper()
	asked, connections = new(atomic.Int64), new(atomic.Int64)
	storage := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			return // the probe
		}
		asked.Add(1)
		answer(w, r)
	}))
	storage.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	storage.Start()
	gitlab := httptest.NewServer(answerWith(302, "Location", storage.URL+"/object?X-Amz-Signature=a"))
	return newClient(t, gitlab.URL, nil, gitlab, storage), asked, connections
}

func TestAnAnswerTellsItsStatusAndTheFilesDisposition(t *testing.T) {
	for status, header := range map[int][]string{
		200: {"Content-Disposition", `attachment; filename="app.bin"`}, 404: nil, 429: nil,
	} {
		server := httptest.NewServer(answerWith(status, header...))
		client := newClient(t, server.URL, nil, server)
		answer := ask(client)
		if answer.Status != status || (header != nil && answer.Disposition != header[1]) {
			t.Errorf("%d: %+v", status, answer)
		}
	}
	client, _, _ := storedAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="stored.bin"`)
		w.WriteHeader(200)
	})
	if answer := follow(client); answer.Disposition != `attachment; filename="stored.bin"` || answer.Status != 302 {
		t.Errorf("stored: %+v", answer)
	}
}

// TestALocationThatIsKnownProvesTheContentByItself: nobody asks the storage again, and what is known of the content holds.
func TestALocationThatIsKnownProvesTheContentByItself(t *testing.T) {
	client, asked, _ := storedAt(t, aStoredFile)
	first := follow(client)
	if first.Unproven || first.Identity.Location == "" || first.Identity.Length != 10 {
		t.Fatalf("%+v", first)
	}
	before := asked.Load()
	known := first.Identity
	known.SHA256 = strings.Repeat("a", 64)
	answer := client.Check(context.Background(), upstream.Question{
		Caller: callerWith(token), Ref: ref, Known: []upstream.Identity{{Location: "elsewhere", Length: 3}, known}, Follow: true,
	})
	if answer.Verdict != upstream.Allowed || answer.Unproven || answer.Identity != known || asked.Load() != before {
		t.Errorf("%+v; the storage was asked %d times more", answer, asked.Load()-before)
	}
	answer = ask(client, upstream.Identity{Location: "elsewhere", Length: 3})
	if !answer.Unproven || answer.Identity.Location != known.Location || answer.Identity.Length != -1 {
		t.Errorf("at another location: %+v", answer)
	}
}

// TestWhatTheStorageSaysOfAByteIsProofOnlyIfItIsAboutTheFile: else HEAD is asked, and decides.
func TestWhatTheStorageSaysOfAByteIsProofOnlyIfItIsAboutTheFile(t *testing.T) {
	attachment := []string{"Content-Disposition", "attachment"}
	for name, test := range map[string]struct {
		get, head http.HandlerFunc
		asked     int64
		verdict   upstream.Verdict
		length    int64
	}{
		"the byte":                     {answerWith(206, "Content-Range", "bytes 0-0/7", "Content-Length", "1"), nil, 1, upstream.Allowed, 7},
		"an empty file":                {answerWith(416, "Content-Range", "bytes */0"), nil, 1, upstream.Allowed, 0},
		"not this range":               {answerWith(416, "Content-Range", "bytes */9"), answerWith(200, "Content-Length", "9"), 2, upstream.Allowed, 9},
		"another byte":                 {answerWith(206, "Content-Range", "bytes 1-1/7"), answerWith(200, "Content-Length", "8"), 2, upstream.Allowed, 8},
		"a part of nobody knows what":  {answerWith(206, attachment...), answerWith(200, "Content-Length", "9"), 2, upstream.Allowed, 9},
		"a signature for HEAD alone":   {answerWith(403), answerWith(200, "Content-Length", "9"), 2, upstream.Allowed, 9},
		"no to its own signature":      {answerWith(403), answerWith(403), 2, upstream.Unreachable, -1},
		"a page, such as of a sign-on": {answerWith(200, "Content-Type", "text/html"), nil, 1, upstream.Refused, -1},
	} {
		t.Run(name, func(t *testing.T) {
			client, asked, _ := storedAt(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					test.head(w, r)
					return
				}
				if r.Header.Get("Range") != "bytes=0-0" {
					t.Errorf("asked for %q", r.Header.Get("Range"))
				}
				test.get(w, r)
			})
			answer := follow(client)
			if answer.Verdict != test.verdict || asked.Load() != test.asked {
				t.Errorf("%+v, asked %d times", answer, asked.Load())
			}
			if answer.Verdict == upstream.Allowed && (answer.Unproven || answer.Identity.Length != test.length) {
				t.Errorf("%+v", answer)
			}
			if answer.Verdict == upstream.Refused && (answer.No == nil || answer.No.Status != 302) {
				t.Errorf("the no is %+v", answer.No)
			}
		})
	}
}

func TestAQuestionToTheStorageLeavesItsConnectionToTheNext(t *testing.T) {
	client, asked, connections := storedAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-0/7")
		w.WriteHeader(206)
		_, _ = io.WriteString(w, "x")
	})
	const questions = 10
	for range questions {
		if answer := follow(client); answer.Identity.Length != 7 {
			t.Fatalf("%+v", answer)
		}
	}
	// The probe has one as well, and a question that finds it busy begins another, or waits for it meanwhile.
	if asked.Load() != questions || connections.Load() > 4 {
		t.Errorf("%d questions by %d connections", asked.Load(), connections.Load())
	}
}

// TestAStorageThatIgnoresRangesIsNotReadToItsEnd lets one answer a question about a byte by a file without end. The test's client
// waits for the storage's handlers, which end when their connections are closed.
func TestAStorageThatIgnoresRangesIsNotReadToItsEnd(t *testing.T) {
	client, _, _ := storedAt(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", "attachment")
		piece := make([]byte, 1<<20)
		for {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	if answer := follow(client); answer.Verdict != upstream.Allowed || answer.Unproven {
		t.Errorf("%+v", answer)
	}
}

func TestANoIsOnlyRelayedWhole(t *testing.T) {
	hangs := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(403)
		_, _ = io.WriteString(w, "a part")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	breaks := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(403)
		_, _ = io.WriteString(w, "a part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, test := range map[string]struct {
		answer    http.HandlerFunc
		relayable bool
	}{
		"its body stands still": {hangs, false}, "its body breaks off": {breaks, false}, "300": {answerWith(300), true}, "whole": {answerWith(403), true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			client := newClient(t, server.URL, func(c *upstream.Config) { c.HeaderTimeout, c.StallTimeout = 500*time.Millisecond, time.Hour }, server)
			answer := ask(client)
			if answer.Verdict != upstream.Refused || answer.No.Relayable() != test.relayable {
				t.Errorf("%+v", answer.No)
			}
		})
	}
}

// TestANoToHEADIsNotRelayedToWhoWantsItsBody has a front that ignores ranges, so that GitLab is asked by HEAD.
func TestANoToHEADIsNotRelayedToWhoWantsItsBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			answerWith(429)(w, r)
			return
		}
		w.Header().Set("Content-Disposition", "attachment")
		_, _ = io.WriteString(w, "the whole file")
	}))
	client := newClient(t, server.URL, nil, server)
	if answer := ask(client); answer.Verdict != upstream.Allowed {
		t.Fatalf("%+v", answer)
	}
	if answer := ask(client); answer.Verdict != upstream.RateLimited || answer.No.Relayable() {
		t.Errorf("%+v", answer.No)
	}
}

func TestTheClientTellsWhatItHasSeenOfGitLab(t *testing.T) {
	for _, sums := range []bool{false, true} {
		for _, mode := range []gitlabtest.Mode{gitlabtest.LocalDisk, gitlabtest.Redirect} {
			gitlab := newGitLab(t)
			gitlab.SetMode(mode)
			gitlab.SetChecksums(sums)
			gitlab.Publish(24, "pkg", "1.0.0", "app.bin", []byte("x"))
			client := newClient(t, gitlab.URL, nil, gitlab)
			if client.ShowsChecksums() || client.Redirects() {
				t.Error("it tells of what it hasn't seen")
			}
			ask(client)
			redirects := mode == gitlabtest.Redirect
			if client.Redirects() != redirects || client.ShowsChecksums() != (sums && !redirects) {
				t.Errorf("%v, checksums %v: redirects %v, checksums %v", mode, sums, client.Redirects(), client.ShowsChecksums())
			}
		}
	}
}

func TestATraceReachesGitLabWithChecksAndFetches(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isProbe(r) {
			return
		}
		seen = append(seen, r.Header.Get("Traceparent"))
		answerWith(404)(w, r)
	}))
	client := newClient(t, server.URL, nil, server)
	caller := callerWith(token)
	caller.Trace = http.Header{"Traceparent": {"00-1-2-01"}}
	client.Check(context.Background(), upstream.Question{Caller: caller, Ref: ref})
	_, _ = client.Fetch(context.Background(), caller, ref)
	if fmt.Sprint(seen) != "[00-1-2-01 00-1-2-01]" {
		t.Errorf("%q", seen)
	}
}
