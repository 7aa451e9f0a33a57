package charttest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const chart = "../helm"

// tool finds a program by a variable with its path, or by its name.
func tool(t *testing.T, variable, name string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is missing: put it into PATH, or its path into %s; `bash .ci/run helm` builds it", name, variable)
	}
	return path
}

// renderOrFail renders the chart as `helm install edge` would, for a Kubernetes of today.
func renderOrFail(t *testing.T, values ...string) (manifests, said string, err error) {
	t.Helper()
	arguments := append([]string{"template", "edge", chart, "--kube-version", "1.33.0"}, values...)
	command := exec.CommandContext(t.Context(), tool(t, "HELM", "helm"), arguments...) //nolint:gosec // the test's own
	rendered, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		said = string(exit.Stderr)
	}
	return string(rendered), said, err
}

const gitlabURL = "gitlabURL=https://gitlab.example.com"

// objects are what one rendering holds.
type objects struct {
	config      core.ConfigMap
	secrets     []core.Secret
	services    []core.Service
	edges       apps.StatefulSet
	budgets     []policy.PodDisruptionBudget
	ingresses   []networking.Ingress
	monitors    int
	monitorPort bool
}

// render renders the chart, and reads what comes by the types of Kubernetes. A field that they don't have is an error.
func render(t *testing.T, values ...string) (all objects) {
	t.Helper()
	manifests, said, err := renderOrFail(t, values...)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		document += "\n"
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		var err error
		switch kind.Kind {
		case "":
		case "ConfigMap":
			err = yaml.UnmarshalStrict([]byte(document), &all.config)
		case "Secret":
			all.secrets, err = more(all.secrets, document)
		case "Service":
			all.services, err = more(all.services, document)
		case "StatefulSet":
			err = yaml.UnmarshalStrict([]byte(document), &all.edges)
		case "PodDisruptionBudget":
			all.budgets, err = more(all.budgets, document)
		case "Ingress":
			all.ingresses, err = more(all.ingresses, document)
		case "ServiceMonitor": // a type of the Prometheus operator's
			all.monitors++
			all.monitorPort = strings.Contains(document, "port: metrics")
		default:
			t.Errorf("nobody knows what a %s is", kind.Kind)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, document)
		}
	}
	return all
}

func more[T any](before []T, document string) ([]T, error) {
	var one T
	err := yaml.UnmarshalStrict([]byte(document), &one)
	return append(before, one), err
}

func TestWithoutAGitLabNothingIsInstalled(t *testing.T) {
	_, said, err := renderOrFail(t)
	if err == nil || !strings.Contains(said, "gitlabURL must be set") {
		t.Errorf("%v; %s", err, said)
	}
}

func TestTheChartIsOneEdgeWithAVolumeThatIsAliveWhateverGitLabDoes(t *testing.T) {
	all := render(t, "--set", gitlabURL)
	if *all.edges.Spec.Replicas != 1 || len(all.budgets) != 1 || len(all.secrets) != 0 || len(all.ingresses) != 0 || all.monitors != 0 {
		t.Errorf("%d edges, %d budgets, %d secrets, %d ingresses, %d monitors",
			*all.edges.Spec.Replicas, len(all.budgets), len(all.secrets), len(all.ingresses), all.monitors)
	}
	claims := all.edges.Spec.VolumeClaimTemplates
	if len(claims) != 1 || claims[0].Spec.Resources.Requests.Storage().String() != "100Gi" || claims[0].Spec.StorageClassName != nil {
		t.Errorf("the volume: %+v", claims)
	}
	container := all.edges.Spec.Template.Spec.Containers[0]
	ports := make(map[string]int32)
	for _, port := range container.Ports {
		ports[port.Name] = port.ContainerPort
	}
	for _, probe := range []*core.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/alive" || ports[probe.HTTPGet.Port.String()] != 9180 {
			t.Errorf("a probe: %+v", probe)
		}
	}
	for _, service := range all.services {
		for _, port := range service.Spec.Ports {
			if _, ok := ports[port.TargetPort.String()]; !ok {
				t.Errorf("service %s sends to port %s, which the pods don't have", service.Name, port.TargetPort.String())
			}
			if service.Spec.ClusterIP != core.ClusterIPNone && port.TargetPort.String() != "http" {
				t.Errorf("service %s shows port %s to callers", service.Name, port.TargetPort.String())
			}
		}
		for name, value := range service.Spec.Selector {
			if all.edges.Spec.Template.Labels[name] != value || all.edges.Spec.Selector.MatchLabels[name] != value {
				t.Errorf("service %s doesn't find the pods: %s=%s", service.Name, name, value)
			}
		}
	}
	mounted := make(map[string]bool)
	for _, mount := range container.VolumeMounts {
		mounted[mount.MountPath] = true
	}
	for _, written := range []string{"/var/cache/gitlab-packages", "/data", "/config", "/tmp"} {
		if !mounted[written] {
			t.Errorf("the root is read-only, and nothing is mounted at %s", written)
		}
	}
}

