package page

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// Curves are drawn in a field of this size, which is stretched to the room that there is. Their labels stand beside the drawing.
const (
	fieldWidth  = 1000.0
	fieldHeight = 100.0
)

// chart is a drawing of one or two curves over a span.
type chart struct {
	Key, Title string
	// Each is the step's name: "minute".
	Each string
	// Spoken says the drawing in a sentence.
	Spoken string
	// Top and Bottom are the labels of the axis.
	Top, Bottom string
	Series      []series
	// From and To are when the span begins and ends.
	From, To moment
	// Form is how the times of the axis are written: "clock" or "date".
	Form string
	// Readouts say each step in words, for whoever points at it. The time stands before them.
	Readouts []readout
}

// readout is one step in words.
type readout struct {
	Time string `json:"time"`
	Text string `json:"text"`
}

// series is one curve.
type series struct {
	Key, Name string
	// Style is a name in the style sheet.
	Style string
	// Line is the curve's path, and Area the path of what lies below it where IsFilled; empty where nothing is known.
	Line, Area string
	IsFilled   bool
}

// value is what a curve shows of a point; false for a gap.
type value func(adminapi.HistoryPoint) (float64, bool)

func known(read func(adminapi.HistoryPoint) int64) value {
	return func(point adminapi.HistoryPoint) (float64, bool) { return float64(max(0, read(point))), point.Known }
}

func seconds(read func(adminapi.HistoryPoint) *float64) value {
	return func(point adminapi.HistoryPoint) (float64, bool) {
		if read(point) == nil {
			return 0, false
		}
		return *read(point), true
	}
}

// The curves' values.
var (
	sentBytes     = known(func(point adminapi.HistoryPoint) int64 { return point.BytesSent })
	upstreamBytes = known(func(point adminapi.HistoryPoint) int64 { return point.BytesUpstream })
	sparedCount   = known(func(point adminapi.HistoryPoint) int64 { return point.Spared })
	askedCount    = known(func(point adminapi.HistoryPoint) int64 { return point.Asked })
	medianSeconds = seconds(func(point adminapi.HistoryPoint) *float64 { return point.FirstByteMedian })
	slowSeconds   = seconds(func(point adminapi.HistoryPoint) *float64 { return point.FirstByte99th })
)

func hitsByRequests(point adminapi.HistoryPoint) (float64, bool) {
	if point.Downloads <= 0 {
		return 0, false
	}
	return min(1, float64(point.Hits)/float64(point.Downloads)), true
}

func hitsByBytes(point adminapi.HistoryPoint) (float64, bool) {
	if point.Downloads <= 0 || point.BytesSent <= 0 { // what was sent may be answers to uploads and refusals, which are no misses
		return 0, false
	}
	return max(0, 1-float64(point.BytesUpstream)/float64(point.BytesSent)), true
}

func chartsOf(points []adminapi.HistoryPoint, each, span string) []chart {
	if len(points) == 0 {
		return nil
	}
	bytes := chart{Key: "bytes", Title: "Bytes", Bottom: "0"}
	top := roundBytes(highest(points, sentBytes, upstreamBytes))
	bytes.Top = sizeText(int64(top))
	bytes.Series = []series{
		drawn(points, "sent", "served", "first", sentBytes, linear(top), true),
		drawn(points, "upstream", "from GitLab", "second", upstreamBytes, linear(top), true),
	}
	ratio := chart{Key: "ratio", Title: "Hit ratio", Top: "100%", Bottom: "0"}
	ratio.Series = []series{
		drawn(points, "requests", "by requests", "first", hitsByRequests, linear(1), false),
		drawn(points, "bytes", "by bytes", "second", hitsByBytes, linear(1), false),
	}
	asked := chart{Key: "asked", Title: "Questions to GitLab", Bottom: "0"}
	top = roundCount(highest(points, sparedCount, askedCount))
	asked.Top = countText(int64(top))
	asked.Series = []series{
		drawn(points, "spared", "spared", "first", sparedCount, linear(top), true),
		drawn(points, "asked", "asked", "second", askedCount, linear(top), true),
	}
	first := chart{Key: "first_byte", Title: "Time to the first byte"}
	low, high := decades(points)
	first.Bottom, first.Top = secondsText(&low), secondsText(&high)
	first.Series = []series{
		drawn(points, "median", "median", "first", medianSeconds, logarithmic(low, high), false),
		drawn(points, "slow", "99th", "second", slowSeconds, logarithmic(low, high), false),
	}
	charts := []chart{bytes, ratio, asked, first}
	for i := range charts {
		charts[i].Each = each
		charts[i].From, charts[i].To = moment{true, points[0].Time}, moment{true, points[len(points)-1].Time}
		charts[i].Form = "date"
		if span == adminapi.SpanHour || span == adminapi.SpanDay {
			charts[i].Form = "clock"
		}
		charts[i].Spoken = spoken(charts[i], points)
		for _, point := range points {
			charts[i].Readouts = append(charts[i].Readouts, readout{machineTime(point.Time), readoutText(charts[i].Key, point)})
		}
	}
	return charts
}

