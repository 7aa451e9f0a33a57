package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// TestADryRunSaysWhatThePurgeThenDoesAndDoesNothing purges files of a project by both of its names, some of which have their content in
// common, and compares the two answers.
func TestADryRunSaysWhatThePurgeThenDoesAndDoesNothing(t *testing.T) {
	for _, request := range []string{
		`"project":"24"`, `"project":"group/app","package":"pkg"`, `"project":"24","package":"pkg","version":"1.0.0","file":"same.bin"`,
		`"project":"24","package":"pkg","version":"1.0.0","file":"nothing.bin"`, `"project":"25"`, `"all":true`,
		`"all":true,"soft":true`, `"project":"24","package":"pkg","soft":true`, `"all":true,"grants":true`, `"project":"group/app","grants":true`,
	} {
		t.Run(request, func(t *testing.T) {
			gitlab, storage := naming(t), newSharedStore(t)
			e := startEdge(t, gitlab.URL, sharedOptions(t.TempDir(), storage, "")+"\nprojects on {\n on 24 group/app\n}", withAdmin)
			other := "/api/v4/projects/25/packages/generic/pkg/1.0.0/also.bin"
			gitlab.Publish(otherProject, "pkg", "1.0.0", "also.bin", someBytes(100_000, 1))
			publishOld(gitlab, "same.bin", someBytes(100_000, 1))
			publishOld(gitlab, "alone.bin", someBytes(50_000, 2))
			paths := []string{filePath("same.bin"), filePath("alone.bin"), "/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/alone.bin", other}
			for _, path := range paths {
				if got := e.do(t, call{path: path, token: developer}); got.StatusCode != http.StatusOK {
					t.Fatal(path, got.Status)
				}
			}
			awaitNothingOwed(t)
			gitlab.ResetRequests()
			var dry adminapi.PurgeAnswer
			foresee := func() bool { // when nobody reads any more
				dry = mustCall[adminapi.PurgeAnswer](t, e, http.MethodPost, adminapi.CallPurge, `{"dry_run":true,`+request+`}`)
				return dry.HeldBytes == 0
			}
			await(t, foresee)
			for _, path := range paths {
				if got := e.do(t, call{path: path, token: developer}); !strings.Contains(got.cacheStatus(), "; hit") {
					t.Errorf("%s after a dry run: %s", path, got.cacheStatus())
				}
			}
			if asked := len(gitlab.Requests()); asked != 0 {
				t.Errorf("after a dry run GitLab is asked %d times", asked)
			}
			await(t, foresee)
			wet := mustCall[adminapi.PurgeAnswer](t, e, http.MethodPost, adminapi.CallPurge, `{`+request+`}`)
			if got, want := sorted(t, dry), sorted(t, wet); got != want {
				t.Errorf("the dry run says\n%s, and the purge\n%s", got, want)
			}
			if strings.Contains(request, "all") && wet.Entries+wet.Grants < 3 {
				t.Errorf("nothing was purged: %+v", wet)
			}
		})
	}
}

// sorted is an answer as text, with its lists in order.
func sorted(t testing.TB, answer adminapi.PurgeAnswer) string {
	t.Helper()
	slices.Sort(answer.SharedObjects)
	encoded, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func TestADryRunOfTheCommandSaysWhatItWouldDo(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n on 24 group/app\n}", withAdmin)
	for i := range 2 {
		publishOld(gitlab, fmt.Sprintf("f%d.bin", i), someBytes(1<<10, byte(i)))
		e.mustGet(t, fmt.Sprintf("f%d.bin", i), developer, someBytes(1<<10, byte(i)))
	}
	await(t, func() bool { // until the start's work is over, and nobody reads
		return mustCall[adminapi.PurgeAnswer](t, e, http.MethodPost, adminapi.CallPurge, `{"dry_run":true,"all":true}`).Bytes == 2<<10
	})
	e.expectCLI(t, 0, []string{"2 files would be removed, 2.0 KiB would become free", "by these names as well: 24"}, "purge", "group/app", "--dry-run")
	e.expectCLI(t, 0, []string{"2 files would be marked as stale"}, "purge", "--all", "--soft", "--dry-run")
	e.expectCLI(t, 0, []string{"1 grant would be forgotten"}, "purge", "--all", "--grants", "--dry-run")
	if got := e.mustGet(t, "f0.bin", developer, someBytes(1<<10, 0)); !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("after three dry runs: %s", got.cacheStatus())
	}
}
