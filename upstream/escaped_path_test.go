package upstream_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// pathsAsSent are paths in the first line of a request, and what GitLab gets of them.
var pathsAsSent = []struct{ sent, arrives string }{
	{"/", "/"},
	{"/group/app", "/group/app"},
	{"/group%2Fapp/-/x%20y;z=1", "/group%2Fapp/-/x%20y;z=1"},
	{"/a%2fb%7b", "/a%2fb%7b"}, // small letters stay small
	{"/a%2Fb{", "/a%2Fb%7B"},
	{"/a%2Fb/{x|y^z}/%7Bx", "/a%2Fb/%7Bx%7Cy%5Ez%7D/%7Bx"},
	{"/a%2Fb/\xc3\xa9%C3%A9", "/a%2Fb/%C3%A9%C3%A9"},
	{"/a%2Fb/\xff", "/a%2Fb/%FF"}, // no UTF-8
	{"/a%2Fb/\"<>`\\#", "/a%2Fb/%22%3C%3E%60%5C%23"},
	{"/a%252Fb{", "/a%252Fb%7B"},
	{"/a%5Cb{/%2e%2e/..", "/a%5Cb%7B/%2e%2e/.."},
	{"/a%25{", "/a%25%7B"},
	{"/[a]%2F!$&'()*+,;=:@~{", "/[a]%2F!$&'()*+,;=:@~%7B"},
	{"//evil.example.com/%2F{", "//evil.example.com/%2F%7B"},
	{"//", "//"},
}

func TestThePathOfAnOtherRequestReachesGitLabAsItWasSent(t *testing.T) {
	targets := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { targets <- r.RequestURI }))
	client := newClient(t, server.URL, nil, server)
	for _, test := range pathsAsSent {
		for query, arrives := range map[string]string{"": "", "?": "?", "?q={\xc3\xa9%2F&x;y": "?q={\xc3\xa9%2F&x;y"} {
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			asSent, err := url.ParseRequestURI(test.sent + query)
			if err != nil {
				t.Fatal(err)
			}
			request.URL = asSent
			if err := client.ForwardOther(httptest.NewRecorder(), request, upstream.Forwarding{}); err != nil {
				t.Fatal(err)
			}
			if got := <-targets; got != test.arrives+arrives {
				t.Errorf("%s arrives as %s, not as %s", test.sent+query, got, test.arrives+arrives)
			}
		}
	}
}

// TestAPathThatWasRewrittenIsSentAsRewritten: other handlers may change the path alone, or leave an earlier form beside it.
func TestAPathThatWasRewrittenIsSentAsRewritten(t *testing.T) {
	for _, test := range []struct {
		url  url.URL
		want string
	}{
		{url.URL{Path: "/a/b{"}, "/a/b%7B"},
		{url.URL{Path: "/a%b?c"}, "/a%25b%3Fc"},
		{url.URL{Path: "/new{", RawPath: "/a%2Fold{"}, "/new%7B"},
		{url.URL{Path: "/new", RawPath: "/a%2Fold{%"}, "/new"},
		{url.URL{Path: "/a/b{", RawPath: "/a%2Fb{"}, "/a%2Fb%7B"},
		{url.URL{Path: "*"}, "*"},
		{url.URL{}, ""},
	} {
		if got := upstream.EscapedPath(&test.url); got != test.want {
			t.Errorf("%+v: %s, not %s", test.url, got, test.want)
		}
	}
}

// segmentsOf are the segments of a path, each decoded by itself.
func segmentsOf(t *testing.T, path string) []string {
	t.Helper()
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		segments[i] = decoded
	}
	return segments
}

// FuzzEscapedPath: what GitLab reads has the same segments as what the caller has sent.
func FuzzEscapedPath(f *testing.F) {
	for _, path := range pathsAsSent {
		f.Add(path.sent)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		sent, _, _ = strings.Cut(sent, "?")
		asSent, err := url.ParseRequestURI(sent)
		if err != nil || asSent.Opaque != "" || asSent.Scheme != "" {
			t.Skip("no path")
		}
		escaped := upstream.EscapedPath(asSent)
		if want := segmentsOf(t, sent); !slices.Equal(segmentsOf(t, escaped), want) {
			t.Errorf("%q is read as %q", sent, segmentsOf(t, escaped))
		}
		target := url.URL{Scheme: "http", Host: "gitlab.example.com", Path: asSent.Path, RawPath: escaped}
		if got := target.RequestURI(); got != escaped {
			t.Errorf("%q is sent as %q", escaped, got)
		}
		arrived, err := url.ParseRequestURI(escaped)
		if err != nil || arrived.Path != asSent.Path || upstream.EscapedPath(arrived) != escaped {
			t.Errorf("%q arrives as %+v, %v", escaped, arrived, err)
		}
		if asSent.EscapedPath() == sent && escaped != sent {
			t.Errorf("%q was changed to %q", sent, escaped)
		}
	})
}
