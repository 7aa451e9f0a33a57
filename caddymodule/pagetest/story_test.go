package pagetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// visitor is a person at the page of a real edge.
type visitor struct {
	*tab
	edge *realEdge
}

// published is the file that the visitors' stories are about, and its content.
const published = "tool/1.0.0/tool-linux-amd64.bin"

var content = bytes.Repeat([]byte("0123456789abcdef"), 32<<10) // 512 KiB

// TestAPersonSeesAndDoesAllWithARealEdge publishes and downloads through the program that people run, and looks at its page meanwhile.
func TestAPersonSeesAndDoesAllWithARealEdge(t *testing.T) {
	v := visitor{openBrowser(t, desktop), startRealEdge(t, "")}
	watching := visitor{openBrowser(t, desktop), v.edge}
	watching.open(v.edge.page)
	read[bool](watching.tab, `window.stayed = true`)
	v.open(v.edge.page)
	v.expect("Working.", "Nothing is stored yet.", "Nothing was downloaded in the last hour.", "not asked yet")
	v.await("the stream is there", `!document.querySelector("[data-mark=live]").hidden`)
	read[bool](v.tab, `window.stayed = true`)

	v.edge.publish(t, projectID, published, content)
	v.edge.mustGet(t, published, developer, content)
	v.edge.mustGet(t, published, developer, content)
	v.await("GitLab is seen to answer", `document.querySelector(".states").innerText.includes("GitLab") && document.querySelector(".state .word").innerText === "answers"`)
	v.seesAFileComeIn(t)
	if !read[bool](v.tab, `window.stayed === true`) {
		t.Error("the page was loaded again")
	}
	v.doesAll(t)
	v.seesWhyOfKnownProjectsAlone(t)
	watching.seesAnOutage(t)
	watching.seesTheNumbersMove(t)
	for _, said := range append(v.heard(), watching.heard()...) {
		t.Errorf("the console says %s", said)
	}
}

// TestAPersonDoesAllWithARealEdgeWithoutScripts does the same by links and forms alone.
func TestAPersonDoesAllWithARealEdgeWithoutScripts(t *testing.T) {
	v := visitor{openBrowser(t, look{width: 1280, height: 900, withoutScripts: true}), startRealEdge(t, "")}
	v.edge.publish(t, projectID, published, content)
	v.edge.mustGet(t, published, developer, content)
	v.edge.mustGet(t, published, developer, content)
	v.doesAll(t)
	v.seesWhyOfKnownProjectsAlone(t)
}

// seesAFileComeIn holds a fetch in its middle, and looks at it without loading the page again.
func (v visitor) seesAFileComeIn(t *testing.T) {
	t.Helper()
	const file, size = "large/1.0.0/large.bin", 8 << 20
	v.edge.gitlab.PublishContent(24, "large", "1.0.0", "large.bin", gitlabtest.Generated(size, 1))
	release := make(chan struct{})
	v.edge.gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "large.bin", StallAfter: size / 2, Release: release})
	response := v.edge.begin(t, http.MethodGet, projectID, file, developer, nil)
	defer response.Body.Close()
	v.await("half of the file is here", `document.querySelector("[data-rows=fills] li .amount")?.innerText === "4.0 MiB of 8.0 MiB"`)
	if progress := read[float64](v.tab, `document.querySelector("[data-rows=fills] li progress").value`); progress != .5 {
		t.Errorf("the progress is %v", progress)
	}
	v.expect("24 / large / 1.0.0 / large.bin", "from GitLab, for 1 caller")
	close(release)
	if n, err := io.Copy(io.Discard, response.Body); n != size || err != nil {
		t.Fatal(n, err)
	}
	v.await("nothing is on its way in", `document.querySelector("[data-mark='fills.empty']").checkVisibility() && !document.querySelector("[data-rows=fills] li")`)
}

// doesAll searches, switches, purges, warms, pins, unpins, verifies and forgets by clicking, and looks at what the edge does then.
func (v visitor) doesAll(t *testing.T) {
	t.Helper()
	v.searches(t)
	v.switchesOffAndOn(t)
	v.purges(t)
	v.warmsAndUnpins(t)
	v.verifies(t)
	v.forgets(t)
}