// readoutText says one point of one chart.
func readoutText(key string, point adminapi.HistoryPoint) string {
	if !point.Known {
		return "nothing is known"
	}
	switch key {
	case "bytes":
		return sizeText(point.BytesSent) + " served, " + sizeText(point.BytesUpstream) + " from GitLab"
	case "ratio":
		return ratioText(point.Hits, point.Downloads) + " by requests, " + hitBytesText(point) + " by bytes"
	case "asked":
		return countText(point.Spared) + " spared, " + countText(point.Asked) + " asked"
	}
	return "median " + secondsText(point.FirstByteMedian) + ", 99th " + secondsText(point.FirstByte99th)
}

// hitBytesText is the part of the bytes served that GitLab didn't send, where anything was downloaded.
func hitBytesText(point adminapi.HistoryPoint) string {
	if _, known := hitsByBytes(point); !known {
		return ratioText(0, 0)
	}
	return ratioText(point.BytesSent-point.BytesUpstream, point.BytesSent)
}

// spoken says what a chart shows to whoever doesn't see it; the numbers are in the table.
func spoken(c chart, points []adminapi.HistoryPoint) string {
	names := make([]string, 0, len(c.Series))
	for _, curve := range c.Series {
		names = append(names, curve.Name)
	}
	last := points[len(points)-1]
	return fmt.Sprintf("%s: curves %s, from %s to %s, with %s steps. The last one: %s.", c.Title, enumerated(names), c.Bottom, c.Top, countText(len(points)), readoutText(c.Key, last))
}

// drawn makes the paths of one curve. Where nothing is known there is a gap.
func drawn(points []adminapi.HistoryPoint, key, name, style string, read value, height func(float64) float64, filled bool) series {
	var line, area strings.Builder
	step := fieldWidth
	if len(points) > 1 {
		step = fieldWidth / float64(len(points)-1)
	}
	begun := -1 // the first point of the present stretch
	end := func(after int) {
		if begun < 0 {
			return
		}
		if after-begun == 1 {
			line.WriteString("h2") // a point alone would not be seen
		}
		fmt.Fprintf(&area, "L%s %sZ", decimal(float64(after-1)*step), decimal(fieldHeight))
		begun = -1
	}
	for i, point := range points {
		at, ok := read(point)
		if !ok {
			end(i)
			continue
		}
		x, y := decimal(float64(i)*step), decimal(fieldHeight-height(at)*fieldHeight)
		if begun < 0 {
			begun = i
			fmt.Fprintf(&line, "M%s %s", x, y)
			fmt.Fprintf(&area, "M%s %sL%s %s", x, decimal(fieldHeight), x, y)
			continue
		}
		fmt.Fprintf(&line, "L%s %s", x, y)
		fmt.Fprintf(&area, "L%s %s", x, y)
	}
	end(len(points))
	curve := series{Key: key, Name: name, Style: style, Line: line.String(), IsFilled: filled}
	if filled {
		curve.Area = area.String()
	}
	return curve
}

func decimal(number float64) string {
	return strconv.FormatFloat(math.Round(number*10)/10, 'f', -1, 64)
}

// linear and logarithmic say how high a value stands, from 0 to 1.
func linear(top float64) func(float64) float64 {
	return func(at float64) float64 { return min(1, at/top) }
}

func logarithmic(low, high float64) func(float64) float64 {
	return func(at float64) float64 {
		return min(1, max(0, math.Log(max(at, low)/low)/math.Log(high/low)))
	}
}

func highest(points []adminapi.HistoryPoint, reads ...value) (top float64) {
	for _, point := range points {
		for _, read := range reads {
			if at, ok := read(point); ok {
				top = max(top, at)
			}
		}
	}
	return top
}

// roundBytes is the next power of two above, from 1 KiB.
func roundBytes(most float64) float64 {
	top := 1024.0
	for top < most {
		top *= 2
	}
	return top
}

// roundCount is the next 1, 2 or 5 with zeros above, from 10.
func roundCount(most float64) float64 {
	for decade := 10.0; ; decade *= 10 {
		for _, factor := range []float64{1, 2, 5} {
			if decade*factor >= most {
				return decade * factor
			}
		}
	}
}

// decades are the powers of ten between which all times to the first byte lie: two of them at least, from 1 ms up if there are none.
func decades(points []adminapi.HistoryPoint) (low, high float64) {
	low, high = math.Inf(1), 0
	for _, point := range points {
		for _, read := range []value{medianSeconds, slowSeconds} {
			if at, ok := read(point); ok && at > 0 {
				low, high = min(low, at), max(high, at)
			}
		}
	}
	if high == 0 {
		return 0.001, 1
	}
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	if high < low*10 {
		high = low * 10
	}
	return low, high
}
