package caddymodule

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/history"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// metrics are the edge's numbers, made once for the process. Every config brings a registry of its own, and the
// collectors are registered into each, so that counts survive reloads. All labels are closed sets. What the stores,
// the grants and the breakers know is read when somebody asks (collector.go).
type metrics struct {
	// requests are counted by outcome and method, firstByte and duration observed by outcome; the children are made in
	// advance, so that no request looks for its own.
	requests            map[outcome]map[string]prometheus.Counter
	firstByte, duration map[outcome]prometheus.Observer
	sent                [sources]prometheus.Counter
	upstreamBytes       prometheus.Counter
	// warmedBytes are a part of upstreamBytes.
	warmedBytes     prometheus.Counter
	checks, fetches map[askResult]prometheus.Observer
	followers       prometheus.Gauge
	resumes         prometheus.Counter
	// sharedReads are observed by result, sharedWrites counted by it; sharedBytes are those written, and sharedWrong the objects with
	// wrong bytes.
	sharedReads              map[sharedResult]prometheus.Observer
	sharedWrites             map[sharedResult]prometheus.Counter
	sharedBytes, sharedWrong prometheus.Counter
	// parts are counted by how they ended, and partFallbacks when a file goes on by one connection after one.
	parts, partFallbacks map[partResult]prometheus.Counter
	partConnections      prometheus.Gauge

	collectors []prometheus.Collector
}

// Metric names begin so.
const (
	metricsNamespace = "caddy"
	metricsSubsystem = "gitlab_packages"
)

// otherMethod stands for methods that aren't methods: callers choose theirs, and labels are a closed set.
const otherMethod = "other"

var countedMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch, http.MethodOptions, otherMethod,
}

// askResult is how a check or a fetch went: one closed set.
type askResult string

const (
	askAllowed     askResult = "allowed"
	askRefused     askResult = "refused"
	askRateLimited askResult = "rate_limited"
	askUnreachable askResult = "unreachable"
	// askChanged: the rest of a file was asked for, and it is another file now.
	askChanged askResult = "changed"
	// askNotAsked: the breaker kept it from being sent.
	askNotAsked askResult = "not_asked"
)

var allAskResults = []askResult{askAllowed, askRefused, askRateLimited, askUnreachable, askChanged, askNotAsked}

var (
	// firstByteBuckets are seconds: a hit takes tens of microseconds, a fetch what GitLab takes. The history's file has the same: with
	// others it is begun anew.
	firstByteBuckets = history.Bounds{.0005, .001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	// durationBuckets are seconds: large files take minutes.
	durationBuckets = []float64{.001, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 1800}
	// askBuckets are seconds.
	askBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
)

func newMetrics(further ...prometheus.Collector) *metrics {
	m := &metrics{
		requests: make(map[outcome]map[string]prometheus.Counter), firstByte: make(map[outcome]prometheus.Observer),
		duration: make(map[outcome]prometheus.Observer), checks: make(map[askResult]prometheus.Observer),
		fetches:     make(map[askResult]prometheus.Observer),
		sharedReads: make(map[sharedResult]prometheus.Observer), sharedWrites: make(map[sharedResult]prometheus.Counter),
	}
	requests := m.counter("requests_total", "Requests for generic packages by outcome and method.", "outcome", "method")
	firstByte := m.histogram("first_byte_seconds", "Seconds until the head of the answer, by outcome.", firstByteBuckets[:], "outcome")
	duration := m.histogram("request_duration_seconds", "Seconds until the whole answer was sent, by outcome.", durationBuckets, "outcome")
	for _, outcome := range allOutcomes {
		m.requests[outcome] = make(map[string]prometheus.Counter)
		for _, method := range countedMethods {
			m.requests[outcome][method] = requests.WithLabelValues(string(outcome), method)
		}
		m.firstByte[outcome] = firstByte.WithLabelValues(string(outcome))
		m.duration[outcome] = duration.WithLabelValues(string(outcome))
	}
	sent := m.counter("sent_bytes_total", "Bytes of bodies sent to callers by where they came from.", "source")
	for source, name := range sourceNames {
		m.sent[source] = sent.WithLabelValues(name)
	}
	m.upstreamBytes = m.counter("upstream_received_bytes_total", "Bytes of bodies received from GitLab and its object storage.").WithLabelValues()
	m.warmedBytes = m.counter("warmed_bytes_total", "Bytes of bodies received by warmings, before anybody asked; they are among the bytes received.").WithLabelValues()
	checks := m.histogram("check_duration_seconds", "Seconds until GitLab's answer to a check, by result.", askBuckets, "result")
	fetches := m.histogram("fetch_duration_seconds", "Seconds until the head of the answer to a fetch, by result.", askBuckets, "result")
	for _, result := range allAskResults {
		m.checks[result] = checks.WithLabelValues(string(result))
		m.fetches[result] = fetches.WithLabelValues(string(result))
	}
	followers := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "followers",
		Help: "Callers who are being served from a fetch that somebody else leads.",
	})
	m.followers, m.collectors = followers, append(m.collectors, followers)
	m.resumes = m.counter("resumes_total", "Bodies from upstream that were asked for from where they, or an earlier fetch of the same file, broke off.").WithLabelValues()
	m.addShared()
	m.addParts()
	m.collectors = append(m.collectors, further...)
	return m
}

