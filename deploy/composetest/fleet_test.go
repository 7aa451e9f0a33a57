package composetest

import (
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// fleetVariables are what an admin must choose for the profile `fleet`.
var fleetVariables = map[string]string{
	"GITLAB_URL": "https://gitlab.example.com", "GRAFANA_PASSWORD": "secret",
	"S3_ACCESS_KEY": "edges", "S3_SECRET_KEY": "the key of the edges to their storage", "EDGES_SECRET": "what only the edges know",
}

// loadFleet reads compose.yaml with --env-file compose/fleet.env, and without one of the variables.
func loadFleet(t *testing.T, without string) (*types.Project, error) {
	t.Helper()
	return load(t, []cli.ProjectOptionsFn{cli.WithEnvFiles("../compose/fleet.env"), cli.WithDotEnv, cli.WithDefaultProfiles()}, chosen(without)...)
}

// chosen are all variables but one.
func chosen(without string) (set []string) {
	for name, value := range fleetVariables {
		if name != without {
			set = append(set, name+"="+value)
		}
	}
	return set
}

func mustLoadFleet(t *testing.T) *types.Project {
	t.Helper()
	project, err := loadFleet(t, "")
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestTheFleetIsTwoEdgesAndAStorageBehindABalancer(t *testing.T) {
	project := mustLoadFleet(t)
	var run []string
	for _, service := range project.Services {
		if service.GetScale() > 0 {
			run = append(run, service.Name)
		}
	}
	slices.Sort(run)
	if !slices.Equal(run, []string{"balancer", "edge-1", "edge-2", "grafana", "prometheus", "storage"}) {
		t.Errorf("what runs: %v", run)
	}
	one, two := mounts(project)["edge-1 edge-1-cache"], mounts(project)["edge-2 edge-2-cache"]
	if one != "/var/cache/gitlab-packages" || two != one {
		t.Errorf("the edges' own volumes are at %q and %q", one, two)
	}
}

// TestTheFleetIsntStartedWithoutItsSecrets, be it chosen by the file or by --profile.
func TestTheFleetIsntStartedWithoutItsSecrets(t *testing.T) {
	for missing := range fleetVariables {
		if _, err := loadFleet(t, missing); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
		profile := []cli.ProjectOptionsFn{cli.WithDefaultProfiles("fleet")}
		if _, err := load(t, profile, chosen(missing)...); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("with --profile fleet and without %s: %v", missing, err)
		}
	}
}

// TestTheSecretIsTheEdgesAlone: neither the storage nor the balancer may say what a location holds.
func TestTheSecretIsTheEdgesAlone(t *testing.T) {
	for _, service := range mustLoadFleet(t).Services {
		secret, is := service.Environment["EDGES_SECRET"], strings.HasPrefix(service.Name, "edge-")
		if (secret != nil) != is || is && *secret != fleetVariables["EDGES_SECRET"] {
			t.Errorf("%s has it: %v", service.Name, secret != nil)
		}
	}
}

// TestThePartsOfTheFleetFindEachOther holds names together that stand in several files.
func TestThePartsOfTheFleetFindEachOther(t *testing.T) {
	project := mustLoadFleet(t)
	storage, balancer := project.Services["storage"], project.Services["balancer"]
	for i, name := range []string{"edge-1", "edge-2"} {
		edge := project.Services[name]
		if url := variable(balancer, "EDGE_"+[]string{"1", "2"}[i]); url != "http://"+name+":8080" {
			t.Errorf("the balancer looks for %s at %q", name, url)
		}
		if endpoint := variable(edge, "S3_ENDPOINT"); endpoint != "http://storage"+storage.Command[1] {
			t.Errorf("%s looks for the storage at %s; it runs with %v", name, endpoint, storage.Command)
		}
		bucket, _ := strings.CutPrefix(variable(edge, "S3_BUCKET"), "s3://")
		if folder := storage.Volumes[0].Target; folder != path.Join(storage.Command[len(storage.Command)-1], bucket) {
			t.Errorf("%s has the bucket %s, and the folder is %s", name, bucket, folder)
		}
		for _, with := range []types.ServiceConfig{storage, balancer} {
			if shared := networksOf(edge, with); !slices.Equal(shared, []string{"fleet"}) {
				t.Errorf("%s reaches %s by %v", name, with.Name, shared)
			}
		}
		if len(networksOf(edge, project.Services["prometheus"])) != 1 {
			t.Errorf("Prometheus doesn't reach %s", name)
		}
		if trusted := variable(edge, "TRUSTED_PROXIES"); trusted != balancer.Networks["fleet"].Ipv4Address {
			t.Errorf("%s believes %s, and the balancer is %s", name, trusted, balancer.Networks["fleet"].Ipv4Address)
		}
	}
	for edges, storages := range map[string]string{"S3_ACCESS_KEY": "ROOT_ACCESS_KEY_ID", "S3_SECRET_KEY": "ROOT_SECRET_ACCESS_KEY"} { //nolint:gosec // names
		if variable(storage, storages) != fleetVariables[edges] || variable(project.Services["edge-1"], edges) != fleetVariables[edges] {
			t.Errorf("the storage's %s isn't the edges' %s", storages, edges)
		}
	}
	if mounts(project)["prometheus prometheus-fleet.yml"] != "/etc/prometheus/prometheus.yml" {
		t.Error("Prometheus doesn't read prometheus-fleet.yml")
	}
	mustContain(t, "../prometheus/prometheus-fleet.yml", "targets: [edge-1:9180, edge-2:9180]\n")
}

// TestTheFleetTakesAnotherStorage has both edges look for it where the admin says.
func TestTheFleetTakesAnotherStorage(t *testing.T) {
	others := map[string]string{"S3_ENDPOINT": "https://s3.example.com", "S3_BUCKET": "s3://mine/prefix", "S3_REGION": "eu-west-1"}
	environment := chosen("")
	for name, value := range others {
		environment = append(environment, name+"="+value)
	}
	project, err := load(t, []cli.ProjectOptionsFn{cli.WithDefaultProfiles("fleet")}, environment...)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range others {
		for _, edge := range []string{"edge-1", "edge-2"} {
			if got := variable(project.Services[edge], name); got != value {
				t.Errorf("%s has %s=%q", edge, name, got)
			}
		}
		mustContain(t, "../compose/fleet.Caddyfile", "{$"+name+":")
	}
}

// TestNobodyElseGetsTheBalancersAddress: what the edges believe of callers comes from there.
func TestNobodyElseGetsTheBalancersAddress(t *testing.T) {
	for _, network := range []string{"", "192.168.77"} {
		environment := chosen("")
		if network != "" {
			environment = append(environment, "FLEET_NETWORK="+network)
		}
		project, err := load(t, []cli.ProjectOptionsFn{cli.WithDefaultProfiles("fleet")}, environment...)
		if err != nil {
			t.Fatal(err)
		}
		pool := project.Networks["fleet"].Ipam.Config[0]
		address := netip.MustParseAddr(project.Services["balancer"].Networks["fleet"].Ipv4Address)
		if !netip.MustParsePrefix(pool.Subnet).Contains(address) || netip.MustParsePrefix(pool.IPRange).Contains(address) {
			t.Errorf("the balancer is %s, the network %s, and the others are of %s", address, pool.Subnet, pool.IPRange)
		}
	}
}

// TestCaddyTakesEachServicesConfigAsItIsMounted has the edge's own program read each Caddyfile at the place where the service has
// it, with the service's variables alone.
func TestCaddyTakesEachServicesConfigAsItIsMounted(t *testing.T) {
	caddy := os.Getenv("CADDY")
	if caddy == "" {
		t.Skip("put the path of a caddy with the edge into CADDY; `bash .ci/run compose` builds one")
	}
	project := mustLoadFleet(t)
	for _, name := range []string{"edge", "edge-1", "edge-2", "balancer"} {
		t.Run(name, func(t *testing.T) {
			service, root := project.Services[name], t.TempDir()
			for _, volume := range service.Volumes {
				if volume.Type == types.VolumeTypeBind {
					copyTo(t, volume.Source, filepath.Join(root, volume.Target))
				}
			}
			command := exec.CommandContext(t.Context(), caddy, "validate", "--config", filepath.Join(root, "etc/caddy/Caddyfile")) //nolint:gosec // the test's own
			command.Env = []string{"XDG_DATA_HOME=" + root, "XDG_CONFIG_HOME=" + root, "CACHE_DIR=" + filepath.Join(root, "cache")}
			for variable, value := range service.Environment {
				if value != nil {
					command.Env = append(command.Env, variable+"="+*value)
				}
			}
			if said, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}

func copyTo(t *testing.T, source, target string) {
	t.Helper()
	content, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// variable is what a service has of it, or nothing.
func variable(service types.ServiceConfig, name string) string {
	if value := service.Environment[name]; value != nil {
		return *value
	}
	return ""
}

// networksOf are those that both services are in.
func networksOf(one, two types.ServiceConfig) (both []string) {
	for name := range one.Networks {
		if _, ok := two.Networks[name]; ok {
			both = append(both, name)
		}
	}
	return both
}
