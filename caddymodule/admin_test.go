package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// withAdmin is for edges with an admin API.
var withAdmin = around{admin: true}

// api calls the admin API with a JSON body, or none, and returns the status and the answer.
func (e *edge) api(t testing.TB, method, path, body string) (status int, answer string) {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, e.admin+"/gitlab_packages/"+path, content)
	if err != nil {
		t.Fatal(err)
	}
	response, err := testClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(got)
}

// mustCall calls the admin API and decodes its answer.
func mustCall[T any](t testing.TB, e *edge, method, path, body string) (answer T) {
	t.Helper()
	status, text := e.api(t, method, path, body)
	if status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return answer
}

// exitWrong is the exit code of a verb that was done and found something wrong, as the command's help says.
const exitWrong = 4

// commandLine is `caddy gitlab-packages` as package command has registered it.
func commandLine() *cobra.Command {
	root := &cobra.Command{Use: "gitlab-packages", SilenceErrors: true}
	caddycmd.Commands()["gitlab-packages"].CobraFunc(root)
	return root
}

// cli runs `caddy gitlab-packages` with arguments against the edge's admin API.
func (e *edge) cli(t testing.TB, args ...string) (code int, out string) {
	t.Helper()
	root := commandLine()
	var printed bytes.Buffer
	root.SetOut(&printed)
	root.SetErr(&printed)
	root.SetArgs(append(args, "--address", strings.TrimPrefix(e.admin, "http://")))
	err := root.ExecuteContext(t.Context())
	if err == nil {
		return 0, printed.String()
	}
	// Caddy's error with an exit code is of a type of its own.
	if value := reflect.Indirect(reflect.ValueOf(err)); value.Kind() == reflect.Struct && value.FieldByName("ExitCode").IsValid() {
		return int(value.FieldByName("ExitCode").Int()), printed.String() + value.FieldByName("Err").Interface().(error).Error()
	}
	return 1, printed.String() + err.Error()
}

// expectCLI runs a verb and looks for texts in what it prints.
func (e *edge) expectCLI(t testing.TB, code int, wanted []string, args ...string) string {
	t.Helper()
	got, out := e.cli(t, args...)
	if got != code {
		t.Errorf("%v: exit code %d, want %d\n%s", args, got, code, out)
	}
	for _, want := range wanted {
		if !strings.Contains(out, want) {
			t.Errorf("%v: no %q in\n%s", args, want, out)
		}
	}
	return out
}

func TestStatusTellsWhatTheEdgeDid(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "retries 0", withAdmin)
	body := someBytes(50_000, 1)
	publishOld(gitlab, "app.bin", body)
	before := mustCall[adminapi.Status](t, e, http.MethodGet, "status", "")
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	for range 3 {
		e.mustGet(t, "app.bin", developer, body)
	}
	var after adminapi.Status
	await(t, func() bool {
		after = mustCall[adminapi.Status](t, e, http.MethodGet, "status", "")
		return after.Requests[string(outcomeHit)] == before.Requests[string(outcomeHit)]+3 &&
			after.Requests[string(outcomeMiss)] == before.Requests[string(outcomeMiss)]+1
	})
	// Of one fetch four downloads lived. What other tests did to the counts of the process doesn't matter.
	saved := before.BytesUpstream - after.BytesUpstream
	for source, bytes := range after.BytesSent {
		saved += bytes - before.BytesSent[source]
	}
	if saved != 150_000 {
		t.Errorf("%d bytes were saved", saved)
	}
	sent := int64(0)
	for _, bytes := range after.BytesSent {
		sent += bytes
	}
	if want := max(0, sent-(after.BytesUpstream-after.BytesWarmed)); after.BytesSaved != want {
		t.Errorf("%d bytes are said to be saved, of %d sent and %d received", after.BytesSaved, sent, after.BytesUpstream)
	}
	if len(after.Stores) != 1 || after.Stores[0].Entries != 1 || after.Stores[0].Bytes != 50_000 || !after.Working || after.HitRatio == nil {
		t.Errorf("status is %+v", after)
	}
	if len(after.Upstreams) != 1 || after.Upstreams[0].GitLab != "up" || after.Upstreams[0].Switched != "on" {
		t.Errorf("upstreams are %+v", after.Upstreams)
	}
	e.expectCLI(t, 0, []string{"working"}, "status", "--check")
	awaitProbeAnswered(t)

	gitlab.Inject(gitlabtest.Fault{Status: http.StatusBadGateway, Times: -1})
	for range 4 {
		e.do(t, call{path: filePath("other.bin"), token: developer})
	}
	begun := time.Now()
	await(t, func() bool {
		shown := mustCall[adminapi.Status](t, e, http.MethodGet, "status", "").Upstreams[0]
		if since := shown.GitLabSince; since != nil && (since.Before(begun.Add(-time.Minute)) || since.After(time.Now())) {
			t.Fatalf("GitLab is down since %v", since)
		}
		return shown.GitLab == "down" && shown.GitLabSince != nil
	})
	e.expectCLI(t, 0, []string{"no: " + gitlab.URL + " is down", "down", "GitLab can't be asked", "502 Bad Gateway", filepath.Join(e.directory)}, "status")
	e.expectCLI(t, 0, []string{"working; " + gitlab.URL + ": gitlab down"}, "status", "--check")
	e.expectCLI(t, 0, []string{`"working":false`}, "status", "--json")
}