func (m *metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help,
	}, labels)
	m.collectors = append(m.collectors, vec)
	return vec
}

func (m *metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help, Buckets: buckets,
	}, labels)
	m.collectors = append(m.collectors, vec)
	return vec
}

// register makes the metrics visible in a config's registry.
func (m *metrics) register(registry prometheus.Registerer) {
	for _, collector := range m.collectors {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(collector); err != nil && !errors.As(err, &already) {
			// Only a second, different collector of this name could be refused, which is a defect of ours.
			panic(err)
		}
	}
}

// finished counts a request.
func (m *metrics) finished(method string, r *report) {
	counters, ok := m.requests[r.outcome]
	if !ok {
		return // a handler that panicked has no outcome
	}
	counter, ok := counters[method]
	if !ok {
		counter = counters[otherMethod]
	}
	for source, bytes := range r.sent {
		if bytes > 0 {
			m.sent[source].Add(float64(bytes))
		}
	}
	m.received(r.sent[sourceUpstream])
	if r.firstByte > 0 {
		m.firstByte[r.outcome].Observe(r.firstByte.Seconds())
		m.duration[r.outcome].Observe(time.Since(r.begun).Seconds())
	}
	counter.Inc() // last: whoever sees the request counted sees its bytes
}

// received counts bytes of bodies that came from upstream.
func (m *metrics) received(n int64) {
	if n > 0 {
		m.upstreamBytes.Add(float64(n))
	}
}

// checked counts a check.
func (m *metrics) checked(answer upstream.Answer, took time.Duration) {
	result := askRefused
	switch answer.Verdict {
	case upstream.Allowed:
		result = askAllowed
	case upstream.RateLimited:
		result = askRateLimited
	case upstream.Unreachable:
		result = askUnreachable
		if errors.Is(answer.Err, upstream.ErrNotAsked) {
			result = askNotAsked
		}
	case upstream.Refused:
	}
	m.checks[result].Observe(took.Seconds())
}

// fetched counts a fetch by its error; nil for one whose body is on its way.
func (m *metrics) fetched(err error, took time.Duration) {
	result := askUnreachable
	refused, isRefused := errors.AsType[*upstream.RefusedError](err)
	switch {
	case err == nil:
		result = askAllowed
	case isRefused && refused.RateLimited():
		result = askRateLimited
	case isRefused:
		result = askRefused
	case errors.Is(err, upstream.ErrChanged):
		result = askChanged
	case errors.Is(err, upstream.ErrNotAsked):
		result = askNotAsked
	}
	m.fetches[result].Observe(took.Seconds())
}
