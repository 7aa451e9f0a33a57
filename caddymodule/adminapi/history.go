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

// History is the answer to GET history: what the edge did, by steps of time. It survives restarts, but for the last minute.
type History struct {
	Span string `json:"span"`
	// Step is in seconds.
	Step int `json:"step"`
	// Points are the steps of the span, the oldest first, all of them: one of which nothing is known has Known false.
	Points []HistoryPoint `json:"points"`
	// Total is the sum of all.
	Total HistoryPoint `json:"total"`
	// Kept says that a history is kept; without, as while the directory can't be used, the points are those since the start.
	Kept bool `json:"kept"`
}

// HistoryPoint is what the edge did in one step, which began at Time.
type HistoryPoint struct {
	Time  time.Time `json:"time"`
	Known bool      `json:"known"`
	// Requests are all that were about packages; Downloads those that brought a file, or were to; Hits the downloads among them that
	// came from the store, or from a fetch of somebody else's.
	Requests  int64 `json:"requests"`
	Downloads int64 `json:"downloads"`
	Hits      int64 `json:"hits"`
	// Uploads are those that GitLab took; Refused the requests that GitLab, the rules or a switch refused; Failed those that could
	// not be answered.
	Uploads int64 `json:"uploads"`
	Refused int64 `json:"refused"`
	Failed  int64 `json:"failed"`
	// BytesSent went to callers, BytesUpstream came from GitLab and its storage.
	BytesSent     int64 `json:"bytes_sent"`
	BytesUpstream int64 `json:"bytes_upstream"`
	// Asked is how often GitLab was asked, by checks and fetches; Spared how many downloads needed no question.
	Asked  int64 `json:"asked"`
	Spared int64 `json:"spared"`
	// FirstByteMedian and FirstByte99th are seconds until a download's answer began, within the width of the histogram's buckets;
	// null where there was none.
	FirstByteMedian *float64 `json:"first_byte_median"`
	FirstByte99th   *float64 `json:"first_byte_99th"`
}
