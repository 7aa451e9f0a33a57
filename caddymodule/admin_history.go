package caddymodule

import (
	"net/http"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/history"
)

// historySpans are those that a call can name.
var historySpans = map[string]history.Span{
	adminapi.SpanHour: history.Hour, adminapi.SpanDay: history.Day, adminapi.SpanWeek: history.Week, adminapi.SpanQuarter: history.Quarter,
}

// adminHistory answers GET history. It reads memory alone.
func (a *App) adminHistory(r *http.Request) (any, error) {
	name := adminapi.SpanHour
	if err := readQuery(r, map[string]*string{"span": &name}); err != nil {
		return nil, err
	}
	span, ok := historySpans[name]
	if !ok {
		return nil, badRequest("there is no span %q; there are %s, %s, %s and %s", name,
			adminapi.SpanHour, adminapi.SpanDay, adminapi.SpanWeek, adminapi.SpanQuarter)
	}
	kept := a.process.history.present.Load()
	if kept == nil {
		return nil, apiError(http.StatusServiceUnavailable, "there is no history: the running config has no gitlab_packages handler, or is ending")
	}
	points := kept.Points(span)
	answer := adminapi.History{
		Span: name, Step: int(span.Step().Seconds()), Points: make([]adminapi.HistoryPoint, len(points)), Kept: kept.IsKept(),
	}
	total := history.Point{Time: points[0].Time}
	for i, point := range points {
		answer.Points[i] = shownPoint(point)
		total.Known = total.Known || point.Known
		total.Add(point.Counts)
	}
	answer.Total = shownPoint(total)
	return answer, nil
}

// shownPoint is a step as the call tells it.
func shownPoint(point history.Point) adminapi.HistoryPoint {
	return adminapi.HistoryPoint{
		Time: point.Time, Known: point.Known,
		Requests: point.Requests, Downloads: point.Downloads, Hits: point.Hits, Uploads: point.Uploads, Refused: point.Refused, Failed: point.Failed,
		BytesSent: point.BytesSent, BytesUpstream: point.BytesUpstream, Asked: point.Asked, Spared: point.Spared,
		FirstByteMedian: quantileOf(point, .5), FirstByte99th: quantileOf(point, .99),
	}
}

// quantileOf is nil where there was no download.
func quantileOf(point history.Point, part float64) *float64 {
	seconds, ok := firstByteBuckets.Quantile(part, point.FirstByte)
	if !ok {
		return nil
	}
	return &seconds
}