func TestTheTokenIsInASecretAndNowhereElse(t *testing.T) {
	const token = "glpat-of-the-chart" //nolint:gosec // invented
	manifests, said, err := renderOrFail(t, "--set", gitlabURL+",apiToken.value="+token)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if strings.Count(manifests, token) != 1 {
		t.Errorf("the token is there %d times", strings.Count(manifests, token))
	}
	all := render(t, "--set", gitlabURL+",apiToken.value="+token)
	from := all.edges.Spec.Template.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef
	if len(all.secrets) != 1 || all.secrets[0].Name != from.Name || all.secrets[0].StringData[from.Key] != token {
		t.Errorf("the edge reads %s of %s, and the secrets are %+v", from.Key, from.Name, all.secrets)
	}
	all = render(t, "--set", gitlabURL+",apiToken.existingSecret=mine,apiToken.existingSecretKey=key")
	from = all.edges.Spec.Template.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef
	if len(all.secrets) != 0 || from.Name != "mine" || from.Key != "key" {
		t.Errorf("the edge reads %s of %s; %d secrets are made", from.Key, from.Name, len(all.secrets))
	}
}

// TestSeveralEdgesAskGitLabAboutEachDownload: no edge knows what was published through another one.
func TestSeveralEdgesAskGitLabAboutEachDownload(t *testing.T) {
	for replicas, want := range map[string]string{"1": "max_age 1m\n", "2": "max_age 0\n"} {
		all := render(t, "--set", gitlabURL+",replicas="+replicas)
		if !strings.Contains(all.config.Data["Caddyfile"], want) {
			t.Errorf("%s edges: no %q in\n%s", replicas, want, all.config.Data["Caddyfile"])
		}
	}
}

var further = []string{
	"--set", "apiToken.value=glpat-of-the-chart,serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus",
	"--set", "ingress.enabled=true,ingress.className=nginx,ingress.tlsSecret=packages,ingress.annotations.a=b",
	"--set", "trustedProxies={10.0.0.1,10.0.0.2},cache.volume.storageClassName=fast,image.tag=1,podAnnotations.a=b,rules=current",
	"--set", "imagePullSecrets[0].name=mine,nodeSelector.disk=fast,tolerations[0].operator=Exists",
	"--set-string", "extraSettings=projects on {\n\toff 24 group/app\n}\nretries 3",
	"--set", "sharedStore.url=s3://packages-edge/prefix,sharedStore.endpoint=https://minio.example.com,sharedStore.region=eu-west-1",
	"--set", "sharedStore.existingSecret=bucket,serviceAccountName=edge",
	"--set-string", "sharedStore.extraSettings=min_size 1MiB\nrefresh 7d",
}

