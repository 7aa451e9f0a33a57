package caddymodule

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/history"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// historicalEdge is an edge whose clock stands at the begin of a minute, and whose history begins with it.
type historicalEdge struct {
	*edge
	gitlab *gitlabtest.Server
	body   []byte
	// before are the requests that the process had counted before, made those since.
	before, made int64
}

// startHistorical starts one, in front of a GitLab with one file.
func startHistorical(t testing.TB) *historicalEdge {
	t.Helper()
	setForTest(t, &process.historyPause, 5*time.Millisecond)
	begin := process.clock().Truncate(time.Minute).Add(-time.Duration(testClock.Load()))
	setForTest(t, &process.clock, func() time.Time { return begin.Add(time.Duration(testClock.Load())) })
	process.history.counted = process.metrics.totals() // of other tests
	e := &historicalEdge{gitlab: newGitLab(t), body: someBytes(1000, 1), before: process.history.counted.Requests}
	e.edge = startEdge(t, e.gitlab.URL, "max_age 10h\ngrant_ttl 10h", withAdmin)
	publishOld(e.gitlab, "app.bin", e.body)
	return e
}

// get downloads the file that often.
func (e *historicalEdge) get(t testing.TB, times int) {
	t.Helper()
	for range times {
		e.mustGet(t, "app.bin", developer, e.body)
		awaitNoFlight(t)
		e.made++
	}
	e.awaitCounted(t)
}

// awaitCounted waits until the metrics have counted all requests that were made: an answer is sent before it is counted.
func (e *historicalEdge) awaitCounted(t testing.TB) {
	t.Helper()
	await(t, func() bool { return process.metrics.totals().Requests == e.before+e.made })
}

// readHistory calls GET history.
func (e *historicalEdge) readHistory(t testing.TB, span string) adminapi.History {
	t.Helper()
	return mustCall[adminapi.History](t, e.edge, http.MethodGet, "history?span="+span, "")
}

// passMinute lets a minute pass, and returns what the history tells of it.
func (e *historicalEdge) passMinute(t testing.TB) (minute adminapi.HistoryPoint) {
	t.Helper()
	e.awaitCounted(t)
	putForward(time.Minute)
	await(t, func() bool {
		process.history.mu.Lock()
		defer process.history.mu.Unlock()
		return process.history.present.Load().UntilDue() > 0
	})
	points := e.readHistory(t, adminapi.SpanHour).Points
	return points[len(points)-1]
}

