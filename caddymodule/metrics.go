package caddymodule

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the edge's numbers, made once for the process. Every config brings a registry of its own, and the
// collectors are registered into each, so that counts survive reloads.
type metrics struct {
	requests *prometheus.CounterVec
	// counters are those of requests, by outcome and method, so that no request looks for its own.
	counters map[outcome]map[string]prometheus.Counter
}

// otherMethod stands for methods that aren't methods: callers choose theirs, and labels are a closed set.
const otherMethod = "other"

var countedMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch, http.MethodOptions, otherMethod,
}

var processMetrics = newMetrics()

func newMetrics() *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "caddy", Subsystem: "gitlab_packages", Name: "requests_total",
			Help: "Requests for generic packages by outcome and method.",
		}, []string{"outcome", "method"}),
		counters: make(map[outcome]map[string]prometheus.Counter),
	}
	for _, outcome := range allOutcomes {
		m.counters[outcome] = make(map[string]prometheus.Counter)
		for _, method := range countedMethods {
			m.counters[outcome][method] = m.requests.WithLabelValues(string(outcome), method)
		}
	}
	return m
}

// registerMetrics makes the metrics visible in a config's registry.
func registerMetrics(registry prometheus.Registerer) *metrics {
	for _, collector := range []prometheus.Collector{processMetrics.requests} {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(collector); err != nil && !errors.As(err, &already) {
			// Only a second, different collector of this name could be refused, which is a defect of ours.
			panic(err)
		}
	}
	return processMetrics
}

// finished counts a request.
func (m *metrics) finished(method string, r *record) {
	counters := m.counters[r.outcome]
	counter, ok := counters[method]
	if !ok {
		counter = counters[otherMethod]
	}
	if counter != nil { // a handler that panicked has no outcome
		counter.Inc()
	}
}
