package command

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// complete asks what the Tab key would offer at the end of a line, as the scripts of `caddy completion` do.
func complete(t *testing.T, args ...string) []string {
	t.Helper()
	root := newRoot()
	var out strings.Builder
	root.SetOut(&out)
	root.SetErr(new(strings.Builder)) // words for those who look for mistakes in a script
	root.SetArgs(append([]string{"__complete", "gitlab-packages"}, args...))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; last != ":4" {
		t.Errorf("%v: the directive is %q, and should be that no files are offered", args, last)
	}
	return lines[:len(lines)-1]
}

func TestTheTabKeyOffersWhatTheRunningEdgeKnows(t *testing.T) {
	projects := adminapi.ProjectList{Projects: []adminapi.ProjectStatus{
		{Upstream: "https://gitlab:8443", Project: "24", Names: []string{"group/app"}, State: "on"},
		{Upstream: "https://other", Project: "group/tools", State: "off"},
	}}
	entries := func(next string, rows ...adminapi.EntryStatus) adminapi.EntryList {
		return adminapi.EntryList{Entries: rows, Next: next}
	}
	row := func(name, version, file string) adminapi.EntryStatus {
		return adminapi.EntryStatus{Project: "24", Package: name, Version: version, File: file}
	}
	hostile := entries("", row("$(reboot)", "1", "f"), row("`reboot`", "1", "f"), row("a b", "1", "f"), row("--all", "1", "f"), row("~root", "1", "f"), row("a;reboot", "1", "f"), row("good", "1", "f"))
	for _, test := range []struct {
		line    string // the last word is the one that is begun; _ for one of which nothing is typed
		answers []any
		want    []string
		calls   []string
	}{
		{"purge _", []any{projects}, []string{"24\ton", "group/app\ton", "group/tools\toff"}, []string{"GET /gitlab_packages/projects"}},
		{"disable g", []any{projects}, []string{"group/app\ton", "group/tools\toff"}, []string{"GET /gitlab_packages/projects"}},
		{"enable --upstream https://other _", []any{projects}, []string{"group/tools\toff"}, []string{"GET /gitlab_packages/projects"}},
		{
			"entries 24 _",
			[]any{entries("n", row("a", "1", "f"), row("b", "1", "f")), entries("", row("b", "2", "f"), row("c", "1", "f"))},
			[]string{"a", "b", "c"},
			[]string{"GET /gitlab_packages/entries?limit=1000&project=24", "GET /gitlab_packages/entries?after=n&limit=1000&project=24"},
		},
		{"warm 24 a 1", []any{entries("", row("a", "1.0", "f"), row("a", "1.0", "g"), row("a", "2.0", "f"))}, []string{"1.0"}, []string{"GET /gitlab_packages/entries?limit=1000&package=a&project=24"}},
		{"purge 24 a 1.0 _", []any{entries("", row("a", "1.0", "f"), row("a", "1.0", "d/g"))}, []string{"d/g", "f"}, []string{"GET /gitlab_packages/entries?limit=1000&package=a&project=24&version=1.0"}},
		// Bash runs what it is offered as if it had been typed.
		{"purge 24 _", []any{hostile}, []string{"good"}, []string{"GET /gitlab_packages/entries?limit=1000&project=24"}},
		// There is nothing more to type.
		{"purge 24 a 1.0 f _", []any{projects}, nil, nil},
		{"disable 24 _", []any{projects}, nil, nil},
		{"disable --all _", []any{projects}, nil, nil},
		{"warm 24 a 1.0 _", []any{projects}, nil, nil},
		{"status _", []any{projects}, nil, nil},
		// What goes wrong is nothing to be told amid a line.
		{"purge _", []any{"the edge is ill"}, nil, []string{"GET /gitlab_packages/projects"}},
		{"purge 24 _", []any{"the edge is ill"}, nil, []string{"GET /gitlab_packages/entries?limit=1000&project=24"}},
		// Bash cuts words at colons.
		{"purge --upstream https : //gitlab : 8443 _", []any{projects}, []string{"24\ton", "group/app\ton"}, []string{"GET /gitlab_packages/projects"}},
	} {
		api := newStandIn(t, test.answers...)
		words := strings.Fields(test.line)
		if last := len(words) - 1; words[last] == "_" {
			words[last] = ""
		}
		host, port, _ := strings.Cut(strings.TrimPrefix(api.URL, "http://"), ":")
		for _, address := range [][]string{{"--address", host + ":" + port}, {"--address", host, ":", port}} {
			api.calls = nil
			line := append([]string{words[0]}, append(address, words[1:]...)...)
			if words[0] == "status" {
				line = words
			}
			if got := complete(t, line...); len(got)+len(test.want) > 0 && !reflect.DeepEqual(got, test.want) {
				t.Errorf("%v offers %q, want %q", line, got, test.want)
			}
			if len(api.calls)+len(test.calls) > 0 && !reflect.DeepEqual(api.calls, test.calls) {
				t.Errorf("%v calls %q, want %q", line, api.calls, test.calls)
			}
		}
	}
}

func TestTheTabKeyIsSilentWhereNoEdgeCanBeAsked(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, line := range [][]string{
		{"purge", "--address", strings.TrimPrefix(gone.URL, "http://"), ""},
		{"purge", "--address", "no address at all", ""},
		{"purge", "--config", "/no/such/file", ""},
	} {
		if got := complete(t, line...); len(got) != 0 {
			t.Errorf("%v offers %q", line, got)
		}
	}
}

// TestTheTabKeyOffersWhatIsKnownWhenTheTimeIsOver has an edge that answers the first page and never the second.
func TestTheTabKeyOffersWhatIsKnownWhenTheTimeIsOver(t *testing.T) {
	first := newStandIn(t, adminapi.EntryList{Entries: []adminapi.EntryStatus{{Package: "a"}}, Next: "n"})
	ctx, timeIsOver := context.WithCancel(t.Context())
	defer timeIsOver()
	release := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("after") {
			timeIsOver()
			<-release
			return
		}
		first.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	t.Cleanup(func() { close(release) })
	asking := &invocation{args: []string{"24"}, out: io.Discard, address: strings.TrimPrefix(api.URL, "http://")}
	if got := asking.completions(ctx, "", ""); !reflect.DeepEqual(got, []string{"a\t"}) { // no words about it
		t.Errorf("it offers %q", got)
	}
}
