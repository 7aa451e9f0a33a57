package page

import (
	"math"
	"slices"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// spanView is a span that can be chosen.
type spanView struct {
	Value, Name string
	IsShown     bool
}

// spans are those that can be chosen; their names stand within a sentence.
var spans = []struct{ value, name, each string }{
	{adminapi.SpanHour, "hour", "minute"},
	{adminapi.SpanDay, "day", "five minutes"},
	{adminapi.SpanWeek, "week", "hour"},
	{adminapi.SpanQuarter, "90 days", "hour"},
}

// spanOf is the span that a request asks for: the hour, unless it names another one.
func spanOf(asked string) string {
	for _, span := range spans {
		if span.value == asked {
			return asked
		}
	}
	return adminapi.SpanHour
}

// savingsView is what the edge saves, over one span.
type savingsView struct {
	Spans []spanView
	// Name is the span's, and Span its value.
	Name, Span string
	// Text says the most important in a sentence.
	Text    string
	Figures []figure
	Charts  []chart
	// IsKnown says that anything is known of the span: the charts are shown then, which may be while the page is looked at.
	IsKnown bool
	// Rows are the span by numbers, in few steps.
	Rows []savingsRow
	// Note says what is to be known about the numbers; empty for nothing.
	Note    string
	Trouble string
}

// figure is one number with its name.
type figure struct{ Key, Name, Value, Further string }

// savingsRow is one step of a span by numbers.
type savingsRow struct {
	From                                                    moment
	Known                                                   bool
	Sent, Upstream, Downloads, Hits, Asked, Spared, Slowest string
}

// shownPoints is how many points a curve has at most, and shownRows how many rows the table beside it.
const (
	shownPoints = 360
	shownRows   = 12
)

func savingsOf(history adminapi.History) savingsView {
	view := savingsView{Span: spanOf(history.Span)}
	each := ""
	for _, span := range spans {
		view.Spans = append(view.Spans, spanView{span.value, span.name, span.value == view.Span})
		if span.value == view.Span {
			view.Name, each = span.name, span.each
		}
	}
	total := history.Total
	view.Text = savingsText(view.Name, total)
	view.Figures = figuresOf(total)
	points := thinned(history.Points, shownPoints)
	if len(points) < len(history.Points) {
		each = "six hours"
	}
	view.Charts = chartsOf(points, each, history.Span)
	if view.IsKnown = sumOf(append(points, adminapi.HistoryPoint{})).Known; view.IsKnown {
		for _, point := range thinned(history.Points, shownRows) {
			view.Rows = append(view.Rows, rowOf(point))
		}
	} else {
		view.Note = "The curves begin with the first step of which anything is known."
	}
	if !history.Kept {
		view.Note = "No history is kept at present, so these numbers begin with the start of the edge."
	}
	return view
}

// savingsText is a span in a sentence or two.
func savingsText(name string, total adminapi.HistoryPoint) string {
	if total.Downloads == 0 && total.BytesSent == 0 {
		return "Nothing was downloaded in the last " + name + "."
	}
	text := "In the last " + name + ", " + plural(total.Downloads, "download", "downloads") + " brought " + sizeText(total.BytesSent) + " to callers. "
	switch {
	case total.BytesUpstream == 0:
		return text + "GitLab sent none of it."
	case total.BytesUpstream <= total.BytesSent:
		return text + "GitLab sent " + sizeText(total.BytesUpstream) + ", and was spared the rest."
	}
	return text + "GitLab sent " + sizeText(total.BytesUpstream) + ": more was stored than was asked for so far."
}

func figuresOf(total adminapi.HistoryPoint) []figure {
	return []figure{
		{"sent", "served", sizeText(total.BytesSent), plural(total.Downloads, "download", "downloads")},
		{"upstream", "from GitLab", sizeText(total.BytesUpstream), "and its storage"},
		{"hits", "hits by requests", ratioText(total.Hits, total.Downloads), countText(total.Hits) + " of " + countText(total.Downloads)},
		{"hit_bytes", "hits by bytes", hitBytesText(total), sizeText(max(0, total.BytesSent-total.BytesUpstream)) + " saved"},
		{"spared", "questions spared", countText(total.Spared), countText(total.Asked) + " asked"},
		{"median", "first byte, median", secondsText(total.FirstByteMedian), "99th " + secondsText(total.FirstByte99th)},
		{"uploads", "uploads", countText(total.Uploads), "that GitLab took"},
		{"failed", "failed", countText(total.Failed), countText(total.Refused) + " refused"},
	}
}

func rowOf(point adminapi.HistoryPoint) savingsRow {
	return savingsRow{
		From: moment{Known: true, At: point.Time}, Known: point.Known,
		Sent: sizeText(point.BytesSent), Upstream: sizeText(point.BytesUpstream), Downloads: countText(point.Downloads), Hits: ratioText(point.Hits, point.Downloads),
		Asked: countText(point.Asked), Spared: countText(point.Spared), Slowest: secondsText(point.FirstByte99th),
	}
}

// thinned joins neighbours until there are at most so many points.
func thinned(points []adminapi.HistoryPoint, most int) []adminapi.HistoryPoint {
	if len(points) <= most {
		return points
	}
	each := (len(points) + most - 1) / most
	joined := make([]adminapi.HistoryPoint, 0, most)
	for chunk := range slices.Chunk(points, each) {
		joined = append(joined, sumOf(chunk))
	}
	return joined
}

// sumOf is several points as one. Its times to the first byte are the middle one of the medians, and the longest of the 99ths: what lies
// between can't be known any more.
func sumOf(points []adminapi.HistoryPoint) adminapi.HistoryPoint {
	sum := adminapi.HistoryPoint{Time: points[0].Time}
	var medians []float64
	longest := math.Inf(-1)
	for _, point := range points {
		sum.Known = sum.Known || point.Known
		sum.Requests += point.Requests
		sum.Downloads += point.Downloads
		sum.Hits += point.Hits
		sum.Uploads += point.Uploads
		sum.Refused += point.Refused
		sum.Failed += point.Failed
		sum.BytesSent += point.BytesSent
		sum.BytesUpstream += point.BytesUpstream
		sum.Asked += point.Asked
		sum.Spared += point.Spared
		if point.FirstByteMedian != nil {
			medians = append(medians, *point.FirstByteMedian)
		}
		if point.FirstByte99th != nil {
			longest = max(longest, *point.FirstByte99th)
		}
	}
	if len(medians) > 0 {
		slices.Sort(medians)
		sum.FirstByteMedian = &medians[len(medians)/2]
	}
	if !math.IsInf(longest, -1) {
		sum.FirstByte99th = &longest
	}
	return sum
}
