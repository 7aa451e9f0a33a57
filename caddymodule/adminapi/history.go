package adminapi

import "time"

// The spans of GET history, whose query parameter span says which one; SpanHour if it is left out.
const (
	// SpanHour has a point for each minute of the last hour.
	SpanHour = "hour"
	// SpanDay has one for each five minutes of the last day.
	SpanDay = "day"
	// SpanWeek has one for each hour of the last seven days, SpanQuarter one for each hour of the last ninety.
	SpanWeek    = "week"
	SpanQuarter = "quarter"
)

// History is the answer to GET history: what the edge did, by steps of time. It survives restarts, and all but its last minute a
// process that is killed.
type History struct {
	Span string `json:"span"`
	// Step is in seconds.
	Step int `json:"step"`
	// Points are the steps of the span, the oldest first, all of them: one of which nothing is known, such as while the edge was
	// stopped, has Known false. The last is the one in which the last whole minute lies; of a span whose steps are longer it may still be
	// under way.
	Points []HistoryPoint `json:"points"`
	// Total is the sum of all, from the Time of the first; its times to first byte are those of all downloads together.
	Total HistoryPoint `json:"total"`
	// Kept says that the history is on the disk. While it isn't, such as while the cache directory can't be used, it goes on in memory
	// with what is known, and a restart loses what came since.
	Kept bool `json:"kept"`
}

// HistoryPoint is what the edge did in one step, which began at Time (UTC). All numbers are 0 where Known is false, which says that
// nothing was counted in any part of the step. Words such as hit are outcomes (docs/metrics-and-logs.md).
type HistoryPoint struct {
	Time  time.Time `json:"time"`
	Known bool      `json:"known"`
	// Requests are all that were about packages; Downloads those that were answered with a file (hit, revalidated, offline, joined,
	// miss, streamed); Hits the downloads among them that came from the store, or from a fetch of somebody else's (all but miss and
	// streamed), as in Status.HitRatio.
	Requests  int64 `json:"requests"`
	Downloads int64 `json:"downloads"`
	Hits      int64 `json:"hits"`
	// Uploads are those that GitLab took (published); Refused the requests that GitLab, the rules, a switch or a limit refused (refused,
	// rate_limited, invalid, switched_off, limited); Failed those that could not be answered (unreachable).
	Uploads int64 `json:"uploads"`
	Refused int64 `json:"refused"`
	Failed  int64 `json:"failed"`
	// BytesSent went to callers, BytesUpstream came from GitLab and its storage.
	BytesSent     int64 `json:"bytes_sent"`
	BytesUpstream int64 `json:"bytes_upstream"`
	// Asked is how often GitLab was asked, by checks and fetches that were sent, those of warmings too. Spared is how many downloads
	// needed no question at all: those with the outcome hit. Of those that joined a fetch the metrics don't tell which needed one, so
	// none of them counts.
	Asked  int64 `json:"asked"`
	Spared int64 `json:"spared"`
	// FirstByteMedian and FirstByte99th are seconds until a download's answer began, half of them and 99 of 100, as Prometheus
	// estimates them: evenly spread over a bucket of the metric first_byte_seconds, and 30 for all that took longer. They are null
	// where there was no download.
	FirstByteMedian *float64 `json:"first_byte_median"`
	FirstByte99th   *float64 `json:"first_byte_99th"`
}
