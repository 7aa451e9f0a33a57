package history

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestAClockThatJumpsTakesNothingAwayAndCountsNothingTwice(t *testing.T) {
	for _, test := range []struct {
		name string
		// story goes on from a minute with one request at noon, and one with two.
		story func(e *edge)
		want  map[int]int64
	}{
		{"back by three seconds at the turn of a minute", func(e *edge) {
			e.pass(-3 * time.Second)
			e.count(4)
			e.pass(3 * time.Second)
		}, map[int]int64{0: 1, 1: 6}},
		{"back by ten minutes, and over the same time again", func(e *edge) {
			e.pass(-10 * time.Minute)
			for range 12 { // until noon + 4 min
				e.count(4)
				e.pass(time.Minute)
			}
		}, map[int]int64{-8: 4, -7: 4, -6: 4, -5: 4, -4: 4, -3: 4, -2: 4, -1: 4, 0: 4, 1: 4, 2: 4, 3: 4}},
		{"back by an hour, and what is in the future now isn't shown", func(e *edge) {
			e.count(4)
			e.pass(-time.Hour)
			e.count(8)
			e.pass(time.Minute)
		}, map[int]int64{-58: 12}},
		{"back to 1970 and forward again", func(e *edge) {
			was := e.now
			e.now = time.Unix(30, 0)
			e.count(4)
			e.pass(0)
			e.pass(time.Minute)
			e.now = was.Add(2 * time.Minute) // noon + 4 min
			e.count(8)
			e.pass(0)
			e.count(16)
			e.pass(time.Minute)
		}, map[int]int64{0: 1, 1: 2, 4: 24}},
		{"to before 1970", func(e *edge) {
			was := e.now
			e.now = time.Unix(-100*24*3600-1, 0)
			e.pass(0)
			e.count(4)
			e.pass(time.Minute)
			e.now = was.Add(2 * time.Minute)
			e.pass(0)
			e.pass(time.Minute)
		}, map[int]int64{0: 1, 1: 2, 4: 0}},
		{"forward by ten minutes, such as while the machine is asleep", func(e *edge) {
			e.count(4)
			e.pass(10 * time.Minute)
			e.count(8)
			e.pass(time.Minute)
		}, map[int]int64{0: 1, 1: 2, 12: 12}},
		{"forward by a year", func(e *edge) {
			e.count(4)
			e.pass(365 * 24 * time.Hour)
			e.count(8)
			e.pass(time.Minute)
		}, map[int]int64{365*24*60 + 2: 12}},
		{"forward by two days, and back again", func(e *edge) {
			e.pass(48 * time.Hour)
			e.count(4)
			e.pass(time.Minute)
			e.pass(-48*time.Hour - time.Minute)
			e.count(8)
			e.pass(time.Minute)
		}, map[int]int64{0: 1, 1: 2, 2: 8}},
	} {
		for _, restarted := range []bool{false, true} {
			name := test.name
			if restarted {
				name += ", and restarted"
			}
			t.Run(name, func(t *testing.T) {
				e := newEdge(t)
				e.count(1)
				e.pass(time.Minute)
				e.count(2)
				e.pass(time.Minute)
				e.mustKeep(t)
				test.story(e)
				e.mustKeep(t)
				if restarted {
					e.restart()
					e.mustKeep(t)
				}
				e.expect(t, Hour, within(e, Hour, test.want))
			})
		}
	}
}

// within leaves out what a span at the edge's time doesn't reach.
func within(e *edge, span Span, minutes map[int]int64) map[int]int64 {
	left := make(map[int]int64)
	for minute, requests := range minutes {
		if at := noon.Add(time.Duration(minute) * time.Minute); e.now.Sub(at) <= time.Duration(span.steps)*span.Step() {
			left[minute] = requests
		}
	}
	return left
}

// TestStepsOfTheFutureAreIgnoredInAFile goes on minute by minute until the time comes that a clock which was wrong had told.
func TestStepsOfTheFutureAreIgnoredInAFile(t *testing.T) {
	e := newEdge(t)
	e.count(1)
	e.pass(time.Minute)
	const later = 30
	e.now = noon.Add(later * time.Minute)
	e.pass(0)
	e.count(2)
	e.pass(time.Minute)
	e.mustKeep(t)

	e.now = noon.Add(3 * time.Minute)
	e.restart()
	e.mustKeep(t)
	e.expect(t, Hour, map[int]int64{0: 1})
	e.expect(t, Day, map[int]int64{0: 1})
	for e.now.Before(noon.Add(later * time.Minute)) {
		e.pass(time.Minute)
	}
	e.now = e.now.Add(time.Minute)
	if shown := e.Points(Hour)[59]; shown.Known || shown.Requests != 0 {
		t.Errorf("before it is counted anew: %+v", shown)
	}
	e.count(4)
	e.pass(0)
	if shown := e.Points(Hour)[59]; shown.Requests != 4 {
		t.Errorf("when it is counted anew: %+v", shown)
	}
	e.expect(t, Day, map[int]int64{0: 1, 5: 0, 10: 0, 15: 0, 20: 0, 25: 0, 30: 4})
}

// TestWhateverTheClockDoesNoStepHasMoreThanWasCounted puts the clock anywhere, and the directory too.
func TestWhateverTheClockDoesNoStepHasMoreThanWasCounted(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test that can be repeated
	for range 10 {
		e := newEdge(t)
		var counted int64
		for range 200 {
			requests := random.Int64N(10)
			counted += requests
			e.count(requests)
			switch random.IntN(12) {
			case 0:
				e.now = e.now.Add(time.Duration(random.Int64N(int64(200*24*time.Hour))) - 100*24*time.Hour)
			case 1:
				e.now = e.now.Add(time.Duration(random.Int64N(int64(time.Hour))) - 30*time.Minute)
			case 2:
				e.mustKeep(t)
			case 3:
				e.mustKeep(t)
				e.restart()
				e.mustKeep(t)
			case 4:
				e.Release()
			}
			e.pass(time.Minute)
			for _, span := range []Span{Hour, Day, Quarter} {
				var sum int64
				for _, point := range e.Points(span) {
					sum += point.Requests
					if point.Requests < 0 || point.FirstByte[0] != point.Requests || !point.Known && point.Counts != (Counts{}) {
						t.Fatalf("%s: %+v", span.Step(), point)
					}
				}
				if sum > counted {
					t.Fatalf("%s: %d requests, and only %d were counted", span.Step(), sum, counted)
				}
			}
		}
	}
}
