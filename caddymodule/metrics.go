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
}

var processMetrics = &metrics{
	requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "gitlab_packages", Name: "requests_total",
		Help: "Requests for generic packages by outcome and method.",
	}, []string{"outcome", "method"}),
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

// finished counts a request. Methods are a closed set too: callers choose theirs.
func (m *metrics) finished(method string, r *record) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch, http.MethodOptions:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(string(r.outcome), method).Inc()
}
