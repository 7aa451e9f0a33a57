package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

type answeredBy func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (a answeredBy) RoundTrip(request *http.Request) (*http.Response, error) { return a(request) }

// clientOf is a client of a GitLab that answers without a network.
func clientOf(t *testing.T, change func(*Config), answer answeredBy) *Client {
	t.Helper()
	config := Config{Base: &url.URL{Scheme: "https", Host: "gitlab.example.com"}, Transport: answer, StorageTransport: http.DefaultTransport}
	if change != nil {
		change(&config)
	}
	client, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// closedBody is an answer's body that tells whether it was closed.
type closedBody struct {
	io.Reader
	closed bool
}

// Close implements io.Closer.
func (b *closedBody) Close() error {
	b.closed = true
	return nil
}

var aRef = Ref{Project: "24", Package: "pkg", Version: "1.0.0", File: "app.bin"}

// TestAnAnswerThatComesWhenTheTimeIsOverIsNone: its connection is given back all the same.
func TestAnAnswerThatComesWhenTheTimeIsOverIsNone(t *testing.T) {
	body := &closedBody{Reader: strings.NewReader("late")}
	client := clientOf(t, func(c *Config) { c.HeaderTimeout = time.Millisecond }, func(request *http.Request) (*http.Response, error) {
		<-request.Context().Done()
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Disposition": {"attachment"}}, Body: body, Request: request}, nil
	})
	answer := client.Check(context.Background(), Question{Ref: aRef})
	if answer.Verdict != Unreachable || !errors.Is(answer.Err, errHeaderTimeout) || !body.closed {
		t.Errorf("%+v, closed: %v", answer, body.closed)
	}
}

func TestWhoeverWaitsInVainHearsWhy(t *testing.T) {
	type hook func(*httptrace.ClientTrace)
	asked := func(trace *httptrace.ClientTrace) { trace.GetConn("gitlab.example.com:443") }
	for name, test := range map[string]struct {
		hooks   []hook
		trouble Trouble
	}{
		"for a connection that others hold": {[]hook{asked}, TroubleEdge},
		"for a name":                        {[]hook{asked, func(trace *httptrace.ClientTrace) { trace.DNSStart(httptrace.DNSStartInfo{}) }}, TroubleNetwork},
		"for a new connection":              {[]hook{asked, func(trace *httptrace.ClientTrace) { trace.ConnectStart("tcp", "192.0.2.1:443") }}, TroubleNetwork},
		"for an answer":                     {[]hook{asked, func(trace *httptrace.ClientTrace) { trace.GotConn(httptrace.GotConnInfo{}) }}, TroubleNetwork},
		"before a connection was asked for": {nil, TroubleNetwork},
	} {
		client := clientOf(t, func(c *Config) { c.HeaderTimeout = time.Millisecond }, func(request *http.Request) (*http.Response, error) {
			for _, hook := range test.hooks {
				hook(httptrace.ContextClientTrace(request.Context()))
			}
			<-request.Context().Done()
			return nil, request.Context().Err()
		})
		answer := client.Check(context.Background(), Question{Ref: aRef})
		if answer.Verdict != Unreachable || answer.Err.Trouble != test.trouble {
			t.Errorf("%s: %+v", name, answer.Err)
		}
		if want := map[Trouble]error{TroubleEdge: errNoConnection, TroubleNetwork: errHeaderTimeout}[test.trouble]; !errors.Is(answer.Err, want) {
			t.Errorf("%s: %v", name, answer.Err)
		}
	}
}

// TestAGitLabIsAskedByHEADForAnHourAndNotAskedSoForAnHour looks at the last moment and at the next.
func TestAGitLabIsAskedByHEADForAnHourAndNotAskedSoForAnHour(t *testing.T) {
	now := time.Unix(1e9, 0)
	client := clientOf(t, func(c *Config) { c.Now = func() time.Time { return now } }, nil)
	client.noteIgnoredRange()
	now = now.Add(time.Hour - time.Nanosecond)
	if !client.IgnoresRange() {
		t.Error("HEAD is given up before the hour is over")
	}
	now = now.Add(time.Nanosecond)
	if client.IgnoresRange() {
		t.Error("HEAD is asked after the hour")
	}
	client.noteIgnoredRange()
	client.noteWrongHead()
	if client.IgnoresRange() {
		t.Error("HEAD is asked although it was wrong")
	}
	now = now.Add(time.Hour - time.Nanosecond)
	if client.noteIgnoredRange(); client.IgnoresRange() {
		t.Error("HEAD is trusted again before the hour is over")
	}
	now = now.Add(time.Nanosecond)
	if client.noteIgnoredRange(); !client.IgnoresRange() {
		t.Error("HEAD is never trusted again")
	}
}

// TestWhereHEADMeetsALimitOfTheEdgesOwnNoGETIsSent: it would meet the same.
func TestWhereHEADMeetsALimitOfTheEdgesOwnNoGETIsSent(t *testing.T) {
	var asked []string
	client := clientOf(t, nil, func(request *http.Request) (*http.Response, error) {
		asked = append(asked, request.Method)
		return nil, syscall.EMFILE
	})
	client.noteIgnoredRange()
	answer := client.Check(context.Background(), Question{Ref: aRef})
	if answer.Verdict != Unreachable || answer.Err.Trouble != TroubleEdge || len(asked) != 1 || asked[0] != http.MethodHead {
		t.Errorf("%+v, asked by %v", answer.Err, asked)
	}
}

// TestWhatIsAFileByItsHeaders: all else could be a page for people, and is a no.
func TestWhatIsAFileByItsHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		status  int
		header  http.Header
		verdict Verdict
		length  int64
	}{
		"an attachment":             {200, http.Header{"Content-Disposition": {"attachment"}}, Allowed, 3},
		"in capitals":               {200, http.Header{"Content-Disposition": {`ATTACHMENT; filename="a"`}}, Allowed, 3},
		"a malformed attachment":    {200, http.Header{"Content-Disposition": {"attachment; filename=a; filename"}}, Refused, 0},
		"an empty file":             {416, http.Header{"Content-Disposition": {"attachment"}, "Content-Range": {"bytes */0"}}, Allowed, 0},
		"an empty page":             {416, http.Header{"Content-Range": {"bytes */0"}}, Refused, 0},
		"no such range of a file":   {416, http.Header{"Content-Disposition": {"attachment"}, "Content-Range": {"bytes */9"}}, Refused, 0},
		"no such range of anything": {416, http.Header{"Content-Disposition": {"attachment"}}, Refused, 0},
		"a named content":           {200, http.Header{"X-Checksum-Sha256": {strings.Repeat("a", 64)}}, Allowed, 3},
		"a part":                    {206, http.Header{"Content-Disposition": {"attachment"}, "Content-Range": {"bytes 0-2/7"}}, Allowed, 7},
		"a part of nobody knows":    {206, http.Header{"Content-Disposition": {"attachment"}}, Allowed, -1},
	} {
		client := clientOf(t, nil, func(request *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: test.status, Header: test.header, Request: request, ContentLength: 3, Body: io.NopCloser(strings.NewReader("abc")),
			}, nil
		})
		answer := client.Check(context.Background(), Question{Ref: aRef})
		if answer.Verdict != test.verdict || (test.verdict == Allowed && answer.Identity.Length != test.length) {
			t.Errorf("%s: %+v", name, answer)
		}
	}
}
