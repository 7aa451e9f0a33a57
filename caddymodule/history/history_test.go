package history

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// bounds are the tests' histogram.
var bounds = Bounds{.0005, .001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// noon is where the tests' clocks begin: the begin of a step of all rings.
var noon = time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC)

// edge is what counts in these tests, with a clock that is put by hand.
type edge struct {
	*History
	now    time.Time
	totals Counts
	logs   *observer.ObservedLogs
	path   string
	disk   *breakingDisk
}

// newEdge returns one at noon whose history isn't kept yet.
func newEdge(t testing.TB) *edge {
	t.Helper()
	e := &edge{now: noon, path: filepath.Join(t.TempDir(), "history"), disk: new(breakingDisk)}
	e.restart()
	t.Cleanup(func() { e.Release() })
	return e
}

// restart is the start of another process: it has what is in the file, and counts from 0.
func (e *edge) restart() {
	if e.History != nil {
		e.Release()
	}
	var core zapcore.Core
	core, e.logs = observer.New(zap.InfoLevel)
	e.totals = Counts{}
	e.History = New(Config{Bounds: bounds, Logger: zap.New(core), Now: func() time.Time { return e.now }, Disk: e.disk})
}

// count counts requests, of which each is a download with a first byte in the first bucket.
func (e *edge) count(requests int64) {
	e.totals.Add(Counts{Requests: requests, Downloads: requests, BytesSent: 10 * requests, FirstByte: Buckets{requests}})
}

// pass lets time pass, and records.
func (e *edge) pass(by time.Duration) {
	e.now = e.now.Add(by)
	e.Record(e.totals)
}

func (e *edge) mustKeep(t testing.TB) {
	t.Helper()
	if err := e.KeepIn(e.path); err != nil {
		t.Fatal(err)
	}
	if !e.IsKept() {
		t.Fatal("it isn't kept")
	}
}

// requests returns the requests of all steps of a span that are known, by when they began.
func (e *edge) requests(span Span) map[time.Time]int64 {
	known := make(map[time.Time]int64)
	for _, point := range e.Points(span) {
		if point.Known {
			known[point.Time] = point.Requests
		}
	}
	return known
}

// expect compares what is known of a span with the requests of steps, by minutes after noon.
func (e *edge) expect(t testing.TB, span Span, want map[int]int64) {
	t.Helper()
	got := e.requests(span)
	for minute, requests := range want {
		at := noon.Add(time.Duration(minute) * time.Minute)
		if count, known := got[at]; count != requests || !known {
			t.Errorf("step %s at noon + %d min has %d requests (known: %t), want %d", span.Step(), minute, count, known, requests)
		}
	}
	if len(got) != len(want) {
		t.Errorf("known of steps of %s: %v, want %v", span.Step(), got, want)
	}
}

func TestEachSpanHasAllItsStepsTheOldestFirst(t *testing.T) {
	e := newEdge(t)
	e.now = noon.Add(7*time.Minute + 30*time.Second)
	for _, test := range []struct {
		span  Span
		steps int
		last  time.Time
	}{
		{Hour, 60, noon.Add(6 * time.Minute)},
		{Day, 288, noon.Add(5 * time.Minute)},
		{Week, 168, noon},
		{Quarter, 2160, noon},
	} {
		points := e.Points(test.span)
		if len(points) != test.steps || !points[len(points)-1].Time.Equal(test.last) {
			t.Errorf("%s: %d points until %s", test.span.Step(), len(points), points[len(points)-1].Time)
		}
		for i, point := range points {
			if want := test.last.Add(-time.Duration(test.steps-1-i) * test.span.Step()); !point.Time.Equal(want) || point.Time.Location() != time.UTC || point.Known {
				t.Fatalf("%s: point %d is %+v, want one at %s", test.span.Step(), i, point, want)
			}
		}
	}
}

