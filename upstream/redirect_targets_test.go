package upstream

import (
	"net/http"
	"net/url"
	"testing"
)

func redirectTo(location string) *http.Response {
	return &http.Response{
		StatusCode: http.StatusFound, Header: http.Header{"Location": {location}},
		Body:    http.NoBody,
		Request: &http.Request{URL: &url.URL{Scheme: "https", Host: "gitlab.example.com", Path: "/api"}},
	}
}

// TestOnlyAnotherOriginThatIsSignedOrNamedIsFollowed has GitLab speak https and http, and gives the URL that is asked; empty if
// none is.
func TestOnlyAnotherOriginThatIsSignedOrNamedIsFollowed(t *testing.T) {
	const signed = "?X-Amz-Signature=a"
	for _, test := range []struct{ base, location, asked string }{
		{"https://gitlab.example.com", "https://s3.example.com/b/k" + signed, "https://s3.example.com/b/k" + signed},
		{"https://gitlab.example.com", "https://s3.example.com/b/k" + signed + "#part", "https://s3.example.com/b/k" + signed},
		{"https://gitlab.example.com", "https://store:9000/b/k", "https://store:9000/b/k"},
		{"https://gitlab.example.com", "https://s3.example.com/b/k", ""},
		{"https://gitlab.example.com", "https://user@s3.example.com/b/k" + signed, ""},
		{"https://gitlab.example.com", "https://user:password@store:9000/b/k", ""},
		{"https://gitlab.example.com", "https:/b/k" + signed, ""},
		{"https://gitlab.example.com", "https://gitlab.example.com/x" + signed, ""},
		{"https://gitlab.example.com", "https://GitLab.example.com:443/x" + signed, ""},
		{"https://gitlab.example.com", "https://gitlab.example.com:444/x" + signed, "https://gitlab.example.com:444/x" + signed},
		{"https://gitlab.example.com", "/x" + signed, ""},
		{"https://gitlab.example.com", "http://s3.example.com/b/k" + signed, ""},
		{"https://gitlab.example.com", "ftp://s3.example.com/b/k" + signed, ""},
		{"http://gitlab.example.com", "http://s3.example.com/b/k" + signed, "http://s3.example.com/b/k" + signed},
		{"http://gitlab.example.com", "ftp://s3.example.com/b/k" + signed, ""},
		{"http://gitlab.example.com", "http://gitlab.example.com:80/x" + signed, ""},
		// The same host by another scheme is another origin.
		{"http://gitlab.example.com:8443", "https://gitlab.example.com:8443/x" + signed, "https://gitlab.example.com:8443/x" + signed},
	} {
		base, err := url.Parse(test.base)
		if err != nil {
			t.Fatal(err)
		}
		client := clientOf(t, func(c *Config) { c.Base, c.StorageHosts = base, []string{"store:9000"} }, nil)
		response := redirectTo(test.location) //nolint:bodyclose // it has none
		response.Request.URL = base
		target, ok := client.storageLocation(response)
		if ok != (test.asked != "") || (ok && target.url.String() != test.asked) {
			t.Errorf("from %s to %s: %v, %v", test.base, test.location, target, ok)
		}
	}
}

func TestAPageForPeopleIsNoStoredFile(t *testing.T) {
	for name, test := range map[string]struct {
		header http.Header
		file   bool
	}{
		"an attachment":      {http.Header{"Content-Disposition": {"attachment"}, "Content-Type": {"text/html"}}, true},
		"bytes":              {http.Header{"Content-Type": {"application/octet-stream"}}, true},
		"nothing said":       {http.Header{}, true},
		"no type":            {http.Header{"Content-Type": {"/;;"}}, true},
		"a page":             {http.Header{"Content-Type": {"text/html; charset=utf-8"}}, false},
		"a page in capitals": {http.Header{"Content-Type": {"TEXT/HTML"}}, false},
		"a page of XML":      {http.Header{"Content-Type": {"application/xhtml+xml"}}, false},
		"an inline page":     {http.Header{"Content-Disposition": {"inline"}, "Content-Type": {"text/html"}}, false},
	} {
		if got := isStoredFile(&http.Response{Header: test.header}); got != test.file {
			t.Errorf("%s: %v", name, got)
		}
	}
}
