package composetest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// load reads compose.yaml as docker compose does, with these variables alone, and leaves out what nothing uses.
func load(t *testing.T, options []cli.ProjectOptionsFn, environment ...string) (*types.Project, error) {
	t.Helper()
	read, err := cli.NewProjectOptions([]string{"../compose.yaml"}, append([]cli.ProjectOptionsFn{cli.WithEnv(environment)}, options...)...)
	if err != nil {
		return nil, err
	}
	project, err := read.LoadProject(context.Background())
	if err != nil {
		return nil, err
	}
	return project.WithoutUnnecessaryResources(), nil
}

// mustLoad is what runs without a profile.
func mustLoad(t *testing.T) *types.Project {
	t.Helper()
	project, err := load(t, nil, "GITLAB_URL=https://gitlab.example.com", "GRAFANA_PASSWORD=secret")
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
		if _, err := load(t, nil, set...); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

// TestWithoutAProfileThereIsOneEdge: whoever has started it so before gets nothing new, and is asked for nothing more.
func TestWithoutAProfileThereIsOneEdge(t *testing.T) {
	project := mustLoad(t)
	if names := project.ServiceNames(); !slices.Equal(names, []string{"edge", "grafana", "prometheus"}) {
		t.Errorf("what runs: %v", names)
	}
	if edge := project.Services["edge"]; edge.GetScale() != 1 {
		t.Errorf("%d edges run", edge.GetScale())
	}
	if len(project.Networks) != 1 || len(project.Volumes) != 4 {
		t.Errorf("it makes the networks %v and the volumes %v", project.NetworkNames(), project.VolumeNames())
	}
}

func TestAllThatIsMountedIsThere(t *testing.T) {
	for _, project := range []*types.Project{mustLoad(t), mustLoadFleet(t)} {
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
			if build := service.Build; build != nil {
				if _, err := os.Stat(filepath.Join(build.Context, build.Dockerfile)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestOnlyTheEdgeOrTheBalancerIsReachedFromElsewhere: the ports of the metrics and of the storage stay among the containers,
// Prometheus and Grafana on the machine.
func TestOnlyTheEdgeOrTheBalancerIsReachedFromElsewhere(t *testing.T) {
	for front, project := range map[string]*types.Project{"edge": mustLoad(t), "balancer": mustLoadFleet(t)} {
		reached := false
		for _, service := range project.Services {
			for _, port := range service.Ports {
				switch {
				case service.Name == front && port.Target == 8080:
					reached = true
				case service.GetScale() == 0:
				case service.Name != "prometheus" && service.Name != "grafana", port.HostIP != "127.0.0.1":
					t.Errorf("%s shows port %d at %q", service.Name, port.Target, port.HostIP)
				}
			}
		}
		if !reached {
			t.Errorf("callers don't reach the %s", front)
		}
	}
}

// TestNoPortIsTakenTwice: the single edge may run beside the fleet.
func TestNoPortIsTakenTwice(t *testing.T) {
	taken := make(map[string]string)
	for _, service := range mustLoadFleet(t).Services {
		for _, port := range service.Ports {
			if by, ok := taken[port.Published]; ok {
				t.Errorf("%s and %s both take port %s", by, service.Name, port.Published)
			}
			taken[port.Published] = service.Name
		}
	}
}

// TestGrafanaFindsTheDashboardAndPrometheusTheEdge holds names together that stand in several files.
func TestGrafanaFindsTheDashboardAndPrometheusTheEdge(t *testing.T) {
	project := mustLoad(t)
	targets := mounts(project)
	for _, test := range []struct{ file, text string }{
		{"../compose/grafana/provisioning/dashboards/edge.yml", "path: " + filepath.Dir(targets["grafana grafana-dashboard.json"]) + "\n"},
		{"../compose/grafana/provisioning/datasources/prometheus.yml", "url: http://prometheus:9090\n"},
		{"../prometheus/prometheus.yml", "targets: [edge:9180]\n"},
		{"../prometheus/prometheus.yml", "  - " + filepath.Base(targets["prometheus alerts.yml"]) + "\n"},
		// The Caddyfile imports by a path beside its own.
		{"../compose/Caddyfile", "import .." + strings.TrimPrefix(targets["edge metrics.Caddyfile"], filepath.Dir(filepath.Dir(targets["edge Caddyfile"]))) + "\n"},
	} {
		mustContain(t, test.file, test.text)
	}
	if targets["prometheus prometheus.yml"] != "/etc/prometheus/prometheus.yml" {
		t.Error("Prometheus doesn't read prometheus.yml")
	}
	for _, name := range []string{"edge", "prometheus", "grafana"} {
		if _, ok := project.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
}

// mounts are the places of all mounted files, by "service file".
func mounts(project *types.Project) map[string]string {
	targets := make(map[string]string)
	for _, service := range project.Services {
		for _, volume := range service.Volumes {
			targets[service.Name+" "+filepath.Base(volume.Source)] = volume.Target
		}
	}
	return targets
}

func mustContain(t *testing.T, file, text string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), text) {
		t.Errorf("%s has no %q", file, text)
	}
}