func (v visitor) searches(t *testing.T) {
	t.Helper()
	v.open(v.edge.page)
	v.click(`nav a[href$="files"]`)
	v.do(chromedp.SendKeys(`input[type=search]`, "LINUX-amd64"))
	v.click(`form.search button`)
	if rows := read[int](v.tab, `document.querySelectorAll(".files tbody tr").length`); rows != 1 {
		t.Errorf("%d files are found", rows)
	}
	v.expect("tool-linux-amd64.bin", "512 KiB", gitlabtest.SHA256(gitlabtest.Bytes(content)))
}

func (v visitor) switchesOffAndOn(t *testing.T) {
	t.Helper()
	v.click(`nav a[href$="projects"]`)
	v.click(`form:has(input[name=project][value="24"]) button[value=off]`)
	v.expect("Project 24 is off now.")
	if status, _ := v.edge.get(t, projectID, published, developer); status != http.StatusNotFound {
		t.Errorf("a file of a project that is off: %d", status)
	}
	v.click(`form:has(input[name=project][value="24"]) button[value=on]`)
	v.expect("Project 24 is on now.")
	v.edge.mustGet(t, published, developer, content)
}

func (v visitor) purges(t *testing.T) {
	t.Helper()
	v.edge.mustGet(t, published, developer, content)
	fetched := v.edge.gitlab.CountFetches()
	v.open(v.edge.page + "files?search=linux-amd64")
	v.click(`.files tbody tr a.button`)
	v.expect("This will remove 1 file from the edge, 512 KiB in all.", "tool-linux-amd64.bin")
	v.edge.mustGet(t, published, developer, content)
	if now := v.edge.gitlab.CountFetches(); now != fetched {
		t.Errorf("it was only asked about, and fetched %d times", now-fetched)
	}
	v.click(`button.danger`)
	v.expect("1 file was removed; 512 KiB are free.")
	v.edge.mustGet(t, published, developer, content)
	if now := v.edge.gitlab.CountFetches(); now != fetched+1 {
		t.Errorf("after the purge it was fetched %d times", now-fetched)
	}
}

func (v visitor) warmsAndUnpins(t *testing.T) {
	t.Helper()
	v.edge.gitlab.Publish(24, "toolchain", "2.0.0", "cc.bin", content)
	v.edge.gitlab.Publish(24, "toolchain", "2.0.0", "ld.bin", content[1:])
	v.open(v.edge.page)
	v.click(`.doing a[href="actions#warm"]`)
	for field, value := range map[string]string{"project": projectID, "package": "toolchain", "version": "2.0.0", "pin": "30d", "gitlab_token": developer} {
		v.do(chromedp.SendKeys(`#warm input[name=`+field+`]`, value))
	}
	v.click(`#warm button`)
	v.expect("24 / toolchain / 2.0.0 is being fetched.")
	v.awaitOnPage("both are here", `document.querySelector("[data-rows=warmings]").innerText.includes("done: 2 fetched, 0 here already, 2 pinned")`)
	v.click(`nav a[href$="files"]`)
	v.do(chromedp.SendKeys(`input[type=search]`, "toolchain/2.0.0"))
	v.click(`form.search button`)
	pins := `Array.from(document.querySelectorAll(".files td[data-label='pinned until']"), (pin) => pin.innerText)`
	until := time.Now().AddDate(0, 0, 30).UTC().Format("Jan 2006")
	if shown := read[[]string](v.tab, pins); len(shown) != 2 || !strings.Contains(shown[0], until) || !strings.Contains(shown[1], until) {
		t.Errorf("pinned until %q", shown)
	}
	v.click(`.files form[action=unpin] button`)
	v.expect("1 pin was taken back.")
	v.open(v.edge.page + "files?search=toolchain/2.0.0")
	if shown := read[[]string](v.tab, pins); len(shown) != 2 || shown[0] != "–" || shown[1] == "–" {
		t.Errorf("then pinned until %q", shown)
	}
}

func (v visitor) verifies(t *testing.T) {
	t.Helper()
	v.click(`nav a[href$="actions"]`)
	v.click(`#verify button`)
	v.expect("All stored files are being read and compared")
	v.awaitOnPage("all were read", `document.querySelector("[data-rows=verifications]").innerText.includes(" read, 0 damaged")`)
}