func TestWrongAdminCallsGetA4xxWithASentence(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "nothing", "", 404, "there is no /gitlab_packages/nothing"},
		{"POST", "", "", 405, "takes GET, not POST"},
		{"GET", "?x=1", "", 400, "takes no query parameters"},
		{"GET", "activity?x=1", "", 400, "takes no query parameters"},
		{"GET", "usage?x=1", "", 400, "takes no query parameters"},
		{"GET", "refusals?x=1", "", 400, "takes no query parameters"},
		{"DELETE", "status", "", 405, "takes GET, not DELETE"},
		{"GET", "status?x=1", "", 400, "takes no query parameters"},
		{"POST", "purge", "", 400, "what is to be purged?"},
		{"POST", "purge", `{"package":"x"}`, 400, "what is to be purged?"},
		{"POST", "purge", `{"project":"24","version":"1"}`, 400, "a version needs its package"},
		{"POST", "purge", `{"project":"24","all":true}`, 400, "not both"},
		{"POST", "purge", `{"project":"24","pakage":"x"}`, 400, `unknown field \"pakage\"`},
		{"POST", "purge", `{"project":24}`, 400, `the field \"project\" must not be a number`},
		{"POST", "purge", `{"project":"-3"}`, 400, "is no project"},
		{"POST", "purge", `{"all":true,"grants":true,"soft":true}`, 400, "can't be soft"},
		{"POST", "purge", `nonsense`, 400, "one JSON object"},
		{"POST", "purge", `{"all":true}{"all":true}`, 400, "and no more"},
		{"POST", "purge", `{"all":true,"upstream":"https://elsewhere.example"}`, 400, "no handler stands in front of"},
		{"POST", "purge", `{"all":true}}`, 400, "and no more"},
		{"POST", "purge?project=24", `{"all":true}`, 400, "takes no query parameters"},
		{"POST", "disable", `{"project":"a b"}`, 400, "is no project"},
		{"POST", "disable", "", 400, "which project?"},
		{"POST", "disable", "null", 400, "which project?"},
		{"POST", "enable", `{"project":""}`, 400, `the field \"project\" is empty`},
		{"POST", "reset", `{"project":null}`, 400, `the field \"project\" is empty`},
		{"POST", "reset", `{"project":"24","all":true}`, 400, "not both"},
		{"POST", "disable?project=24", "", 400, "takes no query parameters"},
		{"POST", "disable?project=24", `{"all":true}`, 400, "takes no query parameters"},
		{"POST", "warm?package=pkg", `{"project":"24","package":"pkg"}`, 400, "takes no query parameters"},
		{"POST", "verify?rate=1", "", 400, "takes no query parameters"},
		{"GET", "entries?limit=0", "", 400, "from 1 to 1000"},
		{"GET", "entries?limit=x", "", 400, "from 1 to 1000"},
		{"GET", "entries?after=x", "", 400, "the field next"},
		{"GET", "entries?project=24;package=x", "", 400, "separated by ampersands"},
		{"GET", "entries?pakage=x", "", 400, "there is no parameter"},
		{"GET", "entries?file=x&file=y", "", 400, "given 2 times"},
		{"POST", "warm", `{"project":"24"}`, 400, "which package?"},
		{"POST", "warm", `{"project":"24","package":"pkg","pin":"soon"}`, 400, "must be a duration"},
		{"GET", "warm?id=nothing", "", 404, "there is no warming"},
	} {
		status, answer := e.api(t, test.method, test.path, test.body)
		if status != test.status || !strings.Contains(answer, test.want) {
			t.Errorf("%s %s %s: %d %s", test.method, test.path, test.body, status, answer)
		}
	}
}

