package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/page"
)

// The page knows the edge by this alone.
var _ page.Edge = (*App)(nil)

// runningAppOf is the app of the config in force.
func runningAppOf(t testing.TB) *App {
	t.Helper()
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// toldBy is the status and the sentence of an error of Call; 200 for none.
func toldBy(t testing.TB, err error) (status int, sentence string) {
	t.Helper()
	if err == nil {
		return http.StatusOK, ""
	}
	told, ok := err.(caddy.APIError) //nolint:errorlint // a promise: it is one itself, and wraps none
	if !ok {
		t.Fatalf("the error is a %T: %v", err, err)
	}
	return told.HTTPStatus, told.Err.Error()
}

func TestACallFromWithinIsAnsweredAsOneByHTTP(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	awaitNoFlight(t)
	app := runningAppOf(t)
	for _, test := range []struct {
		method, call string
		query        url.Values
		request      any
	}{
		{method: "GET", call: "projects"},
		{method: "GET", call: "entries", query: url.Values{"project": {"24"}, "limit": {"1"}}},
		{method: "GET", call: "verify"},
		{method: "POST", call: "unpin", request: adminapi.UnpinRequest{All: true}},
		{method: "POST", call: "purge", request: adminapi.PurgeRequest{All: true, Soft: true}},
		{method: "GET", call: "nothing"},
		{method: "DELETE", call: "status"},
		{method: "", call: "status"},
		{method: "GET", call: "status", query: url.Values{"x": {"1"}}},
		{method: "GET", call: "entries", query: url.Values{"limit": {"0"}}},
		{method: "POST", call: "purge"},
		{method: "POST", call: "purge", request: adminapi.PurgeRequest{All: true, Project: "24"}},
		{method: "POST", call: "purge", request: adminapi.PurgeRequest{Project: strings.Repeat("1", adminapi.MaxRequest)}},
		{method: "POST", call: "disable", request: map[string]any{"pakage": "x"}},
		{method: "GET", call: "warm", query: url.Values{"id": {"nothing"}}},
	} {
		answer, err := app.Call(t.Context(), test.method, test.call, test.query, test.request)
		status, sentence := toldBy(t, err)
		body := ""
		if test.request != nil {
			encoded, err := json.Marshal(test.request)
			if err != nil {
				t.Fatal(err)
			}
			body = string(encoded)
		}
		path := test.call
		if len(test.query) > 0 {
			path += "?" + test.query.Encode()
		}
		if test.method == "" {
			if status != http.StatusMethodNotAllowed {
				t.Errorf("a call without a method: %d %s", status, sentence)
			}
			continue
		}
		wantStatus, want := e.api(t, test.method, path, body)
		got := encodedOrError(t, answer, sentence)
		if status != wantStatus || strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s %s %.80s:\nfrom within %d %.200s\nby HTTP     %d %.200s", test.method, path, body, status, got, wantStatus, want)
		}
	}
	if answer, err := app.Call(t.Context(), http.MethodGet, adminapi.CallStatus, nil, nil); err != nil || reflect.TypeOf(answer) != reflect.TypeFor[adminapi.Status]() {
		t.Errorf("status is a %T; %v", answer, err)
	}
}

// encodedOrError is what an answer, or an error's sentence, looks like by HTTP.
func encodedOrError(t testing.TB, answer any, sentence string) string {
	t.Helper()
	if sentence != "" {
		answer = map[string]string{"error": sentence}
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func TestACallFromWithinIsOfTheConfigThatAsks(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "rules 13.5", withAdmin)
	earlier := runningAppOf(t)
	e.reload(t, "rules current")
	for app, want := range map[*App]string{earlier: "13.5", runningAppOf(t): "current"} {
		answer, err := app.Call(t.Context(), http.MethodGet, adminapi.CallStatus, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.(adminapi.Status).Upstreams[0].Rules; !reflect.DeepEqual(got, []string{want}) {
			t.Errorf("the rules are %v, want %s", got, want)
		}
	}
}

func TestBeforeTheEdgeStartsACallFromWithinIsUnavailable(t *testing.T) {
	app := &App{process: process, started: make(chan struct{})}
	for call, want := range map[string]int{adminapi.CallStatus: http.StatusServiceUnavailable, "nothing": http.StatusNotFound} {
		status, sentence := toldBy(t, second(app.Call(t.Context(), http.MethodGet, call, nil, nil)))
		if status != want || sentence == "" {
			t.Errorf("%s: %d %q", call, status, sentence)
		}
	}
	close(app.started)
	status, sentence := toldBy(t, second(app.Call(t.Context(), http.MethodGet, adminapi.CallStatus, nil, nil)))
	if status != http.StatusNotFound || !strings.Contains(sentence, "no gitlab_packages handler") {
		t.Errorf("without a handler: %d %q", status, sentence)
	}
}

// second is the second of two values.
func second[A, B any](_ A, b B) B { return b }
