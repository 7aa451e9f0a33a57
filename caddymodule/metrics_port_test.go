package caddymodule

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheMetricsPortHasTheNumbersAndNothingOfTheAdminEndpoint runs an edge with deploy/prometheus/metrics.Caddyfile, as an admin
// would import it.
func TestTheMetricsPortHasTheNumbersAndNothingOfTheAdminEndpoint(t *testing.T) {
	snippet, err := filepath.Abs(filepath.Join(prometheusFolder, "metrics.Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("METRICS_ADDRESS", host)
	t.Setenv("METRICS_PORT", port)
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", around{admin: true, outside: "import " + snippet})
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))

	metricsPort := &edge{url: "http://" + net.JoinHostPort(host, port)}
	got := metricsPort.do(t, call{path: "/metrics"})
	if got.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics: %s", got.Status)
	}
	for _, name := range metricNames(t) {
		if !strings.Contains(string(got.body), "\n"+name+"{") && !strings.Contains(string(got.body), "\n"+name+" ") {
			t.Errorf("/metrics doesn't show %s", name)
		}
	}
	for _, secret := range []string{developer, projectPath, "app.bin"} {
		if strings.Contains(string(got.body), secret) {
			t.Errorf("/metrics shows %q", secret)
		}
	}
	if got := metricsPort.do(t, call{path: "/alive"}); got.StatusCode != http.StatusOK {
		t.Errorf("GET /alive: %s", got.Status)
	}
	for _, path := range []string{"/", "/config/", "/gitlab_packages/status", "/gitlab_packages/purge", "/metrics/x", "/debug/pprof/", filePath("app.bin")} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if got := metricsPort.do(t, call{method: method, path: path, token: developer}); got.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: %s", method, path, got.Status)
			}
		}
	}
}

// TestTheMetricsPortIsThisMachinesUnlessSomebodySaysOtherwise reads the snippet without any variable.
func TestTheMetricsPortIsThisMachinesUnlessSomebodySaysOtherwise(t *testing.T) {
	for _, name := range []string{"METRICS_ADDRESS", "METRICS_PORT"} {
		t.Setenv(name, "") // puts it back afterwards
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	adapted := string(adaptToDeploy(t, filepath.Join(prometheusFolder, "metrics.Caddyfile")))
	if !strings.Contains(adapted, `"listen":["127.0.0.1:9180"]`) {
		t.Errorf("it listens elsewhere: %s", adapted)
	}
}