func TestWhatIsCountedBelongsToTheMinuteThatItWasCountedIn(t *testing.T) {
	e := newEdge(t)
	e.now = noon.Add(20 * time.Second)
	e.restart() // within a minute
	e.count(1)
	e.pass(40 * time.Second) // noon + 1 min
	e.count(2)
	e.pass(time.Minute)
	e.pass(time.Minute) // a minute without any
	e.count(4)
	e.pass(62 * time.Second) // a machine that is busy
	e.expect(t, Hour, map[int]int64{0: 1, 1: 2, 2: 0, 3: 4})
	e.count(8)
	e.pass(58 * time.Second)
	e.count(16)
	e.pass(time.Minute)
	e.expect(t, Hour, map[int]int64{0: 1, 1: 2, 2: 0, 3: 4, 4: 8, 5: 16})
	e.expect(t, Day, map[int]int64{0: 15, 5: 16})
	e.expect(t, Week, map[int]int64{0: 31})
	e.expect(t, Quarter, map[int]int64{0: 31})
	if last := e.Points(Week)[167]; last.Downloads != 31 || last.BytesSent != 310 || last.FirstByte[0] != 31 {
		t.Errorf("the hour's other numbers: %+v", last)
	}
}

func TestItIsDueWhenTheMinuteEndsAndWhenTheClockHasJumped(t *testing.T) {
	e := newEdge(t)
	for _, test := range []struct{ after, want time.Duration }{
		{0, time.Minute},
		{20 * time.Second, 40 * time.Second},
		{59999 * time.Millisecond, time.Millisecond},
		{time.Minute, 0},
		{time.Hour, 0},
		{-time.Nanosecond, 0},
		{-time.Hour, 0},
	} {
		e.now = noon.Add(test.after)
		if got := e.UntilDue(); got != test.want {
			t.Errorf("%s after it was recorded it is due in %s, want %s", test.after, got, test.want)
		}
	}
	e.now = noon.Add(90 * time.Second)
	e.Record(e.totals)
	if got := e.UntilDue(); got != 30*time.Second {
		t.Errorf("due in %s", got)
	}
}

// TestARingForgetsWhatIsOlderThanItsSpan goes on for a hundred days, and compares all that is known with the sum of what was counted.
func TestARingForgetsWhatIsOlderThanItsSpan(t *testing.T) {
	e := newEdge(t)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
	counted := make(map[int64]int64)      // by Unix minute
	const days = 100
	for range days * 24 * 60 {
		requests := random.Int64N(5)
		counted[e.now.Unix()/60] += requests
		e.count(requests)
		e.pass(time.Minute)
	}
	for _, span := range []Span{Hour, Day, Week, Quarter} {
		for _, point := range e.Points(span) {
			var want int64
			for minute := point.Time.Unix() / 60; minute < (point.Time.Unix()+span.step)/60; minute++ {
				want += counted[minute]
			}
			if !point.Known || point.Requests != want {
				t.Fatalf("step %s at %s: %+v, want %d requests", span.Step(), point.Time, point, want)
			}
		}
	}
}

func TestATotalThatFellTakesNothingAway(t *testing.T) {
	e := newEdge(t)
	e.count(5)
	e.pass(time.Minute)
	e.totals.Requests, e.totals.Uploads = 3, 1
	e.pass(time.Minute)
	e.totals.Requests = 4
	e.pass(time.Minute)
	e.expect(t, Hour, map[int]int64{0: 5, 1: 0, 2: 1})
	if at := e.Points(Hour)[58]; at.Uploads != 1 {
		t.Errorf("what didn't fall: %+v", at)
	}
}

func TestWhatWasCountedBeforeTheHistoryIsNotItsOwn(t *testing.T) {
	e := newEdge(t)
	e.totals.Requests = 1000
	now := func() time.Time { return e.now }
	e.History = New(Config{Bounds: bounds, Logger: zap.NewNop(), Now: now, Before: e.totals})
	e.count(1)
	e.pass(time.Minute)
	e.expect(t, Hour, map[int]int64{0: 1})
}

// TestTheOperatingSystemsClockAndDiskAreUsedWhereNoneIsNamed looks at the mode of the file too.
func TestTheOperatingSystemsClockAndDiskAreUsedWhereNoneIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h := New(Config{Bounds: bounds, Logger: zap.NewNop()})
	before := time.Now()
	h.Record(Counts{Requests: 1})
	if err := h.KeepIn(path); err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != 646_912 {
		t.Fatalf("%v, %v", info, err)
	}
	if last := h.Points(Hour)[59].Time; before.Sub(last) < time.Minute || before.Sub(last) > 3*time.Minute {
		t.Errorf("the last whole minute began at %s, and it is %s", last, before)
	}
}
