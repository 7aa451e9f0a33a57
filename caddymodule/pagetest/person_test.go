package pagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// TestWhatMovesMovesWithoutReloading watches a page while files come in, end and begin.
func TestWhatMovesMovesWithoutReloading(t *testing.T) {
	s := startSite(t, morning(), "actions")
	b := openBrowser(t, desktop)
	b.open(s.url)
	b.await("the stream is there", `!document.querySelector("[data-mark=live]").hidden`)
	read[bool](b, `window.first = document.querySelector("[data-rows=fills] li"); true`)
	s.edge.Change(func(world *fakeedge.World) {
		fills := world.Activity.Fills
		fills[0].Bytes = *fills[0].Size
		begun := adminapi.FillStatus{Directory: fakeedge.Directory, Upstream: fakeedge.Upstream, Project: "99", Package: "new", Version: "1.0.0", File: "<b>new</b>.bin", Bytes: 1 << 20, From: adminapi.FromGitLab, Callers: 1, Begun: time.Now()}
		world.Activity.Fills = []adminapi.FillStatus{begun, fills[0]}
		world.Activity.Uploads, world.Activity.UploadsTotal = nil, 0
		world.Status.Upstreams[0].GitLab, world.Status.Working = adminapi.Down, false
	})
	b.await("the file is here", `document.querySelectorAll("[data-rows=fills] li").length === 2 && document.body.innerText.includes("3.0 GiB of 3.0 GiB")`)
	if !read[bool](b, `document.querySelectorAll("[data-rows=fills] li")[1] === window.first && document.querySelector("progress").max === 1`) {
		t.Error("the row of a file that goes on was made anew")
	}
	b.expect("99 / new / 1.0.0 / <b>new</b>.bin", "No upload is passing.")
	b.await("the verdict is another one", `document.querySelector("h1").innerText.includes("doesn't answer")`)
	if mood := read[string](b, `document.querySelector(".verdict").dataset.mood`); mood != "bad" {
		t.Errorf("the verdict's mood is %s", mood)
	}
	s.edge.Change(func(world *fakeedge.World) { world.Activity = adminapi.Activity{} })
	b.await("nothing moves", `document.body.innerText.includes("Nothing is on its way in.")`)
	for _, said := range b.heard() {
		t.Errorf("the console says %s", said)
	}
}

// TestTheBrowserComesBackAfterAReload has Caddy take its config anew under a page that is watched.
func TestTheBrowserComesBackAfterAReload(t *testing.T) {
	s := startSite(t, morning(), "")
	b := openBrowser(t, desktop)
	b.open(s.url)
	b.await("the stream is there", `!document.querySelector("[data-mark=live]").hidden`)
	s.load(t)
	b.await("the stream has ended", `document.querySelector("[data-mark=live]").hidden`)
	s.edge.Change(func(world *fakeedge.World) { world.Activity = adminapi.Activity{} })
	b.await("what moves is seen again", `!document.querySelector("[data-mark=live]").hidden && document.body.innerText.includes("Nothing is on its way in.")`)
}

// TestWithoutScriptsThePageIsComplete does all by links and forms alone.
func TestWithoutScriptsThePageIsComplete(t *testing.T) {
	s := startSite(t, morning(), "actions")
	b := openBrowser(t, look{width: 1280, height: 900, withoutScripts: true, zone: "Asia/Tokyo"})
	b.open(s.url)
	b.expect("Working.", "In the last hour,", "2.1 GiB of 3.0 GiB", "toolchain", "against the rules", "Times are UTC.")
	if lines := read[int](b, `document.querySelectorAll(".chart .line").length`); lines != 8 {
		t.Errorf("%d curves are drawn", lines)
	}
	made := read[string](b, `document.querySelector("footer time").innerText`)
	if at := time.Now().UTC(); made != at.Format("2 Jan 2006, 15:04") && made != at.Add(-time.Minute).Format("2 Jan 2006, 15:04") {
		t.Errorf("the page says it was made at %s", made)
	}
	b.click(`a[href^="./?span=week"]`)
	b.expect("In the last week,")
	s.switchOff(t, b)
	s.purge(t, b)
}

// TestWithScriptsTimesAreTheViewersZones looks from Tokyo.
func TestWithScriptsTimesAreTheViewersZones(t *testing.T) {
	s := startSite(t, morning(), "")
	b := openBrowser(t, look{width: 1280, height: 900, zone: "Asia/Tokyo"})
	b.open(s.url)
	b.expect("Times are Asia/Tokyo.", "GMT+9")
	tokyo := time.FixedZone("Tokyo", 9*3600)
	made := read[string](b, `document.querySelector("footer time").innerText`)
	if at := time.Now().In(tokyo); made != at.Format("2 Jan 2006, 15:04") && made != at.Add(-time.Minute).Format("2 Jan 2006, 15:04") {
		t.Errorf("the page says it was made at %s", made)
	}
}

// TestClicksSwitchAndPurge does what people do, with scripts.
func TestClicksSwitchAndPurge(t *testing.T) {
	s := startSite(t, morning(), "actions")
	b := openBrowser(t, desktop)
	s.switchOff(t, b)
	s.purge(t, b)
}