func TestWhoLooksForThePageAtTheAdminAPIIsToldWhereItIs(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	got := mustCall[adminapi.Signpost](t, e, http.MethodGet, adminapi.CallSignpost, "")
	if !strings.Contains(got.Page, "gitlab_packages_page") || !strings.Contains(got.Page, "http://localhost:2020") {
		t.Errorf("%+v", got)
	}
}

func TestWithoutAHandlerTheAdminAPISaysSo(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	empty := fmt.Sprintf(`{"admin":{"listen":%q}}`, strings.TrimPrefix(e.admin, "http://"))
	if err := caddy.Load([]byte(empty), true); err != nil {
		t.Fatal(err)
	}
	if status, answer := e.api(t, http.MethodGet, "status", ""); status != http.StatusNotFound || !strings.Contains(answer, "no gitlab_packages handler") {
		t.Errorf("%d %s", status, answer)
	}
	e.expectCLI(t, 1, []string{"no gitlab_packages handler"}, "status")
}

func TestWithoutACaddyTheCommandSaysSo(t *testing.T) {
	e := &edge{admin: "http://" + freeAddress(t)}
	e.expectCLI(t, 1, []string{"is Caddy running"}, "status")
}

func TestEntriesAreListedByPagesAndByAllNamesOfAProject(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n on 24 group/app\n}", withAdmin)
	for i := range 5 {
		file := fmt.Sprintf("f%d.bin", i)
		publishOld(gitlab, file, []byte(file))
		e.mustGet(t, file, developer, []byte(file))
	}
	byPath := "/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/f1.bin"
	e.do(t, call{path: byPath, token: developer})
	awaitNoFlight(t)
	e.mustGet(t, "f1.bin", developer, []byte("f1.bin"))

	var files []string
	after := ""
	for pages := 0; pages == 0 || after != ""; pages++ {
		page := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?project=Group%2FApp&limit=2&after="+after, "")
		for _, entry := range page.Entries {
			files = append(files, entry.Project+" "+entry.File)
			if entry.SHA256 != hexSHA256([]byte(entry.File)) || entry.Size != 6 || entry.Confirmed == nil || entry.LastUsed.Before(entry.Stored) {
				t.Errorf("listed %+v", entry)
			}
			if entry.Project == "24" && entry.File == "f1.bin" && entry.Hits == 0 {
				t.Errorf("%s %s has %d hits", entry.Project, entry.File, entry.Hits)
			}
		}
		after = page.Next
	}
	if got, want := strings.Join(files, ", "), "group/app f1.bin, 24 f0.bin, 24 f1.bin, 24 f2.bin, 24 f3.bin, 24 f4.bin"; got != want {
		t.Errorf("listed %s", got)
	}
	one := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?project=24&package=pkg&version=1.0.0&file=f3.bin", "")
	if len(one.Entries) != 2-1 || one.Entries[0].File != "f3.bin" || one.Next != "" {
		t.Errorf("one file: %+v", one)
	}
	out := e.expectCLI(t, 0, []string{"f1.bin", hexSHA256([]byte("f4.bin"))}, "entries", "--all", "--limit", "2")
	if strings.Count(out, "\n") != 7 || strings.Count(out, "SHA-256") != 1 {
		t.Errorf("printed\n%s", out)
	}
	e.expectCLI(t, 0, []string{"There are more"}, "entries", "--limit", "2")
	e.expectCLI(t, 0, []string{"nothing is stored"}, "entries", "24", "pkg", "9.9.9")
	e.expectCLI(t, 0, []string{`{"entries":[]}`}, "entries", "24", "pkg", "9.9.9", "--json")
}