// expectMinutes compares the requests of the minutes that are known, the oldest first.
func (e *historicalEdge) expectMinutes(t testing.TB, want ...int64) {
	t.Helper()
	var got []int64
	for _, point := range e.readHistory(t, adminapi.SpanHour).Points {
		if point.Known {
			got = append(got, point.Requests)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the minutes that are known have %v requests, want %v", got, want)
	}
}

func TestTheHistoryTellsWhatTheEdgeDid(t *testing.T) {
	e := startHistorical(t)
	e.passMinute(t)
	e.get(t, 4) // one is fetched
	refused := e.do(t, call{path: filePath("app.bin"), token: outsider})
	e.do(t, call{path: filePath("app!.bin"), token: developer}) // refused by the rules
	published := e.do(t, call{method: http.MethodPut, path: filePath("new.bin"), token: developer, body: bytes.NewReader(e.body)})
	e.do(t, call{path: "/api/v4/version", token: developer}) // about something else
	e.made += 3
	relayed := int64(len(refused.body) + len(published.body))
	minute := e.passMinute(t)
	median, slowest := minute.FirstByteMedian, minute.FirstByte99th
	if median == nil || slowest == nil || *median <= 0 || *slowest < *median || *slowest > 30 {
		t.Fatalf("times to first byte: %v, %v", median, slowest)
	}
	want := adminapi.HistoryPoint{
		Time: process.clock().Add(-time.Minute).UTC(), Known: true, Requests: 7, Downloads: 4, Hits: 3, Uploads: 1, Refused: 2, BytesSent: 4000 + relayed,
		BytesUpstream: 1000 + relayed, Asked: 2, Spared: 3, FirstByteMedian: median, FirstByte99th: slowest,
	}
	if !reflect.DeepEqual(minute, want) {
		t.Errorf("the minute is\n%+v, want\n%+v", minute, want)
	}
	quiet := e.passMinute(t)
	if want := (adminapi.HistoryPoint{Time: process.clock().Add(-time.Minute).UTC(), Known: true}); !reflect.DeepEqual(quiet, want) {
		t.Errorf("a minute without requests is %+v", quiet)
	}
	for span, steps := range map[string]int{"": 60, adminapi.SpanDay: 288, adminapi.SpanWeek: 168, adminapi.SpanQuarter: 2160} {
		told := mustCall[adminapi.History](t, e.edge, http.MethodGet, map[bool]string{true: "history", false: "history?span=" + span}[span == ""], "")
		first := told.Points[0]
		want.Time = first.Time
		if len(told.Points) != steps || !told.Kept || first.Known || !reflect.DeepEqual(told.Total, want) {
			t.Errorf("%q: %d points, kept: %t, in all\n%+v, want\n%+v", span, len(told.Points), told.Kept, told.Total, want)
		}
	}
	// What is down counts too.
	e.gitlab.Close()
	e.do(t, call{path: filePath("other.bin"), token: developer})
	e.made++
	if minute := e.passMinute(t); minute.Failed != 1 || minute.Downloads != 0 || minute.FirstByteMedian != nil {
		t.Errorf("a minute without a GitLab: %+v", minute)
	}
}

// TestTheHistoryAndTheStatusAgreeOnEachOutcome gives each outcome a class, and the hit ratio the same ones.
func TestTheHistoryAndTheStatusAgreeOnEachOutcome(t *testing.T) {
	for _, outcome := range allOutcomes {
		p := newProcessWide()
		p.metrics.finished(http.MethodGet, &report{outcome: outcome, firstByte: time.Millisecond, begun: time.Now()})
		totals := p.metrics.totals()
		if elsewhere := outcome == outcomeOther; totals.Requests != 1 && !elsewhere || totals.Requests != 0 && elsewhere {
			t.Errorf("%s: %d requests", outcome, totals.Requests)
		}
		if kinds := totals.Downloads + totals.Uploads + totals.Refused + totals.Failed; kinds > 1 {
			t.Errorf("%s is counted %d times", outcome, kinds)
		}
		ratio := p.status().HitRatio
		switch {
		case (ratio != nil) != (totals.Downloads == 1), ratio != nil && *ratio != float64(totals.Hits):
			t.Errorf("%s: the hit ratio is %v of %d downloads, %d of them hits", outcome, ratio, totals.Downloads, totals.Hits)
		case totals.FirstByte != history.Buckets{1: totals.Downloads}:
			t.Errorf("%s: times to first byte %v", outcome, totals.FirstByte)
		}
	}
	for want, outcomes := range map[history.Counts][]outcome{
		{Requests: 1, Downloads: 1, Hits: 1, Spared: 1}: {outcomeHit},
		{Requests: 1, Downloads: 1, Hits: 1}:            {outcomeRevalidated, outcomeOffline, outcomeJoined},
		{Requests: 1, Downloads: 1}:                     {outcomeMiss, outcomeStreamed},
		{Requests: 1, Uploads: 1}:                       {outcomePublished},
		{Requests: 1, Refused: 1}:                       {outcomeRefused, outcomeRateLimited, outcomeInvalid, outcomeSwitchedOff, outcomeLimited},
		{Requests: 1, Failed: 1}:                        {outcomeUnreachable},
		{Requests: 1}:                                   {outcomeDescribed, outcomeForwarded, outcomeAbandoned},
		{}:                                              {outcomeOther},
	} {
		for _, outcome := range outcomes {
			m := newMetrics()
			m.finished("BREW", &report{outcome: outcome})
			if got := m.totals(); got != want {
				t.Errorf("%s: %+v, want %+v", outcome, got, want)
			}
		}
	}
}

func TestTimesToFirstByteAreInTheBucketsThatTheyFallInto(t *testing.T) {
	m := newMetrics()
	for _, took := range []time.Duration{time.Microsecond, time.Second, time.Second, 30 * time.Second, time.Minute, time.Hour} {
		m.finished(http.MethodGet, &report{outcome: outcomeMiss, firstByte: took})
	}
	if got, want := m.totals().FirstByte, (history.Buckets{0: 1, 8: 2, 12: 1, 13: 2}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestQuestionsThatWereSentAreCountedAndNoOthers(t *testing.T) {
	for _, result := range allAskResults {
		m := newMetrics()
		m.checks[result].Observe(1)
		m.fetches[result].Observe(100) // in no bucket
		want := int64(2)
		if result == askNotAsked {
			want = 0
		}
		if got := m.totals().Asked; got != want {
			t.Errorf("%s: %d, want %d", result, got, want)
		}
	}
}

func TestAHistoryOfAnotherSpanIsRefusedWithASentence(t *testing.T) {
	e := startHistorical(t)
	for query, want := range map[string]string{
		"?span=month":         `there is no span \"month\"; there are hour, day, week and quarter`,
		"?span=":              `there is no span \"\"`,
		"?span=Hour":          "there is no span",
		"?span=hour&span=day": `the parameter \"span\" is given 2 times`,
		"?step=60":            "there is no parameter",
	} {
		if status, answer := e.api(t, http.MethodGet, "history"+query, ""); status != http.StatusBadRequest || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s", query, status, answer)
		}
	}
	if status, answer := e.api(t, http.MethodPost, "history", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d %s", status, answer)
	}
}

func TestTheHistoryGoesOnAfterAReloadAndARestart(t *testing.T) {
	e := startHistorical(t)
	e.get(t, 3)
	e.passMinute(t)
	e.get(t, 1)
	e.reload(t, "max_age 5h")
	e.get(t, 1)
	e.passMinute(t)
	e.expectMinutes(t, 3, 2)

	e.get(t, 1)
	e.restartAfter(t, "", func() {
		if info, err := os.Stat(filepath.Join(e.directory, historyName)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		putForward(5 * time.Minute)
	})
	e.expectMinutes(t, 3, 2, 1)
	if total := e.readHistory(t, adminapi.SpanQuarter).Total; total.Requests != 6 || total.Downloads != 6 || total.Hits < 4 || total.FirstByteMedian == nil {
		t.Errorf("in all %+v", total)
	}
	e.get(t, 2)
	e.passMinute(t)
	e.expectMinutes(t, 3, 2, 1, 2)
}

// TestKill9CostsTheHistoryTheLastMinuteAlone starts with the file as a process that was killed leaves it.
func TestKill9CostsTheHistoryTheLastMinuteAlone(t *testing.T) {
	e := startHistorical(t)
	for _, times := range []int{1, 2, 3} {
		e.get(t, times)
		e.passMinute(t)
	}
	path := filepath.Join(e.directory, historyName)
	killed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e.get(t, 4)
	e.restartAfter(t, "", func() {
		if err := os.WriteFile(path, killed, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	e.passMinute(t)
	e.expectMinutes(t, 1, 2, 3, 0)
}

func TestAHistoryThatIsDamagedIsBegunAnewAndFailsNoStart(t *testing.T) {
	e := startHistorical(t)
	e.passMinute(t)
	path := filepath.Join(e.directory, historyName)
	e.restartAfter(t, "", func() { cutShort(t, path) })
	e.expectMinutes(t)
	if !strings.Contains(e.log(t), "the edge's history can't be used; it is set aside, and another one begun") {
		t.Error("the log doesn't tell")
	}
	e.passMinute(t)
	e.restartAfter(t, "", func() {})
	e.expectMinutes(t, 0)
}

// inDirectory is the option for another cache directory beside the edge's own.
func (e *historicalEdge) inDirectory(name string) (option, path string) {
	path = filepath.Join(filepath.Dir(e.directory), name)
	return "cache " + path + " {\n min_free 0\n}", path
}

func TestTheHistoryGoesWithTheConfigToAnotherDirectory(t *testing.T) {
	e := startHistorical(t)
	e.get(t, 1)
	e.passMinute(t)
	option, other := e.inDirectory("other")
	e.reload(t, option)
	if _, err := os.Stat(filepath.Join(other, historyName)); err != nil {
		t.Error(err)
	}
	e.get(t, 2)
	e.passMinute(t)
	e.restartAfter(t, option, func() {})
	e.expectMinutes(t, 1, 2)
	// The former directory goes on from where it was left, in a minute that had begun.
	e.restartAfter(t, "", func() {})
	e.expectMinutes(t, 1, 0)
}

// TestAReloadThatFailsLeavesTheHistoryWhereItWas fails as late as can be, when the other config's history has begun.
func TestAReloadThatFailsLeavesTheHistoryWhereItWas(t *testing.T) {
	e := startHistorical(t)
	e.get(t, 1)
	e.passMinute(t)
	e.get(t, 2)
	option, _ := e.inDirectory("other")
	failing := bytes.Replace(e.config(option), []byte(`"apps":{`), []byte(`"apps":{"gitlab_packages_test_failing":{},`), 1)
	if err := caddy.Load(failing, true); err == nil {
		t.Fatal("the failing config was loaded")
	}
	e.awaitOneListener(t)
	e.get(t, 3)
	e.passMinute(t)
	e.restartAfter(t, "", func() {})
	e.expectMinutes(t, 1, 5)
}

// keeperOf returns a keeper with metrics of its own, and a directory for it that is open.
func keeperOf(t *testing.T, directory string) (*historyKeeper, *attachment) {
	t.Helper()
	p := newProcessWide()
	begin := time.Now().Truncate(time.Minute)
	p.clock = func() time.Time { return begin }
	return p.history, openPlace(t, p, directory)
}

// openPlace opens a directory's state, until the test ends.
func openPlace(t *testing.T, p *processWide, directory string) *attachment {
	t.Helper()
	state := newState(p, directory, storeSettings{})
	t.Cleanup(func() {
		if err := state.Destruct(); err != nil {
			t.Error(err)
		}
	})
	return &attachment{directory: directory, state: state}
}

// TestWhatAConfigCountedWhoseStartFailedIsInTheHistoryThatGoesOn has requests come while two configs are in use.
func TestWhatAConfigCountedWhoseStartFailedIsInTheHistoryThatGoesOn(t *testing.T) {
	k, place := keeperOf(t, t.TempDir())
	failing := openPlace(t, k.process, t.TempDir())
	count := func() { k.process.metrics.finished(http.MethodGet, &report{outcome: outcomeHit}) }
	k.begin(place)
	count()
	k.begin(failing)
	count()
	k.leave(failing)
	count()
	k.leave(place)
	k.begin(place)
	defer k.leave(place)
	begin := k.process.clock()
	k.process.clock = func() time.Time { return begin.Add(time.Minute) }
	read := history.New(history.Config{Bounds: firstByteBuckets, Logger: k.logger, Now: k.process.clock})
	if err := read.KeepIn(filepath.Join(place.directory, historyName)); err != nil {
		t.Fatal(err)
	}
	defer read.Release()
	if last := read.Points(history.Hour)[59]; last.Requests != 3 {
		t.Errorf("the file has %+v", last)
	}
}

func TestADirectoryThatAnotherProcessHoldsGetsNoHistory(t *testing.T) {
	directory := t.TempDir()
	other, err := cache.Open(cache.Config{Dir: directory})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	k, place := keeperOf(t, directory)
	k.begin(place)
	defer k.leave(place)
	if k.present.Load().IsKept() {
		t.Error("it says that it is kept")
	}
	if _, err := os.Lstat(filepath.Join(directory, historyName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it has one: %v", err)
	}
}

func TestOfSeveralDirectoriesTheFirstByNameHasTheHistory(t *testing.T) {
	first, second := new(attachment), new(attachment)
	if place := (&App{attachments: map[string]*attachment{"/var/cache/b": second, "/var/cache/a": first}}).historyPlace(); place != first {
		t.Error("it lies in the second")
	}
	if place := new(App).historyPlace(); place != nil {
		t.Errorf("without handlers it lies in %v", place)
	}
}

// fullDisk is the operating system's, until it has no room.
type fullDisk struct {
	history.Disk
	isFull atomic.Bool
}

type fileOfFullDisk struct {
	history.File
	disk *fullDisk
}

func (d *fullDisk) Open(path string) (history.File, error) {
	file, err := d.Disk.Open(path)
	if err != nil {
		return nil, err
	}
	return fileOfFullDisk{file, d}, nil
}

func (f fileOfFullDisk) WriteAt(p []byte, offset int64) (int, error) {
	if f.disk.isFull.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(p, offset)
}

func TestADiskThatFailsIsToldOnceAndTheHistoryGoesOnInMemory(t *testing.T) {
	disk := &fullDisk{Disk: history.OS()}
	process.historyDisk = disk
	t.Cleanup(func() { process.historyDisk = nil }) // after the edge has ended
	e := startHistorical(t)
	e.get(t, 1)
	e.passMinute(t)
	disk.isFull.Store(true)
	for range 3 {
		e.get(t, 1)
		e.passMinute(t)
	}
	await(t, func() bool { return !e.readHistory(t, adminapi.SpanHour).Kept })
	const told = "the edge's history can't be written"
	if times := strings.Count(e.log(t), told); times != 1 {
		t.Errorf("told %d times", times)
	}
	e.expectCLI(t, 0, []string{told}, "status")
	disk.isFull.Store(false)
	await(t, func() bool { return e.readHistory(t, adminapi.SpanHour).Kept })
	if !strings.Contains(e.log(t), "the edge's history is written again") {
		t.Error("the log doesn't tell that it is written again")
	}
	e.restartAfter(t, "", func() {})
	e.expectMinutes(t, 1, 1, 1, 1)
}

func TestALostDirectoryTakesNothingFromTheHistory(t *testing.T) {
	setForTest(t, &process.storeLookPause, 20*time.Millisecond)
	e := startHistorical(t)
	e.get(t, 1)
	e.passMinute(t)
	lost := runningState().store.Load()
	empty(t, e.directory)
	awaitStoreAfter(t, lost)
	e.get(t, 2)
	e.passMinute(t)
	await(t, func() bool { return e.readHistory(t, adminapi.SpanHour).Kept })
	e.restartAfter(t, "", func() {})
	e.expectMinutes(t, 1, 2)
}

// TestWithoutADirectoryTheHistoryIsThatSinceTheStart has the directory come back later, as a disk that is mounted late.
func TestWithoutADirectoryTheHistoryIsThatSinceTheStart(t *testing.T) {
	setForTest(t, &process.storeLookPause, 20*time.Millisecond)
	setForTest(t, &process.storeRetryPause, 20*time.Millisecond)
	e := startHistorical(t)
	e.get(t, 1)
	e.passMinute(t)
	away := e.directory + ".mount"
	e.restartAfter(t, "", func() {
		if err := errors.Join(os.Rename(e.directory, away), os.WriteFile(e.directory, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	})
	e.get(t, 2)
	e.passMinute(t)
	e.expectMinutes(t, 2)
	if e.readHistory(t, adminapi.SpanHour).Kept {
		t.Error("it says that it is kept")
	}
	remove(t, e.directory)
	mustRename(t, away, e.directory)
	await(t, func() bool { return e.readHistory(t, adminapi.SpanHour).Kept })
	e.expectMinutes(t, 1, 2)
}
