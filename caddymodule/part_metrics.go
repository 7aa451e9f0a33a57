package caddymodule

import "github.com/prometheus/client_golang/prometheus"

// addParts makes the metrics of files that several connections bring.
func (m *metrics) addParts() {
	m.parts, m.partFallbacks = make(map[partResult]prometheus.Counter), make(map[partResult]prometheus.Counter)
	parts := m.counter("parts_total", "Parts of files that were asked for beside the first answer's body, by how they ended.", "result")
	for _, result := range allPartResults {
		m.parts[result] = parts.WithLabelValues(string(result))
	}
	fallbacks := m.counter("part_fallbacks_total", "Parts after which a file, or all files of a server for a while, came by one connection, by why.", "reason")
	for _, result := range fallBacks {
		m.partFallbacks[result] = fallbacks.WithLabelValues(string(result))
	}
	connections := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "part_connections",
		Help: "Connections by which parts of files come now.",
	})
	m.partConnections, m.collectors = connections, append(m.collectors, connections)
}
