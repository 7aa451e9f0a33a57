package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"
	metric "github.com/prometheus/client_model/go"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/history"
)

// totals are what the metrics have counted since the process began, as the history keeps it. It only reads: no request counts
// anything for the history.
func (m *metrics) totals() (totals history.Counts) {
	for outcome, count := range m.countRequests() {
		class := outcome.class()
		if class != classElsewhere {
			totals.Requests += count
		}
		switch class {
		case classHit:
			totals.Downloads += count
			totals.Hits += count
		case classFetched:
			totals.Downloads += count
		case classUpload:
			totals.Uploads += count
		case classRefused:
			totals.Refused += count
		case classFailed:
			totals.Failed += count
		case classFurther, classElsewhere:
		}
		if class == classHit || class == classFetched {
			buckets, _ := histogramOf(m.firstByte[outcome])
			for i := range buckets {
				totals.FirstByte[i] += buckets[i]
			}
		}
		if outcome == outcomeHit {
			totals.Spared = count
		}
	}
	for _, counter := range m.sent {
		totals.BytesSent += countOf(counter)
	}
	totals.BytesUpstream = countOf(m.upstreamBytes)
	for _, asked := range []map[askResult]prometheus.Observer{m.checks, m.fetches} {
		for result, observer := range asked {
			if result != askNotAsked {
				_, count := histogramOf(observer)
				totals.Asked += count
			}
		}
	}
	return totals
}

// histogramOf reads a histogram: how many it has in all, and in each bucket, for one with firstByteBuckets.
func histogramOf(observer prometheus.Observer) (buckets history.Buckets, count int64) {
	var read metric.Metric
	if err := observer.(prometheus.Metric).Write(&read); err != nil {
		return buckets, 0 // a histogram can always be read
	}
	count = int64(read.GetHistogram().GetSampleCount()) //nolint:gosec // a count
	// Each bucket that is read counts those of the buckets before too, and the last is left out.
	var before int64
	for i, bucket := range read.GetHistogram().GetBucket() {
		cumulative := int64(bucket.GetCumulativeCount()) //nolint:gosec // a count
		buckets[i], before = cumulative-before, cumulative
	}
	buckets[len(buckets)-1] = count - before
	return buckets, count
}
