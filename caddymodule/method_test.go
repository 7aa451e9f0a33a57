package caddymodule

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestAPOSTReachesNoFileByAnotherMethod: Rack would make a GET or PUT of it, of another file too.
func TestAPOSTReachesNoFileByAnotherMethod(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetMode(gitlabtest.Redirect)
	e := startEdge(t, gitlab.URL, "projects on {\n off 25\n}")
	body := someBytes(1000, 1)
	publishOld(gitlab, "app.bin", body)
	gitlab.Publish(project, "pkg", "1.0.0", "dir/app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	gitlab.ResetRequests()
	for name, test := range map[string]struct {
		query, form string
		header      http.Header
	}{
		"a form":             {"", "_method=GET", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		"no type":            {"", "_method=PUT", nil},
		"another file":       {"", "_method=GET&path=dir", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		"a part":             {"", "--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nGET\r\n--b--\r\n", http.Header{"Content-Type": {"multipart/form-data; boundary=b"}}},
		"a header":           {"", "", http.Header{"X-Http-Method-Override": {"GET"}}},
		"an underscore":      {"", "", http.Header{"X_http_method_override": {"GET"}}},
		"the query":          {"?_method=GET", "", nil},
		"the query and JSON": {"?_method=PUT", "{}", http.Header{"Content-Type": {"application/json"}}},
	} {
		got := e.do(t, call{method: http.MethodPost, path: filePath("app.bin") + test.query, token: developer, header: test.header, body: strings.NewReader(test.form)})
		if got.StatusCode != http.StatusMethodNotAllowed || string(got.body) != `{"error":"405 Not Allowed"}` || got.Header.Get("Allow") == "" || got.Header.Get("Location") != "" {
			t.Errorf("%s: %s, %v, %s", name, got.Status, got.Header, firstBytes(got.body))
		}
		off := e.do(t, call{method: http.MethodPost, path: strings.Replace(filePath("app.bin"), "/24/", "/25/", 1), token: developer, header: test.header, body: strings.NewReader(test.form)})
		if off.StatusCode != http.StatusNotFound {
			t.Errorf("%s, switched off: %s", name, off.Status)
		}
	}
	if asked := gitlab.Requests(); len(asked) != 0 {
		t.Errorf("GitLab is asked: %v", asked)
	}
	if got := e.mustGet(t, "app.bin", developer, body); !strings.Contains(got.cacheStatus(), "hit") {
		t.Errorf("afterwards: %q", got.cacheStatus())
	}
}

// TestNoMethodIsAnsweredWithASignedURL has a GitLab that redirects everything to object storage.
func TestNoMethodIsAnsweredWithASignedURL(t *testing.T) {
	gitlab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://127.0.0.2:1/bucket/x?X-Amz-Signature=s3cr3t")
		w.WriteHeader(http.StatusSeeOther)
		_, _ = w.Write([]byte("it is at X-Amz-Signature=s3cr3t"))
	}))
	defer gitlab.Close()
	e := startEdge(t, gitlab.URL, "")
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, "PROPFIND", "get"} {
		got := e.do(t, call{method: method, path: filePath("app.bin"), token: developer})
		if got.StatusCode != http.StatusBadGateway || got.Header.Get("Location") != "" || bytes.Contains(got.body, []byte("s3cr3t")) {
			t.Errorf("%s: %s, %v, %s", method, got.Status, got.Header, got.body)
		}
	}
}
