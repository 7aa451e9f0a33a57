package caddymodule

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// metricNames are the names that a scrape of the running edge shows, those of histograms as Prometheus stores them.
func metricNames(t testing.TB) (names []string) {
	t.Helper()
	active := caddy.ActiveContext()
	families, err := active.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		name := family.GetName()
		if !strings.HasPrefix(name, "caddy_gitlab_packages_") {
			continue
		}
		if family.GetMetric()[0].GetHistogram() != nil {
			names = append(names, name+"_bucket", name+"_count", name+"_sum")
		} else {
			names = append(names, name)
		}
	}
	return names
}

// TestTheDashboardDrawsEverySeriesAndNoOther takes the queries out of the dashboard: each name in them is a series that
// the edge has, each label value is one of the closed sets, and no series is forgotten.
func TestTheDashboardDrawsEverySeriesAndNoOther(t *testing.T) {
	gitlab := newGitLab(t)
	startEdge(t, gitlab.URL, "")
	known := metricNames(t)
	content, err := os.ReadFile("../deploy/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	values := make(map[string][]string)
	for _, outcome := range allOutcomes {
		values["outcome"] = append(values["outcome"], string(outcome))
	}
	names, matchers := regexp.MustCompile(`caddy_\w+`), regexp.MustCompile(`(\w+)=~?"([^"$]*)"`)
	drawn := make(map[string]bool)
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") || strings.Count(target.Expr, "{") != strings.Count(target.Expr, "}") {
				t.Errorf("%s: %s doesn't end", panel.Title, target.Expr)
			}
			found := names.FindAllString(target.Expr, -1)
			if len(found) == 0 {
				t.Errorf("%s: %s names no series", panel.Title, target.Expr)
			}
			for _, name := range found {
				if !slices.Contains(known, name) {
					t.Errorf("%s: there is no series %s", panel.Title, name)
				}
				drawn[name] = true
			}
			for _, matcher := range matchers.FindAllStringSubmatch(target.Expr, -1) {
				for value := range strings.SplitSeq(matcher[2], "|") {
					if !slices.Contains(values[matcher[1]], value) {
						t.Errorf("%s: no %s is %s", panel.Title, matcher[1], value)
					}
				}
			}
		}
	}
	for _, name := range known {
		// Of a histogram one of the three is enough.
		if strings.HasSuffix(name, "_sum") || strings.HasSuffix(name, "_count") {
			continue
		}
		if !drawn[name] {
			t.Errorf("%s is on no panel", name)
		}
	}
}
