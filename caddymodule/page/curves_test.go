package page

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func pointsOf(sent ...int64) (points []adminapi.HistoryPoint) {
	for i, bytes := range sent {
		point := adminapi.HistoryPoint{Time: testTime.Add(time.Duration(i) * time.Minute)}
		if bytes >= 0 {
			point.Known, point.BytesSent = true, bytes
		}
		points = append(points, point)
	}
	return points
}

// TestACurveHasItsPointsAndItsGaps draws few points, so that the paths can be read.
func TestACurveHasItsPointsAndItsGaps(t *testing.T) {
	for name, test := range map[string]struct {
		sent       []int64
		line, area string
	}{
		"three points":       {[]int64{0, 512, 1024}, "M0 100L500 50L1000 0", "M0 100L0 100L500 50L1000 0L1000 100Z"},
		"a gap":              {[]int64{1024, 1024, -1, 512, 512}, "M0 0L250 0M750 50L1000 50", "M0 100L0 0L250 0L250 100ZM750 100L750 50L1000 50L1000 100Z"},
		"a point alone":      {[]int64{-1, 1024, -1}, "M500 0h2", "M500 100L500 0L500 100Z"},
		"nothing known":      {[]int64{-1, -1}, "", ""},
		"one point in all":   {[]int64{512}, "M0 50h2", "M0 100L0 50L0 100Z"},
		"more than the axis": {[]int64{4096, 0}, "M0 0L1000 100", "M0 100L0 0L1000 100L1000 100Z"},
	} {
		curve := drawn(pointsOf(test.sent...), "k", "n", "first", sentBytes, linear(1024), true)
		if curve.Line != test.line || curve.Area != test.area {
			t.Errorf("%s: %q, %q", name, curve.Line, curve.Area)
		}
	}
}

func TestAxesEndAtRoundNumbers(t *testing.T) {
	for most, want := range map[float64]float64{0: 1024, 1024: 1024, 1025: 2048, 300 << 20: 512 << 20} {
		if got := roundBytes(most); got != want {
			t.Errorf("%v bytes: %v", most, got)
		}
	}
	for most, want := range map[float64]float64{0: 10, 10: 10, 11: 20, 21: 50, 51: 100, 1999: 2000} {
		if got := roundCount(most); got != want {
			t.Errorf("%v: %v", most, got)
		}
	}
	quick, slow := 0.0004, 0.41
	low, high := decades([]adminapi.HistoryPoint{{FirstByteMedian: &quick, FirstByte99th: &slow}})
	if math.Abs(low-0.0001) > 1e-9 || math.Abs(high-1) > 1e-9 {
		t.Errorf("from %v to %v", low, high)
	}
	same := 0.1
	if low, high := decades([]adminapi.HistoryPoint{{FirstByteMedian: &same}}); high < 10*low {
		t.Errorf("one time alone: from %v to %v", low, high)
	}
	if low, high := decades(nil); low != 0.001 || high != 1 {
		t.Errorf("no times: from %v to %v", low, high)
	}
}

// TestALongSpanIsDrawnInFewPointsAndLosesNothing joins points, and sums them up again.
func TestALongSpanIsDrawnInFewPointsAndLosesNothing(t *testing.T) {
	history := morning().Histories[adminapi.SpanQuarter]
	few := thinned(history.Points, shownPoints)
	if len(few) > shownPoints || len(few) < shownPoints/2 {
		t.Errorf("%d points of %d", len(few), len(history.Points))
	}
	if sum := sumOf(few); sum.BytesSent != history.Total.BytesSent || sum.Hits != history.Total.Hits || sum.Asked != history.Total.Asked || sum.Downloads != history.Total.Downloads || sum.Spared != history.Total.Spared ||
		sum.Uploads != history.Total.Uploads || sum.Refused != history.Total.Refused || sum.Failed != history.Total.Failed || sum.BytesUpstream != history.Total.BytesUpstream || sum.Requests != history.Total.Requests {
		t.Errorf("the sum is %+v, and should be %+v", sum, history.Total)
	}
	a, b, c := 0.1, 0.2, 0.3
	joined := sumOf([]adminapi.HistoryPoint{{FirstByteMedian: &c, FirstByte99th: &a}, {FirstByteMedian: &a, FirstByte99th: &c}, {FirstByteMedian: &b}})
	if *joined.FirstByteMedian != b || *joined.FirstByte99th != c || sumOf(make([]adminapi.HistoryPoint, 2)).FirstByteMedian != nil {
		t.Errorf("%v, %v", *joined.FirstByteMedian, *joined.FirstByte99th)
	}
}