// switchOff switches a project off by clicking, and on again.
func (s *site) switchOff(t *testing.T, b *tab) {
	t.Helper()
	b.open(s.url)
	b.click(`nav a[href="./projects"], nav a[href="projects"]`)
	b.click(`form:has(input[name=project][value="24"]) button[value=off]`)
	b.expect("Project 24 is off now.")
	if calls := s.edge.Calls(adminapi.CallDisable); len(calls) != 1 || calls[0].Request != (adminapi.SwitchRequest{Upstream: fakeedge.Upstream, Project: "24"}) {
		t.Errorf("the calls are %+v", calls)
	}
	b.do(chromedp.Reload())
	if calls := s.edge.Calls(adminapi.CallDisable); len(calls) != 1 {
		t.Error("a reload did it again")
	}
	b.click(`form:has(input[name=project][value="24"]) button[value=on]`)
	b.expect("Project 24 is on now.")
	b.click(`a[href^="switch?all=yes"]`)
	b.expect("This will switch all projects that weren't switched by themselves", "gets 404")
	b.click(`.confirm a.quiet`)
	b.expect("Another project")
}

// purge looks a package up, and removes one of its files by clicking.
func (s *site) purge(t *testing.T, b *tab) {
	t.Helper()
	b.click(`nav a[href$="files"]`)
	b.do(chromedp.SendKeys(`input[type=search]`, "shellcheck"))
	b.click(`form.search button`)
	if rows := read[int](b, `document.querySelectorAll(".files tbody tr").length`); rows != 6 {
		t.Errorf("%d files are found", rows)
	}
	b.click(`.files tbody tr a.button`)
	b.expect("This will remove 1 file from the edge, 9.0 MiB in all.", "shellcheck-linux-amd64.tar.xz")
	b.click(`button.danger`)
	b.expect("1 file was removed; 9.0 MiB are free.")
	b.open(s.url + "files?search=shellcheck")
	if rows := read[int](b, `document.querySelectorAll(".files tbody tr").length`); rows != 5 {
		t.Errorf("%d files are left", rows)
	}
}

// TestCurvesAreReadOutByPointerAndKeys points at a curve, and walks along it.
func TestCurvesAreReadOutByPointerAndKeys(t *testing.T) {
	s := startSite(t, morning(), "")
	b := openBrowser(t, desktop)
	b.open(s.url)
	b.await("the curves' steps are there", `(() => {
		const plot = document.querySelector("[data-chart=bytes] svg");
		plot.focus();
		plot.dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true }));
		return document.querySelector("[data-chart=bytes] .readout").innerText.includes(" served, ");
	})()`)
	last := read[string](b, `document.querySelector("[data-chart=bytes] .readout").innerText`)
	b.do(chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft))
	if before := read[string](b, `document.querySelector("[data-chart=bytes] .readout").innerText`); before == last || !strings.Contains(before, " from GitLab") {
		t.Errorf("two steps before %q is %q", last, before)
	}
	where := read[[]float64](b, `(() => { const plot = document.querySelector("[data-chart=ratio] svg"); plot.scrollIntoView({ block: "center" }); const field = plot.getBoundingClientRect(); return [field.left + field.width / 2, field.top + field.height / 2]; })()`)
	b.do(chromedp.MouseEvent("mouseMoved", where[0], where[1]))
	b.await("the curve is read out", `document.querySelector("[data-chart=ratio] .readout").innerText.includes("by requests")`)
	if pointed := read[string](b, `document.querySelector("[data-chart=ratio] .pointer").getAttribute("d")`); !strings.HasPrefix(pointed, "M5") && !strings.HasPrefix(pointed, "M4") {
		t.Errorf("the pointer stands at %s", pointed)
	}
}

// TestTheKeyboardSkipsToTheContent presses Tab and Enter on a page that was just opened.
func TestTheKeyboardSkipsToTheContent(t *testing.T) {
	s := startSite(t, morning(), "")
	b := openBrowser(t, desktop)
	b.open(s.url + "files")
	b.do(chromedp.KeyEvent(kb.Tab))
	if focused := read[string](b, `document.activeElement.innerText`); focused != "To the content" {
		t.Errorf("the first thing is %q", focused)
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.await("the content has the focus", `document.activeElement.id === "content"`)
	b.do(chromedp.KeyEvent(kb.Tab))
	if outline := read[string](b, `getComputedStyle(document.activeElement).outlineStyle`); outline != "solid" {
		t.Errorf("the focus can't be seen: %s", outline)
	}
}

// TestWhatAppearsLiveCanBeStopped has a warming begin while the page is looked at, and stops it by clicking.
func TestWhatAppearsLiveCanBeStopped(t *testing.T) {
	world := morning()
	world.Activity = adminapi.Activity{}
	s := startSite(t, world, "actions")
	b := openBrowser(t, desktop)
	b.open(s.url)
	b.await("the stream is there", `!document.querySelector("[data-mark=live]").hidden`)
	s.edge.Change(func(world *fakeedge.World) {
		world.Activity.Warmings = []adminapi.WarmingStatus{
			{ID: "w7", Running: true, Upstream: fakeedge.Upstream, Project: "24", Package: "new", Begun: time.Now()},
			{ID: "w6", Upstream: fakeedge.Upstream, Project: "24", Package: "old", Begun: time.Now()},
		}
	})
	b.await("both are there", `document.querySelectorAll("[data-rows=warmings] li").length === 2`)
	if shown := read[string](b, `Array.from(document.querySelectorAll("[data-rows=warmings] form"), (form) => form.checkVisibility()).join()`); shown != "true,false" {
		t.Errorf("the buttons are seen: %s", shown)
	}
	b.click(`[data-rows=warmings] form:not([hidden]) button`)
	b.expect("no further file is begun")
	if calls := s.edge.Calls(adminapi.CallWarm); len(calls) != 1 || calls[0].Query.Get("id") != "w7" {
		t.Errorf("the calls are %+v", calls)
	}
}
