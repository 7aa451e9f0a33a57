package page

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// TestAPageStaysSmallHoweverMuchThereIs has 50,000 projects and 200,000 files, and all lists as long as the admin API lets them be, with long
// names.
func TestAPageStaysSmallHoweverMuchThereIs(t *testing.T) {
	world := morning()
	long := strings.Repeat("long-", 50)
	pattern := world.Entries[0]
	world.Entries = nil
	for i := range 200_000 {
		pattern.File = long + strconv.Itoa(i)
		world.Entries = append(world.Entries, pattern)
	}
	world.Projects.Projects = nil
	for i := range 50_000 {
		world.Projects.Projects = append(world.Projects.Projects, adminapi.ProjectStatus{Upstream: fakeedge.Upstream, Project: long + strconv.Itoa(i), State: "on", From: "config's default"})
	}
	world.Projects.Projects[40_000].From = "run time"
	world.Usage.Projects, world.Usage.MostUsed, world.Usage.Largest = nil, world.Entries[:adminapi.MaxUsageFiles], world.Entries[:adminapi.MaxUsageFiles]
	for i := range adminapi.MaxUsageProjects {
		project := adminapi.ProjectUsage{Upstream: fakeedge.Upstream, Project: long + strconv.Itoa(i), Bytes: 1 << 20, Entries: 5}
		for j := range adminapi.MaxUsagePackages {
			project.Packages = append(project.Packages, adminapi.PackageUsage{Package: long + strconv.Itoa(j), Bytes: 1 << 15, Entries: 1})
		}
		world.Usage.Projects = append(world.Usage.Projects, project)
	}
	world.Refusals.Refusals = nil
	for range adminapi.MaxRefusals {
		world.Refusals.Refusals = append(world.Refusals.Refusals, adminapi.Refusal{Project: long, Outcome: "refused", Why: long, Times: 1})
	}
	fill := world.Activity.Fills[0]
	fill.File, world.Activity.Fills = long, nil
	for range adminapi.MaxActivity {
		world.Activity.Fills = append(world.Activity.Fills, fill)
	}
	p, _ := newPage(t, world, ActionsGuarded, loopback...)
	const most = 1 << 20
	for _, target := range []string{"/", "/?span=week", "/live", "/files", "/files?search=9", "/projects", "/projects?search=long", "/actions", "/troubles", "/purge?all=yes"} {
		if got := get(t, p, visit{target: target}); got.Code != http.StatusOK || got.Body.Len() > most {
			t.Errorf("%s: %d with %d bytes", target, got.Code, got.Body.Len())
		}
	}
	first := get(t, p, visit{target: "/projects"}).Body.String()
	expect(t, first, "And 49,800 more projects.")
	if switched := strings.Index(first, long+"40000<"); switched < 0 || switched > strings.Index(first, long+"0<") {
		t.Error("the project that was switched isn't the first")
	}
	found := get(t, p, visit{target: "/projects?search=LONG-49999"}).Body.String()
	expect(t, found, `name="project" value="`+long+`49999"`)
	if strings.Count(found, `<form method="post"`) != 2 || strings.Contains(found, "more project") {
		t.Error("more than the one that is meant is found")
	}
	expect(t, get(t, p, visit{target: "/projects?search=nobody"}).Body.String(), "No project is called so")
}

// hidingEdge has a file that a search finds after so many calls.
type hidingEdge struct {
	Edge
	after, calls int
}

func (e *hidingEdge) Call(ctx context.Context, method, call string, query url.Values, request any) (any, error) {
	if call != adminapi.CallEntries {
		return e.Edge.Call(ctx, method, call, query, request)
	}
	e.calls++
	at, _ := strconv.Atoi(query.Get(parameterAfter)) // none is 0
	if at < e.after {
		return adminapi.EntryList{Next: strconv.Itoa(at + 1)}, nil
	}
	return adminapi.EntryList{Entries: []adminapi.EntryStatus{{Project: "24", File: "needle.bin"}}}, nil
}

// TestASearchGoesOnWhereOneAnswerFindsNothing looks for files that lie behind so many that one call doesn't look at all of them.
func TestASearchGoesOnWhereOneAnswerFindsNothing(t *testing.T) {
	for after, pages := range map[int]int{0: 1, searchSteps - 1: 1, searchSteps: 2, 3*searchSteps + 1: 4} {
		p, fake := newPage(t, morning(), "", loopback...)
		hiding := &hidingEdge{Edge: fake, after: after}
		p.edge = hiding
		target := "/files?search=needle"
		for page := 1; ; page++ {
			shown := get(t, p, visit{target: target}).Body.String()
			if strings.Contains(shown, "needle.bin") {
				if page != pages || hiding.calls != after+1 {
					t.Errorf("behind %d calls it is found on page %d, by %d calls", after, page, hiding.calls)
				}
				break
			}
			expect(t, shown, "Nothing of that was found among the names that were looked at so far.", "Look further")
			target = fmt.Sprintf("/files?search=needle&after=%d", page*searchSteps)
			expect(t, shown, strings.ReplaceAll(fmt.Sprintf(`href="files?after=%d&search=needle"`, page*searchSteps), "&", "&amp;"))
			if page > pages {
				t.Fatal("it isn't found")
			}
		}
	}
}