func (v visitor) forgets(t *testing.T) {
	t.Helper()
	v.edge.mustGet(t, published, developer, content)
	asked := v.edge.gitlab.CountQuestions()
	v.edge.mustGet(t, published, developer, content)
	if now := v.edge.gitlab.CountQuestions(); now != asked {
		t.Fatal("the grant isn't fresh")
	}
	v.do(chromedp.SendKeys(`#grants input[name=project]`, projectID))
	v.click(`#grants button`)
	v.expect("Forget grants")
	v.click(`button.danger`)
	v.expect("forgotten. GitLab is asked about each caller anew.")
	v.edge.mustGet(t, published, developer, content)
	if now := v.edge.gitlab.CountQuestions(); now != asked+1 {
		t.Errorf("then it was asked %d times", now-asked)
	}
}

// awaitOnPage waits until the page says something by itself; without scripts, by loading it again.
func (v visitor) awaitOnPage(what, expression string) {
	v.t.Helper()
	if v.scripts {
		v.await(what, expression)
		return
	}
	limit := time.Now().Add(patience)
	for !read[bool](v.tab, "Boolean("+expression+")") {
		if time.Now().After(limit) {
			v.t.Fatalf("waited in vain until %s; the page says\n%s", what, v.text())
		}
		v.do(chromedp.Reload(), chromedp.WaitReady("body"))
	}
}

// seesWhyOfKnownProjectsAlone has GitLab refuse a project that is known, and others that nobody held a yes to.
func (v visitor) seesWhyOfKnownProjectsAlone(t *testing.T) {
	t.Helper()
	if status, _ := v.edge.get(t, projectID, published, outsider); status != http.StatusNotFound {
		t.Fatalf("an outsider gets %d", status)
	}
	const secret = "secret-plans"
	for i := range 3 {
		v.edge.get(t, fmt.Sprintf("%s/<script>%d</script>", secret, i), published, outsider)
	}
	for _, place := range []string{"", "troubles"} {
		v.open(v.edge.page + place)
		v.expect("refused by GitLab", "Answered with 404", "3 refusals of other projects since the start.")
		if strings.Contains(v.text(), secret) {
			t.Errorf("/%s names a project to which nobody held a yes", place)
		}
	}
}

// seesAnOutage has GitLab be gone for a while, and looks at the first line without loading the page again.
func (v visitor) seesAnOutage(t *testing.T) {
	t.Helper()
	begun := time.Now().Add(-time.Minute)
	v.edge.gitlab.SetDown(true)
	for range 3 {
		if status, _ := v.edge.get(t, projectID, "absent/1.0.0/absent.bin", developer); status < http.StatusInternalServerError {
			t.Fatalf("without GitLab the answer is %d", status)
		}
	}
	v.await("the outage is told", `/^Not working as it should: 127\.0\.0\.1:\d+ doesn't answer\.$/.test(document.querySelector("h1").innerText)`)
	since := read[string](v.tab, `document.querySelector("[data-mark='verdict.since']").checkVisibility() ? document.querySelector("[data-cell='verdict.since.at']").dateTime : ""`)
	if at, err := time.Parse(time.RFC3339, since); err != nil || at.Before(begun) || at.After(time.Now()) {
		t.Errorf("GitLab is down since %q", since)
	}
	v.edge.gitlab.SetDown(false)
	v.await("all is well again", `document.querySelector("h1").innerText === "Working." && !document.querySelector("[data-mark='verdict.since']").checkVisibility()`)
}

// seesTheNumbersMove waits on an overview that was opened before there was anything, and isn't loaded again, until the history has told of
// what was done: numbers, and curves where there were none. A minute must turn, and the page asks once a minute.
func (v visitor) seesTheNumbersMove(t *testing.T) {
	t.Helper()
	v.awaitFor(3*time.Minute, "the downloads are counted", `/^In the last hour, \d+ downloads brought [\d.]+ MiB to callers/.test(document.querySelector("[data-cell=savings]").innerText)`)
	v.await("curves are drawn", `document.querySelector(".charts").checkVisibility() && ["bytes.sent", "bytes.upstream", "asked.spared", "ratio.requests", "first_byte.median"].every((key) => document.querySelector(`+"`[data-mark='chart.${key}.line']`"+`).getAttribute("d").startsWith("M"))`)
	v.expect("hits by requests")
	if !read[bool](v.tab, `window.stayed === true`) {
		t.Error("the page was loaded again")
	}
}
