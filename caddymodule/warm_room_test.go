package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// awaitLoadedEdge waits until the edge's store knows what was used least recently.
func awaitLoadedEdge(t *testing.T) {
	t.Helper()
	select {
	case <-runningState().store.Load().Ready():
	case <-time.After(time.Minute):
		t.Fatal("the store does not finish loading")
	}
}

// awaitWarmed waits for the end of a warming.
func awaitWarmed(t *testing.T, e *edge, id string) (status adminapi.WarmingStatus) {
	t.Helper()
	await(t, func() bool {
		status = mustCall[adminapi.WarmingStatus](t, e, http.MethodGet, "warm?id="+id, "")
		return !status.Running
	})
	return status
}

// TestAWarmingStopsAtTheRoomThatIsLeft warms more than a cache holds in which some files are used while it runs. A disk that is
// slow to sync can't make room in time, which is no failure: it is tried again.
func TestAWarmingStopsAtTheRoomThatIsLeft(t *testing.T) {
	withoutRoom := int64(1)
	for try := 1; withoutRoom > 0 && try <= 5 && !t.Failed(); try++ {
		t.Run(fmt.Sprint("try ", try), func(t *testing.T) { withoutRoom = warmMoreThanThereIsRoomFor(t) })
	}
	if withoutRoom > 0 && !t.Failed() {
		t.Errorf("a warming that stops counts as trouble: %d files without room", withoutRoom)
	}
}

func warmMoreThanThereIsRoomFor(t *testing.T) (withoutRoom int64) {
	t.Helper()
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	const size, files = 200_000, 30 // of which about twenty fit
	e := startEdge(t, gitlab.URL, "api_token "+developer+"\ncache "+t.TempDir()+" {\n max_size 4MB\n upload_room 0\n min_free 0\n memory 0\n}", withAdmin)
	for i := range files {
		gitlab.Publish(project, "big", "1.0.0", fmt.Sprintf("f%02d.bin", i), someBytes(size, byte(i)))
	}
	for i := range 10 {
		publishOld(gitlab, fmt.Sprint(i), someBytes(size, byte(100+i)))
		e.mustGet(t, fmt.Sprint(i), developer, someBytes(size, byte(100+i)))
		awaitNoFlight(t)
	}
	e.expectCLI(t, 0, nil, "warm", "24", "big", "--detach")
	status := awaitWarmed(t, e, mustCall[adminapi.WarmingList](t, e, http.MethodGet, "warm", "").Warmings[0].ID)
	if !status.NoRoom || status.Failed != 0 || status.Fetched < 15 || status.Fetched > 19 || status.Fetched+status.Left != files {
		t.Fatalf("warmed: %+v", status)
	}
	stored := 0
	for _, entry := range mustCall[adminapi.EntryList](t, e, http.MethodGet, "entries?package=big", "").Entries {
		stored++
		if entry.LastUsed.Before(status.Begun) {
			t.Errorf("%s was stored before", entry.File)
		}
	}
	if stored != status.Fetched {
		t.Errorf("%d files are stored of %d that were fetched", stored, status.Fetched)
	}
	out := e.expectCLI(t, exitWrong, []string{"there is room for"}, "warm", "24", "big")
	if !strings.Contains(out, "were stored before") {
		t.Errorf("printed\n%s", out)
	}
	return mustCall[adminapi.Status](t, e, http.MethodGet, "status", "").Stores[0].NoRoom
}

// TestWhatWasWarmedIsNoLoss compares what is said to be saved before and after a warming that nobody has used yet.
func TestWhatWasWarmedIsNoLoss(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "api_token "+developer, withAdmin)
	body := someBytes(100_000, 1)
	publishOld(gitlab, "app.bin", body)
	account := func() (balance, warmed int64) {
		status := mustCall[adminapi.Status](t, e, http.MethodGet, "status", "")
		for _, sent := range status.BytesSent {
			balance += sent
		}
		return balance - (status.BytesUpstream - status.BytesWarmed), status.BytesWarmed
	}
	before, warmedBefore := account()
	e.expectCLI(t, 0, nil, "warm", "24", "pkg")
	after, warmed := account()
	if after != before || warmed != warmedBefore+100_000 {
		t.Errorf("saved %d before and %d after; warmed %d", before, after, warmed-warmedBefore)
	}
	e.mustGet(t, "app.bin", developer, body)
	await(t, func() bool {
		now, _ := account()
		return now == before+100_000
	})
}