func TestPurgeRemovesAtOnceByEveryName(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n on 24 group/app\n}", withAdmin)
	paths := []string{filePath("a.bin"), filePath("b.bin"), "/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/a.bin"}
	publishOld(gitlab, "a.bin", []byte("a"))
	publishOld(gitlab, "b.bin", []byte("b"))
	fill := func() {
		t.Helper()
		for _, path := range paths {
			e.do(t, call{path: path, token: developer})
			awaitNoFlight(t)
		}
	}
	statusOf := func(path string) string { return e.do(t, call{path: path, token: developer}).cacheStatus() }
	fill()
	e.expectCLI(t, 0, []string{"2 files are removed"}, "purge", "24", "pkg", "1.0.0", "a.bin")
	if got := statusOf(paths[1]); !strings.Contains(got, "; hit") {
		t.Errorf("the other file: %s", got)
	}
	for _, path := range []string{paths[0], paths[2]} {
		if got := statusOf(path); !strings.Contains(got, "uri-miss") {
			t.Errorf("%s after the purge: %s", path, got)
		}
		awaitNoFlight(t)
	}
	for _, purge := range [][]string{{"24", "pkg", "1.0.0"}, {"group/app", "pkg"}, {"24"}, {"--all"}} {
		fill()
		e.expectCLI(t, 0, []string{"3 files are removed, 2 B became free"}, append([]string{"purge"}, purge...)...)
		if got := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries", ""); len(got.Entries) != 0 {
			t.Errorf("%v left %+v", purge, got)
		}
	}
	e.expectCLI(t, 0, []string{"0 files"}, "purge", "24")
	e.expectCLI(t, 1, []string{"what is to be purged?"}, "purge")
	e.expectCLI(t, 1, []string{"empty name"}, "purge", "24", "")
}

func TestASoftPurgeAsksGitLabBeforeTheFileIsServedAgain(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "app.bin", []byte("old"))
	e.mustGet(t, "app.bin", developer, []byte("old"))
	awaitNoFlight(t)
	e.expectCLI(t, 0, []string{"1 file is marked as stale"}, "purge", "24", "pkg", "--soft")
	if got := e.mustGet(t, "app.bin", developer, []byte("old")); !strings.Contains(got.cacheStatus(), "confirmed") {
		t.Errorf("got %s", got.cacheStatus())
	}
	if gets := gitlab.CountFetches(); gets != 1 {
		t.Errorf("the file was fetched %d times", gets)
	}
	// A file on its way in is stale too: nobody joins it unasked, and it isn't kept.
	e.mustGet(t, "app.bin", developer, []byte("old"))
	body := someBytes(2_000_000, 1)
	publishOld(gitlab, "large.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1_000_000, Release: release})
	response, err := e.begin(call{path: filePath("large.bin"), token: developer})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	e.expectCLI(t, 0, []string{"1 file is"}, "purge", "--all", "--soft")
	close(release)
	got, err := io.ReadAll(response.Body)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	awaitNoFlight(t)
	if got := e.mustGet(t, "large.bin", developer, body); strings.Contains(got.cacheStatus(), "hit") {
		t.Errorf("what was on its way was kept: %s", got.cacheStatus())
	}
}

func TestForgottenGrantsAreAskedForAgain(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n on 24 group/app\n}", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	awaitNoFlight(t)
	for _, forget := range [][]string{{"group/app"}, {"--all"}} {
		e.mustGet(t, "app.bin", developer, []byte("x"))
		e.expectCLI(t, 0, []string{"1 grant is forgotten"}, append([]string{"purge", "--grants"}, forget...)...)
		if got := e.mustGet(t, "app.bin", developer, []byte("x")); !strings.Contains(got.cacheStatus(), "confirmed") {
			t.Errorf("%v: %s", forget, got.cacheStatus())
		}
	}
	e.expectCLI(t, 0, []string{"0 grants"}, "purge", "--grants", "25")
}

func TestVerifyFindsWhatIsDamagedAndTheExitCodeTells(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "cache "+t.TempDir()+" {\n memory 0\n min_free 0\n}", withAdmin)
	for i := range 3 {
		file := fmt.Sprintf("f%d.bin", i)
		publishOld(gitlab, file, []byte(file))
		e.mustGet(t, file, developer, []byte(file))
	}
	awaitNoFlight(t)
	state := process.statesInUse()[0]
	if err := state.store.Load().Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.expectCLI(t, 0, []string{"done", "3"}, "verify")
	blobs, err := filepath.Glob(filepath.Join(state.directory, "blobs", "*", hexSHA256([]byte("f1.bin"))))
	if err != nil || len(blobs) != 1 {
		t.Fatal(blobs, err)
	}
	if err := os.WriteFile(blobs[0], []byte("f2.bin"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.expectCLI(t, exitWrong, []string{"1 damaged files were removed"}, "verify")
	e.mustGet(t, "f1.bin", developer, []byte("f1.bin"))
	awaitNoFlight(t)
	e.expectCLI(t, 0, []string{`"damaged":0`, `"running":false`}, "verify", "--json")
	e.expectCLI(t, 0, nil, "verify", "--stop")
}

func TestAVerificationCanBeStopped(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "cache "+t.TempDir()+" {\n verify_rate 1\n min_free 0\n}", withAdmin)
	body := someBytes(10_000, 1)
	publishOld(gitlab, "app.bin", body)
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	if err := process.statesInUse()[0].store.Load().Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.expectCLI(t, 0, []string{"running"}, "verify", "--detach")
	await(t, func() bool {
		list := mustCall[adminapi.VerificationList](t, e, http.MethodGet, "verify", "")
		return list.Verifications[0].Running && list.Verifications[0].Bytes > 0
	})
	out := e.expectCLI(t, 0, nil, "verify", "--stop")
	if strings.Contains(out, "running") {
		t.Errorf("after it was stopped:\n%s", out)
	}
}

