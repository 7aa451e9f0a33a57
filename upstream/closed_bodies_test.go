package upstream

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// bodies are those of all answers of a test. One that isn't closed holds its connection for ever.
type bodies struct{ all []*closedBody }

func (b *bodies) answer(status int, header http.Header, text string) answeredBy {
	return func(request *http.Request) (*http.Response, error) {
		body := &closedBody{Reader: strings.NewReader(text)}
		b.all = append(b.all, body)
		return &http.Response{StatusCode: status, Header: header.Clone(), Body: body, ContentLength: int64(len(text)), Request: request}, nil
	}
}

func TestEachAnswersBodyIsClosedWhateverItIs(t *testing.T) {
	attachment, page := http.Header{"Content-Disposition": {"attachment"}}, http.Header{"Content-Type": {"text/html"}}
	storage := http.Header{"Location": {"https://s3.example.com/b/k?X-Amz-Signature=a"}}
	for name, test := range map[string]struct {
		status, storedStatus int
		header, storedHeader http.Header
	}{
		"a file":                    {200, 0, attachment, nil},
		"a part that nobody wants":  {206, 0, attachment, nil},
		"a page":                    {200, 0, page, nil},
		"a no":                      {404, 0, http.Header{}, nil},
		"too many requests":         {429, 0, http.Header{}, nil},
		"trouble":                   {500, 0, http.Header{}, nil},
		"another protocol":          {101, 0, http.Header{}, nil},
		"not modified":              {304, 0, http.Header{}, nil},
		"a way down to http":        {302, 0, http.Header{"Location": {"http://s3.example.com/b/k?X-Amz-Signature=a"}}, nil},
		"a stored file":             {302, 200, storage, attachment},
		"a stored page":             {302, 200, storage, page},
		"a no of the storage's":     {302, 403, storage, http.Header{}},
		"trouble of the storage's":  {302, 500, storage, http.Header{}},
		"no range of the storage's": {302, 416, storage, http.Header{}},
		"storage without an end":    {302, 302, storage, storage},
		"storage that leads down":   {302, 302, storage, http.Header{"Location": {"http://s3.example.com/b/k"}}},
	} {
		var answers bodies
		client := clientOf(t, func(c *Config) {
			c.StorageTransport = answers.answer(test.storedStatus, test.storedHeader, "0123456789")
			c.ProbeTransport = answers.answer(200, http.Header{}, "")
			c.StorageProbeTransport = c.ProbeTransport
		}, answers.answer(test.status, test.header, "0123456789"))
		client.UseBreakers(NewBreakers(BreakerConfig{Background: func(func(context.Context)) bool { return false }}))
		caller := Caller{Credential: TokenCredential("glpat")}
		client.Check(context.Background(), Question{Caller: caller, Ref: aRef, Follow: true})
		if download, err := client.Fetch(context.Background(), caller, aRef); err == nil {
			_, _ = io.Copy(io.Discard, download)
			_ = download.Close()
		}
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut} {
			request := httptest.NewRequest(method, aRef.EscapedPath(), nil)
			_ = client.Forward(httptest.NewRecorder(), request, Forwarding{Caller: caller, Path: aRef.EscapedPath()})
		}
		_, _ = NewAliases(client, "glpat", NewAliasMemory()).Ask(context.Background(), "24", OfAdmin())
		_, _ = client.PackageFiles(context.Background(), caller, "24", "pkg", "")
		_ = client.probeGitLab(context.Background())
		for i, body := range answers.all {
			if !body.closed {
				t.Errorf("%s: the body of answer %d of %d stays open", name, i+1, len(answers.all))
			}
		}
	}
}
