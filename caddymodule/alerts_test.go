package caddymodule

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const prometheusFolder = "../deploy/prometheus"

var (
	alertExpression = regexp.MustCompile(`(?m)^ +expr: (?:\|\n((?: {10,}.*\n)+)|([^|\n]+)$)`)
	alertName       = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)
	seriesMatcher   = regexp.MustCompile(`(\w+)=~?"([^"]*)"`)
)

// TestEveryAlertWatchesSeriesThatTheEdgeHas takes the expressions out of the rules: each name in them is a series of a running
// edge, or Prometheus's own `up`, and each label value is one of the closed sets.
func TestEveryAlertWatchesSeriesThatTheEdgeHas(t *testing.T) {
	gitlab := newGitLab(t)
	startEdge(t, gitlab.URL, "")
	known := metricNames(t)
	values := map[string][]string{"job": {"gitlab-packages-edge"}}
	for _, outcome := range allOutcomes {
		values["outcome"] = append(values["outcome"], string(outcome))
	}
	rules, err := os.ReadFile(filepath.Join(prometheusFolder, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	alerts := alertName.FindAllStringSubmatch(string(rules), -1)
	expressions := alertExpression.FindAllStringSubmatch(string(rules), -1)
	if len(alerts) < 10 || len(expressions) != len(alerts) {
		t.Fatalf("found %d alerts and %d expressions", len(alerts), len(expressions))
	}
	for i, match := range expressions {
		name, expression := alerts[i][1], match[1]+match[2]
		found := regexp.MustCompile(`caddy_\w+`).FindAllString(expression, -1)
		if len(found) == 0 && !strings.HasPrefix(expression, "up{") {
			t.Errorf("%s watches no series: %s", name, expression)
		}
		for _, series := range found {
			if !slices.Contains(known, series) {
				t.Errorf("%s: there is no series %s", name, series)
			}
		}
		for _, matcher := range seriesMatcher.FindAllStringSubmatch(expression, -1) {
			for value := range strings.SplitSeq(matcher[2], "|") {
				if !slices.Contains(values[matcher[1]], value) {
					t.Errorf("%s: no %s is %s", name, matcher[1], value)
				}
			}
		}
	}
}

// TestPrometheusTakesTheAlertsAndFiresThemInTime has Prometheus's own tool read the rules and the scrape configs, and run
// alerts_test.yml.
func TestPrometheusTakesTheAlertsAndFiresThemInTime(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is missing: it is in Debian's package prometheus")
	}
	for _, arguments := range [][]string{
		{"check", "rules", "alerts.yml"},
		{"check", "config", "prometheus.yml"},
		{"check", "config", "prometheus-fleet.yml"},
		{"test", "rules", "alerts_test.yml"},
	} {
		command := exec.CommandContext(t.Context(), promtool, arguments...) //nolint:gosec // found above
		command.Dir = prometheusFolder
		if said, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, said)
		}
	}
}

// TestEveryAlertHasATestThatFiresIt keeps a rule from being added that nobody has seen fire.
func TestEveryAlertHasATestThatFiresIt(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(prometheusFolder, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(prometheusFolder, "alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range alertName.FindAllStringSubmatch(string(rules), -1) {
		pattern := regexp.MustCompile(`alertname: ` + alert[1] + `\n +exp_alerts:\n +- exp_labels:`)
		if !pattern.Match(tests) {
			t.Errorf("alerts_test.yml doesn't fire %s", alert[1])
		}
	}
}