// TestAWarmingWaitsAsLongAsGitLabAsks has a GitLab that limits requests, for the list and for a file.
func TestAWarmingWaitsAsLongAsGitLabAsks(t *testing.T) {
	var waited []time.Duration
	setForTest(t, &process.pause, func(_ context.Context, wait time.Duration) error {
		waited = append(waited, wait.Round(time.Second)) // one warming waits, in one goroutine, as its only file is one
		putForward(wait)
		return nil
	})
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "api_token "+developer, withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	gitlab.Inject(gitlabtest.Fault{PathContains: "/packages", Status: http.StatusTooManyRequests}) // the list, which is asked for first
	gitlab.Inject(gitlabtest.Fault{PathContains: "/packages/generic/", Method: http.MethodGet, Status: http.StatusTooManyRequests, Times: 2})
	gitlab.Inject(gitlabtest.Fault{PathContains: "package_files", Status: http.StatusTooManyRequests})
	e.expectCLI(t, 0, []string{"1 fetched", "0 failed"}, "warm", "24", "pkg")
	if len(waited) < 4 || waited[0] != 37*time.Second {
		t.Errorf("waited %v", waited)
	}
}

func TestARetryAfterIsSecondsOrADateAndBounded(t *testing.T) {
	now := time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"37": 37 * time.Second, "0": time.Second, "-5": time.Second, "": limitedPause, "soon": limitedPause, "99999": maxLimitedPause,
		"Sun, 29 Nov 2026 12:02:00 GMT": 2 * time.Minute, "Sun, 29 Nov 2026 11:00:00 GMT": time.Second,
	} {
		if got := waitAsked(&upstream.UnreachableError{RetryAfter: text}, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestAWarmingEndsWhenItsProjectIsSwitchedOff switches it off while the first files are fetched, by the config that began the
// warming and by the next.
func TestAWarmingEndsWhenItsProjectIsSwitchedOff(t *testing.T) {
	t.Run("same config", func(t *testing.T) { switchOffWhileWarming(t, false) })
	t.Run("after a reload", func(t *testing.T) { switchOffWhileWarming(t, true) })
}

func switchOffWhileWarming(t *testing.T, reload bool) {
	t.Helper()
	gitlab := newGitLab(t)
	options := "projects on {\n on 24 group/app\n}\napi_token " + developer
	e := startEdge(t, gitlab.URL, options, withAdmin)
	for i := range 20 {
		publishOld(gitlab, fmt.Sprintf("f%02d.bin", i), someBytes(100_000, byte(i)))
	}
	release, reached := make(chan struct{}), make(chan struct{}, 20)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "generic", StallAfter: 1000, Times: -1, Release: release, Reached: func() { reached <- struct{}{} }})
	begun := mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", `{"project":"24","package":"pkg"}`)
	for range warmAtOnce {
		<-reached
	}
	// Whoever begins the same meanwhile joins.
	if again := mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", `{"project":"24","package":"pkg"}`); again.ID != begun.ID || !again.Joined {
		t.Errorf("begun %+v, and again %+v", begun, again)
	}
	if other := mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", `{"project":"24","package":"nothing"}`); other.ID == begun.ID || other.Joined {
		t.Errorf("another package joins: %+v", other)
	}
	if reload {
		e.reload(t, options+"\nmax_age 7m")
	}
	e.expectCLI(t, 0, nil, "disable", "group/app")
	close(release)
	status := awaitWarmed(t, e, begun.ID)
	if status.Error != errWarmingSwitchedOff.Error() || status.Left == 0 || status.Fetched+status.Left != 20 {
		t.Errorf("ended as %+v", status)
	}
	e.expectCLI(t, 0, nil, "reset", "group/app")
	again := mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", `{"project":"24","package":"pkg"}`)
	if status := awaitWarmed(t, e, again.ID); again.ID == begun.ID || again.Joined || status.Fetched+status.Already != 20 {
		t.Errorf("after the end: %+v", status)
	}
}