// TestEachSpanSaysWhatWasSaved reads all spans' sentences and charts.
func TestEachSpanSaysWhatWasSaved(t *testing.T) {
	for _, span := range spans {
		view := savingsOf(morning().Histories[span.value])
		if !strings.HasPrefix(view.Text, "In the last "+span.name+", ") || len(view.Figures) != 8 || len(view.Charts) != 4 || len(view.Rows) == 0 || len(view.Rows) > shownRows {
			t.Errorf("%s: %q, %d figures, %d charts, %d rows", span.value, view.Text, len(view.Figures), len(view.Charts), len(view.Rows))
		}
		for _, chart := range view.Charts {
			if len(chart.Readouts) > shownPoints || len(chart.Spoken) < 40 || len(chart.Series) != 2 {
				t.Errorf("%s: %s has %d readouts and says %q", span.value, chart.Key, len(chart.Readouts), chart.Spoken)
			}
		}
	}
	for text, total := range map[string]adminapi.HistoryPoint{
		"Nothing was downloaded in the last day.":                                                                                 {},
		"In the last day, 2 downloads brought 2.0 KiB to callers. GitLab sent none of it.":                                        {Downloads: 2, BytesSent: 2048},
		"In the last day, 1 download brought 2.0 KiB to callers. GitLab sent 1.0 KiB, and was spared the rest.":                   {Downloads: 1, BytesSent: 2048, BytesUpstream: 1024},
		"In the last day, 1 download brought 2.0 KiB to callers. GitLab sent 4.0 KiB: more was stored than was asked for so far.": {Downloads: 1, BytesSent: 2048, BytesUpstream: 4096},
	} {
		if got := savingsText("day", total); got != text {
			t.Errorf("%q", got)
		}
	}
	if view := savingsOf(adminapi.History{Span: adminapi.SpanHour}); view.Charts != nil || view.Note == "" {
		t.Errorf("without a history: %+v", view)
	}
}

// TestATreemapFillsItsFieldInProportion lays out weights, and measures the boxes.
func TestATreemapFillsItsFieldInProportion(t *testing.T) {
	for _, weights := range [][]float64{{1}, {6, 6, 4, 3, 2, 2, 1}, {1000, 1, 1, 1}, {5, 5, 5, 5, 5, 5, 5, 5, 5, 5}, {3, 0, 0}} {
		field := box{10, 20, 600, 300}
		boxes := squarified(weights, field)
		sum, area := 0.0, 0.0
		for _, weight := range weights {
			sum += weight
		}
		if len(boxes) != len(weights) {
			t.Fatalf("%v: %d boxes", weights, len(boxes))
		}
		for i, place := range boxes {
			area += place.Width * place.Height
			if want := weights[i] / sum * 600 * 300; math.Abs(place.Width*place.Height-want) > 1e-6*600*300 {
				t.Errorf("%v: box %d has %v, and should have %v", weights, i, place.Width*place.Height, want)
			}
			if place.X < field.X-1e-6 || place.Y < field.Y-1e-6 || place.X+place.Width > 610+1e-6 || place.Y+place.Height > 320+1e-6 {
				t.Errorf("%v: box %d is outside: %+v", weights, i, place)
			}
			for j, other := range boxes[:i] {
				if place.Width*place.Height*other.Width*other.Height > 0 && place.X < other.X+other.Width-1e-6 && other.X < place.X+place.Width-1e-6 && place.Y < other.Y+other.Height-1e-6 && other.Y < place.Y+place.Height-1e-6 {
					t.Errorf("%v: boxes %d and %d overlap: %+v, %+v", weights, j, i, other, place)
				}
			}
		}
		if math.Abs(area-600*300) > 1 {
			t.Errorf("%v: %v of the field is filled", weights, area)
		}
	}
	for _, weights := range [][]float64{nil, {0, 0}} {
		if boxes := squarified(weights, box{0, 0, 10, 10}); len(boxes) != len(weights) {
			t.Errorf("%v: %v", weights, boxes)
		}
	}
}

// TestHitsByBytesAreOfDownloads has steps in which something was sent that was no download: answers to uploads and to who was refused.
func TestHitsByBytesAreOfDownloads(t *testing.T) {
	for name, test := range map[string]struct {
		point adminapi.HistoryPoint
		part  float64
		known bool
		text  string
	}{
		"refusals alone":   {adminapi.HistoryPoint{Known: true, BytesSent: 500, BytesUpstream: 500, Refused: 3}, 0, false, "–"},
		"nothing":          {adminapi.HistoryPoint{Known: true}, 0, false, "–"},
		"half from GitLab": {adminapi.HistoryPoint{Known: true, Downloads: 2, BytesSent: 1000, BytesUpstream: 500}, .5, true, "50.0%"},
		"more from GitLab": {adminapi.HistoryPoint{Known: true, Downloads: 2, BytesSent: 500, BytesUpstream: 1000}, 0, true, "0%"},
	} {
		part, known := hitsByBytes(test.point)
		if text := hitBytesText(test.point); part != test.part || known != test.known || text != test.text {
			t.Errorf("%s: %v, %v, %q", name, part, known, text)
		}
	}
}
