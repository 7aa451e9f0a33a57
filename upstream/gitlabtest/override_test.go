package gitlabtest

import (
	"net/http"
	"strings"
	"testing"
)

func TestAPOSTBecomesWhatItsFormSays(t *testing.T) {
	server := New()
	defer server.Close()
	server.AddProject(Project{ID: 24, Path: "group/app", Visibility: Public})
	server.Publish(24, "pkg", "1.0.0", "f", []byte("plain"))
	server.Publish(24, "pkg", "1.0.0", "d/f", []byte("nested"))
	for name, test := range map[string]struct {
		form, contentType, header string
		status                    int
		file                      string
	}{
		"no method":     {"a=b", "application/x-www-form-urlencoded", "", 405, ""},
		"a GET":         {"_method=GET", "application/x-www-form-urlencoded", "", 200, "plain"},
		"by its header": {"", "", "get", 200, "plain"},
		"another file":  {"_method=get&path=d", "", "", 200, "nested"},
		"a PUT":         {"_method=PUT", "", "", 403, ""},
		"no form":       {"_method=GET", "application/json", "", 405, ""},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			server.URL+"/o/default/api/v4/projects/24/packages/generic/pkg/1.0.0/f", strings.NewReader(test.form))
		if err != nil {
			t.Fatal(err)
		}
		if test.contentType != "" {
			request.Header.Set("Content-Type", test.contentType)
		}
		if test.header != "" {
			request.Header.Set("X-Http-Method-Override", test.header)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		_ = response.Write(&body)
		_ = response.Body.Close()
		if response.StatusCode != test.status || !strings.HasSuffix(body.String(), test.file) {
			t.Errorf("%s: %s, %q", name, response.Status, body.String())
		}
	}
}