func TestWarmFetchesWhatIsNotStoredAndPinsIt(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	const files = 120
	for i := range files {
		publishOld(gitlab, fmt.Sprintf("f%d.bin", i), []byte(fmt.Sprint(i)))
	}
	gitlab.Publish(project, "pkg", "2.0.0", "app.bin", []byte("another version"))
	e.mustGet(t, "f7.bin", developer, []byte("7"))
	awaitNoFlight(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(colleague+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.expectCLI(t, 0, []string{"120 files", "119 fetched, 1 were stored before, 120 pinned, 0 failed"},
		"warm", "24", "pkg", "1.0.0", "--token-file", token, "--pin", "30d")
	before := gitlab.CountFetches()
	for i := range files {
		if got := e.mustGet(t, fmt.Sprintf("f%d.bin", i), developer, []byte(fmt.Sprint(i))); strings.Contains(got.cacheStatus(), "uri-miss") {
			t.Errorf("f%d.bin: %s", i, got.cacheStatus())
		}
	}
	if gets := gitlab.CountFetches() - before; gets != 0 {
		t.Errorf("%d bodies were fetched again", gets)
	}
	entry := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?limit=1", "").Entries[0]
	if entry.PinnedUntil == nil || time.Until(*entry.PinnedUntil) < 29*24*time.Hour {
		t.Errorf("pinned until %v", entry.PinnedUntil)
	}
	e.expectCLI(t, 0, []string{"120 files are pinned no longer"}, "unpin", "24", "pkg", "1.0.0")
	if entry := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?limit=1", "").Entries[0]; entry.PinnedUntil != nil {
		t.Errorf("unpinned, and pinned until %v", entry.PinnedUntil)
	}
	e.expectCLI(t, 1, []string{"what is to be unpinned?"}, "unpin")
	e.expectCLI(t, 0, []string{"1 fetched, 120 were stored"}, "warm", "24", "pkg", "--token-file", token)
	// What callers may read stays GitLab's to say.
	if got := e.do(t, call{path: filePath("f1.bin"), token: outsider}); got.StatusCode != http.StatusNotFound {
		t.Errorf("a stranger gets %s", got.Status)
	}
	e.expectCLI(t, 1, []string{"404", "GitLab was asked anonymously"}, "warm", "24", "pkg")
	e.expectCLI(t, exitWrong, []string{"lists no files"}, "warm", "24", "nothing", "--token-file", token)
	e.expectCLI(t, 1, []string{"one token"}, "warm", "24", "pkg", "--token-file", os.DevNull)
	if _, log := e.api(t, http.MethodGet, "status", ""); strings.Contains(log+e.log(t), colleague) {
		t.Error("the token is told")
	}
}

func TestWarmUsesTheHandlersTokenAndTellsWhatFailed(t *testing.T) {
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	e := startEdge(t, gitlab.URL, "api_token "+developer+"\nretries 0\ncache "+t.TempDir()+" {\n max_size 1MiB\n max_pinned 100KB\n min_free 0\n}", withAdmin)
	publishOld(gitlab, "a.bin", someBytes(60_000, 1))
	publishOld(gitlab, "b.bin", someBytes(60_000, 2))
	e.expectCLI(t, exitWrong, []string{"2 fetched", "1 pinned, 1 failed", "max_pinned allows no more"}, "warm", "24", "pkg", "--pin", "1d")
	publishOld(gitlab, "c.bin", someBytes(2<<20, 3))
	e.expectCLI(t, exitWrong, []string{"2 were stored", "1 failed", "can't be stored"}, "warm", "24", "pkg")
	e.expectCLI(t, 0, nil, "disable", "24")
	e.expectCLI(t, 1, []string{"switched off"}, "warm", "24", "pkg")
}
