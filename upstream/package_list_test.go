package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// listing is a client of a GitLab that has these lists by path, without a network. seen gets each request but the probe's.
func listing(t *testing.T, seen *[]*http.Request, status int, lists map[string]string, nextPage string) *Client {
	t.Helper()
	return clientOf(t, nil, func(request *http.Request) (*http.Response, error) {
		if strings.HasPrefix(request.URL.Path, "/api/v4/projects/24/") {
			*seen = append(*seen, request)
		}
		body := io.NopCloser(strings.NewReader(lists[strings.TrimPrefix(request.URL.Path, "/api/v4/projects/24/")]))
		return &http.Response{StatusCode: status, Header: http.Header{"X-Next-Page": {nextPage}}, Body: body, Request: request}, nil
	})
}

func TestOnlyGenericPackagesOfTheAskedVersionAreListed(t *testing.T) {
	for version, want := range map[string]string{"1.0": "1.0/dir/a b.bin", "": "1.0/dir/a b.bin 2.0/c.bin"} {
		var seen []*http.Request
		client := listing(t, &seen, http.StatusOK, map[string]string{
			"packages": `[{"id":1,"name":"pkg","version":"1.0","package_type":"generic"},{"id":2,"name":"pkg","version":"2.0","package_type":"generic"},` +
				`{"id":3,"name":"pkg","version":"1.0","package_type":"npm"}]`,
			"packages/1/package_files": `[{"file_name":"dir%2Fa%20b.bin","size":3}]`,
			"packages/2/package_files": `[{"file_name":"c.bin","size":3}]`,
			"packages/3/package_files": `[{"file_name":"d.tgz","size":3}]`,
		}, "")
		files, err := client.PackageFiles(context.Background(), Caller{}, "24", "pkg", version)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			got = append(got, f.Ref.Version+"/"+f.Ref.File)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("version %q: %q", version, got)
		}
		if query := seen[0].URL.Query(); query.Get("package_version") != version || query.Has("package_version") != (version != "") || query.Get("package_name") != "pkg" {
			t.Errorf("version %q: asked for %v", version, query)
		}
		if seen[0].UserAgent() != userAgent {
			t.Errorf("asked by %q", seen[0].UserAgent())
		}
	}
}

func TestAListThatFailsIsNoEmptyList(t *testing.T) {
	packages := `[{"id":1,"name":"pkg","version":"1.0","package_type":"generic"}]`
	for name, test := range map[string]struct {
		status   int
		lists    map[string]string
		nextPage string
		trouble  Trouble
		asked    int
	}{
		"a server error":        {http.StatusInternalServerError, nil, "", TroubleFront, 1},
		"the last below it":     {499, nil, "", -1, 1},
		"a redirect":            {http.StatusMovedPermanently, nil, "", -1, 1},
		"a no":                  {http.StatusForbidden, nil, "", -1, 1},
		"files without a list":  {http.StatusOK, map[string]string{"packages": packages}, "", -1, 2},
		"a list without an end": {http.StatusOK, map[string]string{"packages": packages}, "2", -1, maxListPages},
	} {
		var seen []*http.Request
		files, err := listing(t, &seen, test.status, test.lists, test.nextPage).PackageFiles(context.Background(), Caller{}, "24", "pkg", "")
		if err == nil || files != nil || len(seen) != test.asked {
			t.Errorf("%s: %v, %v, asked %d times", name, files, err, len(seen))
		}
		if unreachable, ok := errors.AsType[*UnreachableError](err); ok != (test.trouble >= 0) || (ok && unreachable.Trouble != test.trouble) {
			t.Errorf("%s: %v", name, err)
		}
	}
	client := clientOf(t, nil, func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
	if files, err := client.PackageFiles(context.Background(), Caller{}, "24", "pkg", ""); err == nil || files != nil {
		t.Errorf("a broken connection: %v, %v", files, err)
	}
}

// TestAProbeIsAnsweredBelow500 and asks what it says it does.
func TestAProbeIsAnsweredBelow500(t *testing.T) {
	for status, alive := range map[int]bool{200: true, 401: true, 404: true, 499: true, 500: false, 502: false} {
		var asked *http.Request
		client := clientOf(t, nil, func(request *http.Request) (*http.Response, error) {
			asked = request
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: request}, nil
		})
		if err := client.probeGitLab(context.Background()); (err == nil) != alive {
			t.Errorf("%d: %v", status, err)
		}
		if asked.URL.String() != "https://gitlab.example.com"+probePath || asked.Host != "" || asked.UserAgent() != userAgent ||
			asked.Header.Get("Accept-Encoding") != "identity" || len(asked.Header) != 2 {
			t.Errorf("probed by %s with %v", asked.URL, asked.Header)
		}
	}
	client := clientOf(t, nil, func(*http.Request) (*http.Response, error) { return nil, io.EOF })
	if client.probeGitLab(context.Background()) == nil {
		t.Error("a broken connection is life")
	}
}