// TestPodsWithoutDisksHaveASharedStore is a fleet whose pods come and go.
func TestPodsWithoutDisksHaveASharedStore(t *testing.T) {
	all := render(t, "--set", gitlabURL+",replicas=3,cache.volume.persistent=false,sharedStore.url=s3://edges,sharedStore.existingSecret=bucket")
	pod := all.edges.Spec.Template.Spec
	if len(all.edges.Spec.VolumeClaimTemplates) != 0 || all.edges.Spec.PersistentVolumeClaimRetentionPolicy != nil {
		t.Error("it wants disks")
	}
	found := false
	for _, volume := range pod.Volumes {
		found = found || (volume.Name == "cache" && volume.EmptyDir != nil && volume.EmptyDir.SizeLimit.String() == "100Gi")
	}
	if !found {
		t.Errorf("no emptyDir for the cache: %v", pod.Volumes)
	}
	names := make(map[string]string)
	for _, variable := range pod.Containers[0].Env {
		names[variable.Name] = variable.ValueFrom.SecretKeyRef.Key
	}
	for name, key := range map[string]string{"S3_ACCESS_KEY": "access-key", "S3_SECRET_KEY": "secret-key", "EDGES_SECRET": "edges-secret"} {
		if names[name] != key || !strings.Contains(all.config.Data["Caddyfile"], "{env."+name+"}") {
			t.Errorf("%s is %q, in\n%s", name, names[name], all.config.Data["Caddyfile"])
		}
	}
	all = render(t, "--set", gitlabURL+",sharedStore.url=s3://edges,sharedStore.podIdentity=true,sharedStore.existingSecret=bucket,serviceAccountName=edge")
	if config := all.config.Data["Caddyfile"]; strings.Contains(config, "access_key") || !strings.Contains(config, "secret {env.EDGES_SECRET}") {
		t.Errorf("with the pod's identity:\n%s", config)
	}
	if all.edges.Spec.Template.Spec.ServiceAccountName != "edge" || len(all.edges.Spec.Template.Spec.Containers[0].Env) != 1 {
		t.Error("the pod has another account, or keys")
	}
}

func TestAllThatCanBeTurnedOnIsWhatKubernetesUnderstands(t *testing.T) {
	all := render(t, append([]string{"--set", gitlabURL}, further...)...)
	if len(all.ingresses) != 1 || all.monitors != 1 || !all.monitorPort {
		t.Errorf("%d ingresses, %d monitors, %v", len(all.ingresses), all.monitors, all.monitorPort)
	}
	if class := all.edges.Spec.VolumeClaimTemplates[0].Spec.StorageClassName; class == nil || *class != "fast" {
		t.Errorf("the volume's class is %v", class)
	}
}

// TestTheEdgeStartsWithTheChartsCaddyfile has the edge itself read what was rendered, with the cache at another place.
func TestTheEdgeStartsWithTheChartsCaddyfile(t *testing.T) {
	caddy := tool(t, "CADDY", "caddy")
	for name, values := range map[string][]string{"as it comes": nil, "with all that can be turned on": further} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			caddyfile := filepath.Join(home, "Caddyfile")
			text := render(t, append([]string{"--set", gitlabURL}, values...)...).config.Data["Caddyfile"]
			text = strings.ReplaceAll(text, "cache /var/cache/gitlab-packages", "cache "+filepath.Join(home, "cache"))
			if err := os.WriteFile(caddyfile, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), caddy, "validate", "--config", caddyfile) //nolint:gosec // the test's own
			command.Env = append(os.Environ(), "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, "GITLAB_EDGE_TOKEN=glpat-of-the-chart",
				"S3_ACCESS_KEY=key", "S3_SECRET_KEY=secret", "EDGES_SECRET=what only the edges know")
			if said, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s\n%s", err, said, text)
			}
			formatting := exec.CommandContext(t.Context(), caddy, "fmt", "--diff", caddyfile) //nolint:gosec // the test's own
			if said, err := formatting.CombinedOutput(); err != nil {
				t.Errorf("not as `caddy fmt` has it: %v\n%s", err, said)
			}
		})
	}
}
