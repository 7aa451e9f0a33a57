package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// found are the files of all pages of a search.
func (e *edge) found(t testing.TB, query url.Values) (files []string, pages int) {
	t.Helper()
	for after := ""; pages == 0 || after != ""; pages++ {
		query.Set("after", after)
		if after == "" {
			query.Del("after")
		}
		page := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?"+query.Encode(), "")
		for _, entry := range page.Entries {
			files = append(files, entry.Project+"/"+entry.Package+"/"+entry.Version+"/"+entry.File)
		}
		if after = page.Next; pages > 100 {
			t.Fatal("no end of pages")
		}
	}
	return files, pages
}

func TestEntriesAreFoundByATextInTheirNames(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "projects on {\n on 24 group/app\n}", withAdmin)
	all := make([]string, 0, 6)
	for _, name := range []string{"group%2Fapp", "24"} {
		for _, file := range []string{"Setup.exe", "app.tar.gz", "notes.txt"} {
			publishOld(gitlab, file, []byte(file))
			if got := e.do(t, call{path: "/api/v4/projects/" + name + "/packages/generic/pkg/1.0.0/" + file, token: developer}); got.StatusCode != http.StatusOK {
				t.Fatal(got.Status)
			}
			all = append(all, name+"/pkg/1.0.0/"+file)
		}
	}
	awaitNoFlight(t)
	for i, one := range all {
		all[i], _ = url.PathUnescape(one)
	}
	for _, test := range []struct {
		query string
		want  []string
	}{
		{"search=setup", []string{all[3], all[0]}},
		{"search=SETUP.EXE", []string{all[3], all[0]}},
		{"search=setup&project=24", []string{all[0], all[3]}}, // by the name that was asked for first
		{"search=app/pkg", all[:3]},
		{"search=1.0.0/n", []string{all[5], all[2]}},
		{"search=pkg&file=notes.txt", []string{all[5], all[2]}},
		{"search=pkg&project=25", nil},
		{"search=nowhere", nil},
		{"search=.*", nil},
		{"search=/", []string{all[3], all[4], all[5], all[0], all[1], all[2]}},
	} {
		for _, limit := range []string{"1", "2", "100"} {
			query, err := url.ParseQuery(test.query + "&limit=" + limit)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := e.found(t, query)
			slices.Sort(got)
			slices.Sort(test.want)
			if !slices.Equal(got, test.want) {
				t.Errorf("%s by %s: %v, want %v", test.query, limit, got, test.want)
			}
		}
	}
	if status, text := e.api(t, http.MethodGet, "entries?search=", ""); status != http.StatusBadRequest {
		t.Errorf("an empty text: %d %s", status, text)
	}
	e.expectCLI(t, 0, []string{"Setup.exe", "There are more"}, "entries", "--search", "setup", "--limit", "1")
	e.expectCLI(t, 0, []string{"nothing is stored"}, "entries", "--search", "nowhere")
	e.expectCLI(t, 1, []string{"--search is empty"}, "entries", "--search", "")
}

// TestASearchLooksAtABoundedNumberOfEntriesForEachPage has the only entry that is looked for behind all that one page looks at.
func TestASearchLooksAtABoundedNumberOfEntriesForEachPage(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	store := runningState().store.Load()
	<-store.Ready()
	key := func(i int) cache.Key {
		return cache.Key{Upstream: gitlab.URL, Project: "24", Package: "many", Version: "1.0.0", File: fmt.Sprintf("f%06d", i)}
	}
	digest := putStored(t, store, key(0), []byte("x")).Digest
	for i := 1; i <= adminapi.MaxSearchedEntries+10; i++ {
		if _, err := store.Link(key(i), store.Generation(key(i)), cache.FillSpec{Size: 1, SHA256: digest}); err != nil {
			t.Fatal(err)
		}
	}
	last := fmt.Sprintf("f%06d", adminapi.MaxSearchedEntries+5)
	if err := store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	page := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?search="+last, "")
	if len(page.Entries) != 0 || page.Next == "" {
		t.Errorf("the first page has %d entries, and after it %q", len(page.Entries), page.Next)
	}
	next := mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?search="+last+"&after="+page.Next, "")
	if len(next.Entries) != 1 || next.Entries[0].File != last || next.Next != "" {
		t.Errorf("the second page is %+v", next)
	}
	// Who uses the command sees it at once.
	e.expectCLI(t, 0, []string{last}, "entries", "--search", last)
}
