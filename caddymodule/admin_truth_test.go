package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestFilesOfAFormerGitLabAreListedAndPurged stores a file as one that came from a GitLab which no handler stands in front of.
func TestFilesOfAFormerGitLabAreListedAndPurged(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	awaitLoadedEdge(t)
	publishOld(gitlab, "app.bin", []byte("new"))
	e.mustGet(t, "app.bin", developer, []byte("new"))
	awaitNoFlight(t)
	store := runningState().store.Load()
	former := func() {
		t.Helper()
		key := cache.Key{Upstream: "https://former.example/gitlab", Project: "24", Package: "pkg", Version: "1.0.0", File: "app.bin"}
		fill, err := store.Begin(key, store.Generation(key), cache.FillSpec{Size: 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fill.Write([]byte("old")); err != nil {
			t.Fatal(err)
		}
		if _, err := fill.Commit(store.Generation(key)); err != nil {
			t.Fatal(err)
		}
	}
	former()
	listed := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?project=24", "").Entries
	if len(listed) != 2 || listed[0].Directory != e.directory {
		t.Errorf("listed %+v", listed)
	}
	const other = "HTTPS://Former.example:443/gitlab/"
	listed = mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?upstream="+url.QueryEscape(other), "").Entries
	if len(listed) != 1 || listed[0].Upstream != "https://former.example/gitlab" {
		t.Errorf("of the former GitLab: %+v", listed)
	}
	e.expectCLI(t, 0, []string{"https://former.example/gitlab", e.directory, "GITLAB", "DIRECTORY"}, "entries")
	e.expectCLI(t, 0, []string{"1 file is removed, 3 B became free"}, "purge", "24", "--upstream", other)
	e.expectCLI(t, 0, []string{"1 file is removed"}, "purge", "24", "--upstream", strings.Replace(gitlab.URL, "http", "HTTP", 1))
	former()
	e.expectCLI(t, 0, []string{"1 file is removed"}, "purge", "--all", "--upstream", other)
	e.expectCLI(t, 1, []string{"no stored file came from there", gitlab.URL}, "purge", "--all", "--upstream", other)
}

// TestAPurgeSaysWhichNamesItKnows purges a project of which no other name is known, and one of which it is.
func TestAPurgeSaysWhichNamesItKnows(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n on 25 group/other\n}", withAdmin)
	unknown := mustCall[adminapi.PurgeAnswer](t, e, http.MethodPost, "purge", `{"project":"24"}`)
	if !strings.Contains(unknown.Warning, "no other name of 24 is known") || !strings.Contains(unknown.Warning, "its path") || len(unknown.Names) != 0 {
		t.Errorf("of a project without another name: %+v", unknown)
	}
	known := mustCall[adminapi.PurgeAnswer](t, e, http.MethodPost, "purge", `{"project":"25"}`)
	if known.Warning != "" || fmt.Sprint(known.Names) != "[group/other]" {
		t.Errorf("of a project with another name: %+v", known)
	}
	if all := mustCall[adminapi.PurgeAnswer](t, e, http.MethodPost, "purge", `{"all":true}`); all.Warning != "" {
		t.Errorf("of all: %+v", all)
	}
}

func TestWhatCanBeNoProjectIsRefused(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	for _, name := range []string{"*", "group/*", "24,25", "24?x=1", "group%252Fapp", "group/app#x", "group//app", "app", "-x/app", "group/a b"} {
		for _, call := range []string{"disable", "enable", "reset", "purge"} {
			if status, answer := e.api(t, http.MethodPost, call, fmt.Sprintf(`{"project":%q}`, name)); status != http.StatusBadRequest || !strings.Contains(answer, "is no project") {
				t.Errorf("%s %s: %d %s", call, name, status, answer)
			}
		}
	}
	for _, name := range []string{"24", "group/app", "Group%2FApp", "a/b.c/d_e-f", "_x/.y"} {
		if status, answer := e.api(t, http.MethodPost, "disable", fmt.Sprintf(`{"project":%q}`, name)); status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

// TestAListOfProjectsDoesNotWaitForAGitLabThatHangs has one that answers after the list was told.
func TestAListOfProjectsDoesNotWaitForAGitLabThatHangs(t *testing.T) {
	setForTest(t, &process.namesPatience, time.Millisecond)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "api_token "+administrator+"\nprojects on {\n on 24\n}", withAdmin)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{PathContains: "/api/v4/projects/24", Hang: true, Release: release, Times: -1})
	list := mustCall[adminapi.ProjectList](t, e, http.MethodGet, "projects", "")
	if len(list.Projects) != 1 || !strings.Contains(list.Warning, "could not be asked") {
		t.Errorf("listed %+v", list)
	}
	close(release)
	// The question goes on, so its answer isn't lost; one that had been waited for would have been given up by now.
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return app.handlers[0].aliases.Last("24").Answered })
	gitlab.ClearFaults()
	setForTest(t, &app.process.namesPatience, time.Minute)
	if list := mustCall[adminapi.ProjectList](t, e, http.MethodGet, "projects", ""); list.Warning != "" || fmt.Sprint(list.Projects[0].Names) != "[group/app]" {
		t.Errorf("when GitLab answers: %+v", list)
	}
}
