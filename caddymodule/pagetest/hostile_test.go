package pagetest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// attack is a page of somebody else's, on another port of this machine.
func attack(t *testing.T, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, "<!doctype html><title>An attack</title><body>%s</body>", body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestAFormOfAnotherSiteDoesNothing has a person press a button on a page of somebody else's.
func TestAFormOfAnotherSiteDoesNothing(t *testing.T) {
	s := startSite(t, morning(), "actions")
	b := openBrowser(t, desktop)
	// Even with the token, which no other site can read.
	b.open(s.url + "actions")
	token := read[string](b, `document.querySelector("input[name=token]").value`)
	evil := attack(t, `<form method="post" action="`+s.url+`purge"><input name="token" value="`+token+`"><input name="all" value="yes"><input name="confirmed" value="yes"><button>Win a prize</button></form>`)
	for _, address := range []string{evil, strings.Replace(evil, "127.0.0.1", foreignName, 1)} {
		b.open(address)
		b.click("button")
		b.expect("Not done", "The form was sent by a page of another site.")
	}
	if calls := s.edge.Calls(adminapi.CallPurge); len(calls) > 0 {
		t.Errorf("the edge has heard %v", calls)
	}
}

// TestAForeignNameThatLeadsHereIsRefused opens the page by a name of somebody else's, as after DNS rebinding.
func TestAForeignNameThatLeadsHereIsRefused(t *testing.T) {
	s := startSite(t, morning(), "actions")
	b := openBrowser(t, desktop)
	b.open(strings.Replace(s.url, "localhost", foreignName, 1))
	b.expect("Not known by this name", foreignName)
	if status := read[int](b, `fetch("live").then((answer) => answer.status)`); status != http.StatusMisdirectedRequest {
		t.Errorf("what moves is told with %d", status)
	}
	if calls := s.edge.Calls(""); len(calls) > 0 {
		t.Errorf("the edge has heard %v", calls)
	}
}

// TestNoOtherPageShowsOrReadsThisOne tries a frame, a script, a picture, a stream and a question.
func TestNoOtherPageShowsOrReadsThisOne(t *testing.T) {
	s := startSite(t, morning(), "actions")
	b := openBrowser(t, desktop)
	b.open(attack(t, `<iframe src="`+s.url+`"></iframe><script src="`+s.url+`live"></script><img src="`+s.url+`purge?all=yes"><p id="said"></p>
		<script>
			new EventSource("`+s.url+`events");
			fetch("`+s.url+`live", { mode: "no-cors" }).then((answer) => { document.querySelector("#said").textContent = answer.type + " " + answer.status; }, () => { document.querySelector("#said").textContent = "refused"; });
		</script>`))
	b.await("the question is answered", `document.querySelector("#said").textContent !== ""`)
	if said := read[string](b, `document.querySelector("#said").textContent`); said != "refused" && said != "opaque 0" {
		t.Errorf("the question says %s", said)
	}
	b.await("all has been tried", `document.readyState === "complete"`)
	if calls := s.edge.Calls(""); len(calls) > 0 {
		t.Errorf("the edge has heard %v", calls)
	}
}

// worstName is what a stranger can call a project, and more.
const worstName = "\"><img src=x onerror=window.hacked=1><script>window.hacked=1</script>{{.}}\u202Egnp.exe\x00" +
	"aVeryLongNameWithoutAnySpaceInItaVeryLongNameWithoutAnySpaceInItaVeryLongNameWithoutAnySpaceInItaVeryLongNameWithoutAnySpaceInIt"

// TestNoNameRunsOrBreaksThePage gives everything the worst name, on a narrow screen, also in what comes live.
func TestNoNameRunsOrBreaksThePage(t *testing.T) {
	world := morning()
	rename := func(names ...*string) {
		for _, name := range names {
			*name = worstName
		}
	}
	for i := range world.Entries {
		entry := &world.Entries[i]
		rename(&entry.Project, &entry.Package, &entry.Version, &entry.File)
	}
	for i := range world.Usage.Projects {
		rename(&world.Usage.Projects[i].Project)
		for j := range world.Usage.Projects[i].Packages {
			rename(&world.Usage.Projects[i].Packages[j].Package)
		}
	}
	world.Usage.MostUsed, world.Usage.Largest = world.Entries[:3], world.Entries[:3]
	for i := range world.Refusals.Refusals {
		rename(&world.Refusals.Refusals[i].Project, &world.Refusals.Refusals[i].Why)
	}
	for i := range world.Projects.Projects {
		world.Projects.Projects[i].Names = []string{worstName}
		rename(&world.Projects.Projects[i].Project)
	}
	for i := range world.Status.RecentFailures {
		rename(&world.Status.RecentFailures[i].File, &world.Status.RecentFailures[i].Error)
	}
	moving := morning().Activity
	for i := range moving.Fills {
		rename(&moving.Fills[i].Project, &moving.Fills[i].Package, &moving.Fills[i].Version, &moving.Fills[i].File)
	}
	world.Activity = adminapi.Activity{}
	s := startSite(t, world, "actions")
	b := openBrowser(t, phone)
	for _, place := range []string{"", "files", "projects", "troubles", "actions", "purge?all=yes"} {
		s.edge.Change(func(world *fakeedge.World) { world.Activity = adminapi.Activity{} })
		b.open(s.url + place)
		if place == "" || place == "actions" {
			s.edge.Change(func(world *fakeedge.World) { world.Activity = moving })
			b.await("the names come live", `document.querySelectorAll("[data-rows=fills] li").length === 3`)
		}
		b.picture("worst-" + strings.NewReplacer("?", "_", "=", "_").Replace(place))
		if wide := read[int64](b, `document.documentElement.scrollWidth`); wide > phone.width {
			t.Errorf("/%s is %d wide", place, wide)
		}
		if read[bool](b, `window.hacked === 1 || document.querySelector("img") !== null || document.querySelectorAll("script").length !== 1`) {
			t.Errorf("/%s runs what a name says", place)
		}
		b.expect("⟨U+202E⟩gnp.exe")
	}
	for _, said := range b.heard() {
		t.Errorf("the console says %s", said)
	}
}
