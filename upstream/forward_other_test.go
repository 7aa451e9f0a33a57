package upstream_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestWhereARedirectOfAnOtherRequestLeads has a GitLab at https://gitlab.example.com, or elsewhere, that redirects a request for
// /gitlab/asked?x=1.
func TestWhereARedirectOfAnOtherRequestLeads(t *testing.T) {
	const host, below = "https://gitlab.example.com", "https://gitlab.example.com/gitlab"
	for _, test := range []struct{ base, location, want string }{
		{host, host + "/a%2Fb?c=d%20e#f", "/a%2Fb?c=d%20e#f"},
		{host, host, "/"},
		{host, host + "?x", "/?x"},
		{host, "https://GITLAB.example.com:443/a", "/a"},
		// GitLab writes the scheme that the caller came by.
		{host, "http://gitlab.example.com/a", "/a"},
		{"http://gitlab.example.com", host + "/a", "/a"},
		{host, host + "/gitlab/asked?x=1", "/gitlab/asked?x=1"},
		// It insists on https.
		{"http://gitlab.example.com", host + "/gitlab/asked?x=1", host + "/gitlab/asked?x=1"},
		{host, "/a", "/a"},
		{host, "a", "a"},
		{host, "https://other.example.com/a", "https://other.example.com/a"},
		{host, "https://gitlab.example.com:8443/a", "https://gitlab.example.com:8443/a"},
		{"http://gitlab.example.com:8080", "https://gitlab.example.com/a", "https://gitlab.example.com/a"},
		{host, "ssh://gitlab.example.com/a", "ssh://gitlab.example.com/a"},
		{host, "https://me@gitlab.example.com/a", "https://me@gitlab.example.com/a"},
		// Without a host, the next one would be.
		{host, host + "//evil.example.com/a", host + "//evil.example.com/a"},
		{host, host + "/%2Fevil.example.com/a", host + "/%2Fevil.example.com/a"},
		{below, host + "/gitlab/a", "/gitlab/a"},
		{below + "/", host + "/gitlab", "/gitlab"},
		{below, host + "/sso", host + "/sso"},
		{below, host + "/gitlab/../sso", host + "/gitlab/../sso"},
		{host, "https://s3.example.com/x?X-Amz-Signature=s", "https://s3.example.com/x?X-Amz-Signature=s"},
	} {
		base, err := url.Parse(test.base)
		if err != nil {
			t.Fatal(err)
		}
		transport := answeringBy(func(*http.Request) *http.Response {
			return &http.Response{StatusCode: http.StatusFound, ProtoMajor: 1, Header: http.Header{"Location": {test.location}, "Content-Location": {test.location}}, Body: http.NoBody}
		})
		client, err := upstream.NewClient(upstream.Config{Base: base, Transport: transport, StorageTransport: transport})
		if err != nil {
			t.Fatal(err)
		}
		recorder := httptest.NewRecorder()
		err = client.ForwardOther(recorder, httptest.NewRequest(http.MethodGet, "/gitlab/asked?x=1", nil), upstream.Forwarding{})
		if got := recorder.Header().Get("Location"); err != nil || got != test.want || recorder.Header().Get("Content-Location") != test.want {
			t.Errorf("%s of %s: %q, %v; want %q", test.location, test.base, got, err, test.want)
		}
	}
}

// answeringBy is a transport that answers by itself.
type answeringBy func(*http.Request) *http.Response

func (a answeringBy) RoundTrip(request *http.Request) (*http.Response, error) { return a(request), nil }

// TestAnOtherRequestIsNeverSentTwice asks a GitLab whose connections have died. A page that answers once must not be asked for
// again behind the caller's back.
func TestAnOtherRequestIsNeverSentTwice(t *testing.T) {
	var asked atomic.Int64
	hold, first := make(chan struct{}), make(chan struct{}, 8)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		asked.Add(1)
		first <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	connections, err := upstream.NewConnections(upstream.ConnectionsConfig{
		Transport: &http.Transport{}, Silence: 1, Freshness: never, // every connection that was used before is silent at once
	})
	if err != nil {
		t.Fatal(err)
	}
	defer connections.CloseIdleConnections()
	base, _ := url.Parse(server.URL)
	client, err := upstream.NewClient(upstream.Config{Base: base, Transport: connections, StorageTransport: connections})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path string) error {
		return client.ForwardOther(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil), upstream.Forwarding{})
	}
	if err := ask("/"); err != nil { // makes a connection that is used before
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- ask("/slow") }() // ends with the answer
	<-first
	// A forwarded download in the same place is sent a second time, which shows that there was the time for it.
	seconds := make(chan error, 1)
	go func() {
		seconds <- client.Forward(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), upstream.Forwarding{Path: "/"})
	}()
	<-seconds //nolint:errcheck // only that one has passed
	close(hold)
	if err := <-answered; err != nil || asked.Load() != 1 {
		t.Errorf("it was asked %d times, %v", asked.Load(), err)
	}
}

// TestOtherRequestsTakeOnlyStrangersShareOfTheConnections has one connection left that they may take.
func TestOtherRequestsTakeOnlyStrangersShareOfTheConnections(t *testing.T) {
	begun, end := make(chan struct{}, 2), make(chan struct{})
	transport := answeringBy(func(request *http.Request) *http.Response {
		begun <- struct{}{}
		select {
		case <-end:
		case <-request.Context().Done():
		}
		return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, Header: make(http.Header), Body: http.NoBody, Request: request}
	})
	base, _ := url.Parse("https://gitlab.example.com")
	client, err := upstream.NewClient(upstream.Config{Base: base, Transport: transport, StorageTransport: transport, MaxConnections: 2})
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { // ends with the answer
		first <- client.ForwardOther(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), upstream.Forwarding{})
	}()
	<-begun
	ctx, leave := context.WithCancel(t.Context())
	leave()
	elsewhere := upstream.Forwarding{Caller: upstream.Caller{ClientIP: "192.0.2.8"}}
	err = client.ForwardOther(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), elsewhere)
	if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("the second: %v", err)
	}
	close(end)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
