package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// standIn is an admin API that answers each call with what a test says, and notes the calls as "method path?query body".
type standIn struct {
	*httptest.Server
	calls []string // one at a time, since a verb makes its calls one after another
}

// newStandIn starts a stand-in that ends with the test. The nth call gets the nth answer, those after the last one that: a
// string is an error of Caddy's with that text.
func newStandIn(t *testing.T, answers ...any) *standIn {
	t.Helper()
	s := new(standIn)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.calls = append(s.calls, strings.TrimSpace(r.Method+" "+r.URL.String()+" "+string(body)))
		answer := answers[min(len(s.calls), len(answers))-1]
		if text, isError := answer.(string); isError {
			w.WriteHeader(http.StatusBadRequest)
			answer = map[string]string{"error": text}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// newRoot is `caddy` with what is registered as gitlab-packages, and nothing else.
func newRoot() *cobra.Command {
	root := &cobra.Command{Use: "caddy", SilenceErrors: true, SilenceUsage: true}
	group := &cobra.Command{Use: "gitlab-packages"}
	caddycmd.Commands()["gitlab-packages"].CobraFunc(group)
	root.AddCommand(group)
	return root
}

// run runs a verb against the stand-in, as Caddy does, and returns the exit code, what was printed, and the error's text.
func (s *standIn) run(t *testing.T, args ...string) (code int, printed, failure string) {
	t.Helper()
	return runAsTyped(t, append(args, "--address", strings.TrimPrefix(s.URL, "http://"))...)
}

// runAsTyped runs `caddy gitlab-packages` with arguments.
func runAsTyped(t *testing.T, args ...string) (code int, printed, failure string) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(io.Discard) // what completion tells those who look for its mistakes
	root.SetArgs(append([]string{"gitlab-packages"}, args...))
	err := root.ExecuteContext(t.Context())
	if err == nil {
		return 0, out.String(), ""
	}
	// Caddy's error with an exit code is of a type of its own.
	if value := reflect.Indirect(reflect.ValueOf(err)); value.Kind() == reflect.Struct && value.FieldByName("ExitCode").IsValid() {
		return int(value.FieldByName("ExitCode").Int()), out.String(), value.FieldByName("Err").Interface().(error).Error()
	}
	return 1, out.String(), err.Error()
}

// TestAVerbCallsTheAPIAndPrintsItsAnswer has for each verb the calls that it makes, what it prints, and its exit code.
func TestAVerbCallsTheAPIAndPrintsItsAnswer(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("glpat-reader\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	off := adminapi.ProjectStatus{Upstream: "https://gitlab", Project: "24", Names: []string{"group/app"}, State: "off", From: "run time"}
	page := adminapi.EntryList{Entries: []adminapi.EntryStatus{{Project: "24", Package: "p", Version: "1", File: "f", Size: 2048, SHA256: "abc", Stored: time.Now(), LastUsed: time.Now(), Hits: 7}}}
	first := page
	first.Next = "n"
	warmed := adminapi.WarmingStatus{ID: "w1", Files: 3, Bytes: 3072, Fetched: 1, Already: 2, Pinned: 3}
	failed := adminapi.WarmingStatus{ID: "w1", Files: 3, Bytes: 3072, Fetched: 2, Failed: 1, Errors: []string{"24/p/1/f: 404"}}
	verified := func(v adminapi.VerificationStatus) adminapi.VerificationList {
		v.Directory = "/cache"
		return adminapi.VerificationList{Verifications: []adminapi.VerificationStatus{v}}
	}
	begun := time.Now()
	for _, test := range []struct {
		args    string
		answers []any
		calls   []string
		code    int
		printed []string // parts
		failure string
	}{
		{
			args: "status", answers: []any{adminapi.Status{
				Working: true, Switches: "read", UptimeSeconds: 60, Requests: map[string]int64{"hit": 3, "miss": 3, "joined": 5}, BytesSent: map[string]int64{"disk": 1024, "fill": 1024},
				BytesUpstream: 1024, BytesSaved: 1024,
				Stores:         []adminapi.StoreStatus{{Directory: "/cache", Usable: true, MaxSize: 1 << 30}},
				Upstreams:      []adminapi.UpstreamStatus{{Upstream: "https://gitlab", GitLab: "up", ObjectStorage: "up", Switched: "on", From: "config's default"}},
				RecentFailures: []adminapi.Failure{{What: "GitLab can't be asked", Error: "EOF", Times: 2}},
			}},
			calls:   []string{"GET /gitlab_packages/status"},
			printed: []string{"Working        yes\n", "Up             1m0s\n", "no downloads yet\n", "Sent           2.0 KiB\n", "joined 5, hit 3, miss 3\n", "/cache", "1.0 GiB", "on (config's default)", "2×", "EOF"},
		},
		{
			args: "status --check", answers: []any{adminapi.Status{Switches: "read", Upstreams: []adminapi.UpstreamStatus{{Upstream: "https://gitlab", GitLab: "down", ObjectStorage: "up"}}}},
			calls: []string{"GET /gitlab_packages/status"}, printed: []string{"working; https://gitlab: gitlab down, object storage up\n"},
		},
		{
			args: "status --check", answers: []any{adminapi.Status{Stores: []adminapi.StoreStatus{{Directory: "/cache"}}}},
			calls: []string{"GET /gitlab_packages/status"}, code: 1, failure: "the cache directory /cache can't be used",
		},
		{
			args: "status --check", answers: []any{adminapi.Status{Switches: "recalled"}},
			calls: []string{"GET /gitlab_packages/status"}, code: 1, failure: "those known last are in force",
		},
		{
			args: "status --check", answers: []any{adminapi.Status{Switches: "unknown"}},
			calls: []string{"GET /gitlab_packages/status"}, code: 1, failure: "all requests get 503",
		},
		{
			args: "projects", answers: []any{adminapi.ProjectList{Projects: []adminapi.ProjectStatus{off}, Others: []adminapi.ProjectStatus{{State: "on", From: "config"}}}},
			calls: []string{"GET /gitlab_packages/projects"}, printed: []string{"24            off    run time         group/app    https://gitlab\n(all others)  on     config"},
		},
		{
			args: "enable 24", answers: []any{adminapi.SwitchAnswer{ProjectStatus: off, Kept: []adminapi.ProjectStatus{{Project: "25"}}, Warning: "no other name is known"}},
			calls:   []string{`POST /gitlab_packages/enable {"project":"24"}`},
			printed: []string{"24       off", "\n25  ", "Warning: no other name is known.\n"},
		},
		{
			args: "disable --all --upstream https://gitlab", answers: []any{adminapi.SwitchAnswer{}},
			calls: []string{`POST /gitlab_packages/disable {"upstream":"https://gitlab","all":true}`}, printed: []string{"(all others)"},
		},
		{args: "reset 24 --json", answers: []any{adminapi.SwitchAnswer{}}, calls: []string{`POST /gitlab_packages/reset {"project":"24"}`}, printed: []string{`{"upstream":"","project":"","state":"","from":""}` + "\n"}},
		{
			args: "entries 24 p 1 f", answers: []any{first}, calls: []string{"GET /gitlab_packages/entries?file=f&limit=100&package=p&project=24&version=1"},
			printed: []string{"PROJECT", "2.0 KiB", "not yet", "There are more: --all shows them.\n"},
		},
		{
			args: "entries --all --limit 1", answers: []any{first, page}, calls: []string{"GET /gitlab_packages/entries?limit=1", "GET /gitlab_packages/entries?after=n&limit=1"},
			printed: []string{"SHA-256\n24", "abc\n24", "abc\n"},
		},
		{args: "entries 24", answers: []any{adminapi.EntryList{}}, calls: []string{"GET /gitlab_packages/entries?limit=100&project=24"}, printed: []string{"nothing is stored under that name\n"}},
		{
			args: "purge 24 p", answers: []any{adminapi.PurgeAnswer{Entries: 2, Bytes: 1024, HeldBytes: 2048, Warning: "no other name is known", SharedObjects: []string{"s3://b/blobs/ab/abc"}, FurtherSharedObjects: 3}},
			calls: []string{`POST /gitlab_packages/purge {"project":"24","package":"p"}`}, printed: []string{"2 files are removed, 1.0 KiB became free\n", "2.0 KiB aren't free yet", "these objects, which no edge deletes:\n  s3://b/blobs/ab/abc\n  and 3 more\n", "Warning: no other name is known.\n"},
		},
		{args: "purge 24 p 1 f --soft", answers: []any{adminapi.PurgeAnswer{Entries: 2}}, calls: []string{`POST /gitlab_packages/purge {"project":"24","package":"p","version":"1","file":"f","soft":true}`}, printed: []string{"2 files are marked as stale\n"}},
		{args: "purge --all --grants", answers: []any{adminapi.PurgeAnswer{Grants: 2}}, calls: []string{`POST /gitlab_packages/purge {"all":true,"grants":true}`}, printed: []string{"2 grants are forgotten\n"}},
		{args: "purge 24", answers: []any{"there is no such project"}, calls: []string{`POST /gitlab_packages/purge {"project":"24"}`}, code: 1, failure: "there is no such project"},
		{
			args: "unpin 24 p 1", answers: []any{adminapi.UnpinAnswer{Pins: 3, Warning: "no other name is known"}},
			calls: []string{`POST /gitlab_packages/unpin {"project":"24","package":"p","version":"1"}`}, printed: []string{"3 files are pinned no longer\n", "Warning: no other name is known.\n"},
		},
		{
			args: "verify", answers: []any{verified(adminapi.VerificationStatus{Running: true}), verified(adminapi.VerificationStatus{Begun: &begun, Files: 3, Bytes: 1024})},
			calls: []string{"POST /gitlab_packages/verify", "GET /gitlab_packages/verify"}, printed: []string{"/cache           done   3      1.0 KiB  0\n"},
		},
		{
			args: "verify", answers: []any{verified(adminapi.VerificationStatus{Begun: &begun, Damaged: 1})},
			calls: []string{"POST /gitlab_packages/verify", "GET /gitlab_packages/verify"}, code: exitWrong, printed: []string{"done"}, failure: "1 damaged files were removed from /cache",
		},
		{
			args: "verify --detach", answers: []any{verified(adminapi.VerificationStatus{Running: true})}, calls: []string{"POST /gitlab_packages/verify"}, printed: []string{"running"},
		},
		{
			args: "verify --stop", answers: []any{verified(adminapi.VerificationStatus{Begun: &begun, Error: "stopped"})}, calls: []string{"DELETE /gitlab_packages/verify"}, printed: []string{"stopped"},
		},
		{
			args:    "warm 24 p 1 --pin 30d --token-file " + token,
			answers: []any{adminapi.WarmingStatus{ID: "w1", Running: true}, warmed},
			calls:   []string{`POST /gitlab_packages/warm {"project":"24","package":"p","version":"1","token":"glpat-reader","pin":"30d"}`, "GET /gitlab_packages/warm?id=w1"},
			printed: []string{"3 files, 3.0 KiB: 1 fetched, 2 were stored before, 3 pinned, 0 failed\n"},
		},
		{
			args: "warm 24 p", answers: []any{failed}, calls: []string{`POST /gitlab_packages/warm {"project":"24","package":"p"}`, "GET /gitlab_packages/warm?id=w1"},
			code: exitWrong, printed: []string{"2 fetched", "\n  24/p/1/f: 404\n"}, failure: "1 of 3 files failed",
		},
		{
			args: "warm 24 p --detach", answers: []any{adminapi.WarmingStatus{ID: "w1", Running: true, Files: 3}}, calls: []string{`POST /gitlab_packages/warm {"project":"24","package":"p"}`},
			printed: []string{"w1 is running: 0 of 3 files\n"},
		},
	} {
		api := newStandIn(t, test.answers...)
		code, printed, failure := api.run(t, strings.Fields(test.args)...)
		if code != test.code || !strings.Contains(failure, test.failure) || (failure == "") != (test.failure == "") {
			t.Errorf("%s: exit code %d, want %d; %s", test.args, code, test.code, failure)
		}
		if got, want := fmt.Sprintf("%q", api.calls), fmt.Sprintf("%q", test.calls); got != want {
			t.Errorf("%s calls\n%s, want\n%s", test.args, got, want)
		}
		for _, part := range test.printed {
			if !strings.Contains(printed, part) {
				t.Errorf("%s: no %q in\n%s", test.args, part, printed)
			}
		}
	}
}

// TestAnEmptyNameIsRefusedBeforeAnythingIsCalled has verbs with a name that a variable which wasn't set left empty.
func TestAnEmptyNameIsRefusedBeforeAnythingIsCalled(t *testing.T) {
	for _, args := range [][]string{
		{"purge", ""},
		{"purge", "24", ""},
		{"purge", "24", "p", "1", "", "--soft"},
		{"purge", "24", "--upstream", ""},
		{"enable", ""},
		{"disable", ""},
		{"reset", ""},
		{"disable", "--all", "--upstream", ""},
		{"entries", ""},
		{"entries", "24", "--upstream", ""},
		{"unpin", "24", ""},
		{"warm", "24", ""},
		{"warm", "24", "p", ""},
		{"warm", "24", "p", "--upstream", ""},
	} {
		api := newStandIn(t, struct{}{})
		if code, _, failure := api.run(t, args...); code != 1 || !strings.Contains(failure, "an empty name would mean more than is said") || len(api.calls) != 0 {
			t.Errorf("%q: exit code %d, %s; calls %q", args, code, failure, api.calls)
		}
	}
}
