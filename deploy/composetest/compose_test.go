package composetest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// load reads compose.yaml as docker compose does, with these variables alone.
func load(t *testing.T, environment ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../compose.yaml"}, cli.WithEnv(environment))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(context.Background())
}

func mustLoad(t *testing.T) *types.Project {
	t.Helper()
	project, err := load(t, "GITLAB_URL=https://gitlab.example.com", "GRAFANA_PASSWORD=secret")
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestWithoutAGitLabOrAPasswordNothingStarts(t *testing.T) {
	for _, missing := range []string{"GITLAB_URL", "GRAFANA_PASSWORD"} {
		var set []string
		for _, variable := range []string{"GITLAB_URL", "GRAFANA_PASSWORD"} {
			if variable != missing {
				set = append(set, variable+"=x")
			}
		}
		if _, err := load(t, set...); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func TestAllThatIsMountedIsThere(t *testing.T) {
	project := mustLoad(t)
	for _, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				if _, ok := project.Volumes[volume.Source]; !ok {
					t.Errorf("%s: there is no volume %s", service.Name, volume.Source)
				}
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("%s: %v", service.Name, err)
			}
			if !volume.ReadOnly {
				t.Errorf("%s can write %s", service.Name, volume.Source)
			}
		}
	}
	build := project.Services["edge"].Build
	if _, err := os.Stat(filepath.Join(build.Context, build.Dockerfile)); err != nil {
		t.Error(err)
	}
}

// TestOnlyTheEdgeIsReachedFromElsewhere: the port of the metrics stays among the containers, Prometheus and Grafana on the machine.
func TestOnlyTheEdgeIsReachedFromElsewhere(t *testing.T) {
	for _, service := range mustLoad(t).Services {
		for _, port := range service.Ports {
			if service.Name == "edge" && port.Target == 8080 {
				continue
			}
			if service.Name == "edge" || port.HostIP != "127.0.0.1" {
				t.Errorf("%s shows port %d at %q", service.Name, port.Target, port.HostIP)
			}
		}
	}
}

// TestGrafanaFindsTheDashboardAndPrometheusTheEdge holds names together that stand in several files.
func TestGrafanaFindsTheDashboardAndPrometheusTheEdge(t *testing.T) {
	project := mustLoad(t)
	targets := make(map[string]string)
	for _, service := range project.Services {
		for _, volume := range service.Volumes {
			targets[service.Name+" "+filepath.Base(volume.Source)] = volume.Target
		}
	}
	for _, test := range []struct{ file, text string }{
		{"../compose/grafana/provisioning/dashboards/edge.yml", "path: " + filepath.Dir(targets["grafana grafana-dashboard.json"]) + "\n"},
		{"../compose/grafana/provisioning/datasources/prometheus.yml", "url: http://prometheus:9090\n"},
		{"../prometheus/prometheus.yml", "targets: [edge:9180]\n"},
		{"../prometheus/prometheus.yml", "  - " + filepath.Base(targets["prometheus alerts.yml"]) + "\n"},
		// The Caddyfile imports by a path beside its own.
		{"../compose/Caddyfile", "import .." + strings.TrimPrefix(targets["edge metrics.Caddyfile"], filepath.Dir(filepath.Dir(targets["edge Caddyfile"]))) + "\n"},
	} {
		content, err := os.ReadFile(test.file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), test.text) {
			t.Errorf("%s has no %q", test.file, test.text)
		}
	}
	for _, name := range []string{"edge", "prometheus", "grafana"} {
		if _, ok := project.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
}