// TestAWarmingIsListedAndStopped has one that GitLab keeps waiting.
func TestAWarmingIsListedAndStopped(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "api_token "+developer, withAdmin)
	e.expectCLI(t, 0, []string{"nothing is being warmed"}, "warm", "--list")
	for i := range 6 {
		publishOld(gitlab, fmt.Sprint(i), someBytes(10_000, byte(i)))
	}
	release, reached := make(chan struct{}), make(chan struct{}, 20)
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, PathContains: "generic", StallAfter: 1000, Times: -1, Release: release, Reached: func() { reached <- struct{}{} }})
	e.expectCLI(t, 0, nil, "warm", "24", "pkg", "1.0.0", "--detach")
	for range warmAtOnce {
		<-reached
	}
	list := mustCall[adminapi.WarmingList](t, e, http.MethodGet, "warm", "").Warmings
	if len(list) != 1 || list[0].Package != "pkg" || list[0].Version != "1.0.0" || list[0].Project != "24" || len(list[0].Directories) != 1 {
		t.Fatalf("listed %+v", list)
	}
	e.expectCLI(t, 0, []string{list[0].ID, "pkg 1.0.0", "running"}, "warm", "--list")
	e.expectCLI(t, 0, []string{"stops"}, "warm", "--stop", list[0].ID)
	close(release)
	if status := awaitWarmed(t, e, list[0].ID); status.Error != errWarmingStopped.Error() || status.Fetched != warmAtOnce || status.Left != 2 {
		t.Errorf("ended as %+v", status)
	}
	e.expectCLI(t, 0, []string{list[0].ID, "it was stopped"}, "warm", "--list")
	e.expectCLI(t, 1, []string{"there is no warming"}, "warm", "--stop", "nothing")
	e.expectCLI(t, 1, []string{"it was stopped"}, "warm", "--join", list[0].ID)
}

// TestAWarmingFillsEveryDirectoryOfItsGitLabOrTheOneThatIsNamed has two sites with a directory each.
func TestAWarmingFillsEveryDirectoryOfItsGitLabOrTheOneThatIsNamed(t *testing.T) {
	gitlab := newGitLab(t)
	second := filepath.Join(t.TempDir(), "second")
	site := around{site: "handle /second/* {\n gitlab_packages " + gitlab.URL + " {\n  api_token " + developer + "\n  cache " + second + " {\n   min_free 0\n  }\n }\n}\n"}
	e := startEdge(t, gitlab.URL, "api_token "+developer, withAdmin, site)
	publishOld(gitlab, "app.bin", []byte("x"))
	begun := mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", fmt.Sprintf(`{"project":"24","package":"pkg","directory":%q}`, second))
	if status := awaitWarmed(t, e, begun.ID); status.Fetched != 1 || len(status.Directories) != 1 || blobsIn(t, second) != 1 || blobsIn(t, e.directory) != 0 {
		t.Errorf("one directory: %+v", status)
	}
	begun = mustCall[adminapi.WarmingStatus](t, e, http.MethodPost, "warm", `{"project":"24","package":"pkg"}`)
	if status := awaitWarmed(t, e, begun.ID); status.Files != 2 || status.Fetched+status.Already != 2 || len(status.Directories) != 2 || blobsIn(t, e.directory) != 1 {
		t.Errorf("all directories: %+v", status)
	}
	if status, answer := e.api(t, http.MethodPost, "warm", `{"project":"24","package":"pkg","directory":"/nowhere"}`); status != http.StatusBadRequest || !strings.Contains(answer, second) {
		t.Errorf("another directory: %d %s", status, answer)
	}
}
