package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestAListGoesOnByLinkWhereNoPageIsNumbered has a list by keyset, whose links name another host.
func TestAListGoesOnByLinkWhereNoPageIsNumbered(t *testing.T) {
	var asked []string
	client := clientOf(t, nil, func(request *http.Request) (*http.Response, error) {
		answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: request}
		body := "[]"
		switch path := strings.TrimPrefix(request.URL.Path, "/api/v4/projects/24/"); {
		case path == "packages" && request.URL.Query().Get("cursor") == "":
			asked = append(asked, request.URL.Host)
			body = `[{"id":1,"name":"pkg","version":"1.0","package_type":"generic"}]`
			answer.Header.Set("Link", `<https://elsewhere.example/api/v4/x?per_page=100&cursor=first>; rel="first", `+
				`<https://elsewhere.example/api/v4/x?per_page=100&cursor=abc&package_type=generic>; rel="next"`)
		case path == "packages":
			asked = append(asked, request.URL.Host+" "+request.URL.Query().Get("cursor")+" "+request.URL.Query().Get("page"))
			body = `[{"id":2,"name":"pkg","version":"2.0","package_type":"generic"}]`
			answer.Header.Set("Link", `<https://elsewhere.example/api/v4/x?cursor=first>; rel="first"`)
		case strings.HasSuffix(path, "/package_files"):
			body = `[{"file_name":"f","size":1}]`
		}
		answer.Body = io.NopCloser(strings.NewReader(body))
		return answer, nil
	})
	files, err := client.PackageFiles(context.Background(), Caller{}, "24", "pkg", "")
	host := client.cfg.Base.Host
	if err != nil || len(files) != 2 || !slices.Equal(asked, []string{host, host + " abc "}) {
		t.Errorf("%d files, %v; asked %q", len(files), err, asked)
	}
}

// TestAPageThatCannotBeHadIsAskedForAgainIfWanted has a GitLab that limits requests, twice.
func TestAPageThatCannotBeHadIsAskedForAgainIfWanted(t *testing.T) {
	limited := 2
	client := clientOf(t, nil, func(request *http.Request) (*http.Response, error) {
		answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: request, Body: io.NopCloser(strings.NewReader("[]"))}
		if strings.HasSuffix(request.URL.Path, "/packages") && limited > 0 { // probes come beside
			limited--
			answer.StatusCode = http.StatusTooManyRequests
			answer.Header.Set("Retry-After", "37")
		}
		return answer, nil
	})
	var heard []string
	_, err := client.PackageFiles(context.Background(), Caller{}, "24", "pkg", "", func(err error) error {
		if refused, ok := errors.AsType[*ListRefusedError](err); ok {
			heard = append(heard, refused.RetryAfter)
		}
		return nil
	})
	if err != nil || !slices.Equal(heard, []string{"37", "37"}) {
		t.Errorf("heard %q, %v", heard, err)
	}
	limited = 1
	enough := errors.New("enough")
	if _, err := client.PackageFiles(context.Background(), Caller{}, "24", "pkg", "", func(error) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("not asked again: %v", err)
	}
}
