package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const (
	twoEdgesFolder = "../deploy/two-edges"
	serviceFile    = "../deploy/gitlab-packages-edge.service"
)

func TestEveryCaddyfileToDeployIsValidAndFormatted(t *testing.T) {
	t.Setenv("CACHE_DIR", t.TempDir())
	t.Setenv("GITLAB_URL", "https://gitlab.example.com")
	t.Setenv("S3_ACCESS_KEY", gatewayKey)
	t.Setenv("S3_SECRET_KEY", gatewaySecret)
	t.Setenv("EDGES_SECRET", edgesSecret)
	var found int
	err := filepath.WalkDir("../deploy", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "Caddyfile") {
			return err
		}
		found++
		written, err := os.ReadFile(path) //nolint:gosec // the repository's own file
		if err != nil {
			return err
		}
		if !bytes.Equal(caddyfile.Format(written), written) {
			t.Errorf("%s is not formatted: caddy fmt --overwrite", path)
		}
		config := new(caddy.Config)
		if err := json.Unmarshal(adaptToDeploy(t, path), config); err != nil {
			return err
		}
		if err := caddy.Validate(config); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 2 {
		t.Errorf("found only %d Caddyfiles", found)
	}
}

// TestTheServiceFileIsWhatSystemdUnderstands checks all words of the service file. Which programs and users the machine
// has doesn't count.
func TestTheServiceFileIsWhatSystemdUnderstands(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is missing: it is in Debian's package systemd")
	}
	written, err := os.ReadFile(serviceFile)
	if err != nil {
		t.Fatal(err)
	}
	// systemd looks whether the programs are there, so they are replaced by one that is.
	unit := filepath.Join(t.TempDir(), filepath.Base(serviceFile))
	if err := os.WriteFile(unit, bytes.ReplaceAll(written, []byte("/usr/bin/caddy"), []byte("/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without --man=no it looks for the documentation, and without recursive-errors=no at all the machine's own units.
	said, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--recursive-errors=no", unit).CombinedOutput() //nolint:gosec // found above
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, filepath.Base(serviceFile)) { // an unknown word is only warned of
			t.Error(strings.TrimSpace(line))
		}
	}
}

// adaptToDeploy reads a Caddyfile with the environment of this moment.
func adaptToDeploy(t *testing.T, path string) []byte {
	t.Helper()
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(written, map[string]any{"filename": path})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, warning := range warnings {
		t.Errorf("%s: %s", path, warning)
	}
	return adapted
}

// twoEdges are two edges and the balancer in front of them, each a process of its own, as deploy/two-edges has them.
type twoEdges struct {
	*edge     // reached through the balancer
	edges     [2]*edge
	processes [2]*exec.Cmd
	metrics   [2]string // their URLs, where the Caddyfile has a port for Prometheus
}

func startTwoEdges(t *testing.T, gitlab *gitlabtest.Server) *twoEdges {
	t.Helper()
	return startEdgesBehindBalancer(t, gitlab, filepath.Join(twoEdgesFolder, "edge.Caddyfile"))
}

// startEdgesBehindBalancer runs the balancer of deploy/two-edges in front of two edges with that Caddyfile.
func startEdgesBehindBalancer(t *testing.T, gitlab *gitlabtest.Server, caddyfile string) *twoEdges {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_DATA_HOME", filepath.Join(home, "data"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	t.Setenv("GITLAB_URL", gitlab.URL)
	both := new(twoEdges)
	for i := range both.edges {
		address := freeAddress(t)
		both.edges[i] = &edge{url: "http://" + address, directory: filepath.Join(home, fmt.Sprintf("cache-%d", i+1))}
		t.Setenv("EDGE_ADDRESS", both.edges[i].url)
		t.Setenv("CACHE_DIR", both.edges[i].directory)
		metrics := freeAddress(t)
		both.metrics[i] = "http://" + metrics + "/metrics"
		t.Setenv("METRICS_PORT", metrics[strings.LastIndexByte(metrics, ':')+1:])
		both.processes[i] = startDeployed(t, caddyfile, home)
		t.Setenv(fmt.Sprintf("EDGE_%d", i+1), both.edges[i].url)
	}
	// The balancer looks at once whether they are there, and then only a second later.
	await(t, both.edges[0].alive)
	await(t, both.edges[1].alive)
	both.edge = &edge{url: "http://" + freeAddress(t)}
	t.Setenv("BALANCER_ADDRESS", both.url)
	startDeployed(t, filepath.Join(twoEdgesFolder, "balancer.Caddyfile"), home)
	await(t, both.alive)
	return both
}

// startDeployed runs a Caddyfile with the environment of this moment, until the test ends.
func startDeployed(t *testing.T, caddyfile, folder string) *exec.Cmd {
	t.Helper()
	t.Setenv("ADMIN_ADDRESS", freeAddress(t))
	adapted := adaptToDeploy(t, caddyfile)
	// The example leaves more room on the disk than a test may ask for.
	adapted = bytes.ReplaceAll(adapted, []byte(`"min_free":5368709120`), []byte(`"min_free":0`))
	config, err := os.CreateTemp(folder, filepath.Base(caddyfile)+"-*.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Write(adapted); err != nil {
		t.Fatal(err)
	}
	if err := config.Close(); err != nil {
		t.Fatal(err)
	}
	process, stdin := startEdgeProcess(t, config.Name())
	t.Cleanup(func() {
		_ = stdin.Close() // which ends it
		_ = process.Wait()
	})
	return process
}

// alive reports whether an edge, or an edge behind the balancer, says that it is there.
func (e *edge) alive() bool {
	response, err := e.begin(call{path: "/gitlab-packages-edge/alive"})
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// stored counts the files that each edge holds.
func (both *twoEdges) stored(t *testing.T) (first, second int) {
	t.Helper()
	return blobsIn(t, both.edges[0].directory), blobsIn(t, both.edges[1].directory)
}

func spreadFile(i int) (name string, body []byte) {
	return fmt.Sprintf("spread-%d.bin", i), someBytes(20_000+i, byte(i)) //nolint:gosec // small numbers
}

// spreadFiles are so many that all of them belong to one edge once in eight million runs.
const spreadFiles = 24

func TestTwoEdgesShareTheFilesAndEachFileIsOnOneOfThem(t *testing.T) {
	gitlab := newGitLab(t)
	both := startTwoEdges(t, gitlab)
	for i := range spreadFiles {
		name, body := spreadFile(i)
		publishOld(gitlab, name, body)
		both.mustGet(t, name, developer, body)
		if got := both.mustGet(t, name, developer, body); !strings.Contains(got.cacheStatus(), "; hit") {
			t.Errorf("the second download of %s: %q", name, got.cacheStatus())
		}
	}
	await(t, func() bool { first, second := both.stored(t); return first+second >= spreadFiles })
	if first, second := both.stored(t); first+second != spreadFiles || first == 0 || second == 0 {
		t.Errorf("%d files are stored, %d on one edge and %d on the other", spreadFiles, first, second)
	}
	// Whatever way a file is named, the edge that has it is asked: no other edge stores it.
	for i := range spreadFiles {
		name, body := spreadFile(i)
		for _, path := range otherSpellings(name) {
			got := both.do(t, call{path: path, token: developer})
			if got.StatusCode != http.StatusOK || !bytes.Equal(got.body, body) {
				t.Fatalf("GET %s: %s, %v; %s", path, got.Status, got.err, firstBytes(got.body))
			}
		}
	}
	if first, second := both.stored(t); first+second != spreadFiles {
		t.Errorf("downloaded under other names, the %d files are stored %d times", spreadFiles, first+second)
	}
}

// otherSpellings are URL paths of the same file.
func otherSpellings(name string) []string {
	return []string{
		filePath(name) + "?private_token=" + developer,
		fmt.Sprintf("/api/v4/projects/%d/generic/pkg/1.0.0/%s", project, name),
		"/api/v4/projects/group%2Fapp/packages/generic/pkg/1.0.0/" + name,
		fmt.Sprintf("/api/v4//projects/0%d/packages/generic/%%70kg/1.0.0/%s", project, name),
	}
}

func TestWhatIsPublishedThroughTheBalancerIsNeverServedInItsOldForm(t *testing.T) {
	gitlab := newGitLab(t)
	both := startTwoEdges(t, gitlab)
	for i := range 6 {
		name, old := spreadFile(i)
		published := both.do(t, call{method: http.MethodPut, path: filePath(name), token: developer, body: bytes.NewReader(old)})
		if published.StatusCode != http.StatusCreated {
			t.Fatalf("PUT: %s; %s", published.Status, firstBytes(published.body))
		}
		both.mustGet(t, name, developer, old)
		for j, path := range append(otherSpellings(name), filePath(name)+"?select=package_file") {
			body := someBytes(30_000, byte(100+10*i+j))
			published := both.do(t, call{method: http.MethodPut, path: path, token: developer, body: bytes.NewReader(body)})
			if published.StatusCode/100 != 2 {
				t.Fatalf("PUT %s: %s; %s", path, published.Status, firstBytes(published.body))
			}
			both.mustGet(t, name, developer, body)
		}
	}
}

func TestWhenAnEdgeEndsDownloadsAndUploadsGoOnThroughTheOther(t *testing.T) {
	gitlab := newGitLab(t)
	both := startTwoEdges(t, gitlab)
	for i := range spreadFiles {
		name, body := spreadFile(i)
		publishOld(gitlab, name, body)
		both.mustGet(t, name, developer, body)
	}
	if err := both.processes[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = both.processes[0].Wait()
	for i := range spreadFiles {
		name, body := spreadFile(i)
		both.mustGet(t, name, developer, body)
		published := both.do(t, call{method: http.MethodPut, path: filePath("new-" + name), token: developer, body: bytes.NewReader(body)})
		if published.StatusCode != http.StatusCreated {
			t.Errorf("PUT: %s; %s", published.Status, firstBytes(published.body))
		}
		both.mustGet(t, "new-"+name, developer, body)
	}
	await(t, func() bool { _, second := both.stored(t); return second >= spreadFiles })
}

func TestBrokenUploadsAndRefusalsShutNoEdgeOut(t *testing.T) {
	gitlab := newGitLab(t)
	both := startTwoEdges(t, gitlab)
	for i := range 2 * spreadFiles {
		name, _ := spreadFile(i)
		// The caller breaks off after a megabyte of eight.
		broken := io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), failingReader{})
		if response, err := both.begin(call{method: http.MethodPut, path: filePath(name), token: developer, body: broken, length: 8 << 20}); err == nil {
			_ = response.Body.Close()
		}
		// An early refusal of a large upload: the caller who doesn't wait for it may see the connection end.
		path := strings.Replace(filePath(name), "1.0.0", "latest", 1)
		response, err := both.begin(call{method: http.MethodPut, path: path, token: developer, body: bytes.NewReader(make([]byte, 8<<20))})
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("an illegal version: %s", response.Status)
		}
	}
	for i := range spreadFiles {
		name, body := spreadFile(i)
		publishOld(gitlab, name, body)
		began := time.Now()
		both.mustGet(t, name, developer, body)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a download waited %s", took)
		}
	}
	first, second := both.stored(t)
	if first == 0 || second == 0 {
		t.Errorf("%d files went to one edge and %d to the other", first, second)
	}
}

func TestACallerWhoWaitsForContinueSendsNoBodyThatTheEdgeRefuses(t *testing.T) {
	both := startTwoEdges(t, newGitLab(t))
	const size = 8 << 20
	path := strings.Replace(filePath("app.bin"), "1.0.0", "latest", 1)
	body := &countingReader{reader: bytes.NewReader(make([]byte, size))}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}, Timeout: time.Minute}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, both.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = size
	request.Header.Set("Private-Token", developer)
	request.Header.Set("Expect", "100-continue")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest || body.count != 0 {
		t.Errorf("%s after %d bytes of body", response.Status, body.count)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestCallersBehindTheBalancerAreToldApartAndCannotPretend(t *testing.T) {
	gitlab := newGitLab(t)
	both := startTwoEdges(t, gitlab)
	name, body := spreadFile(0)
	publishOld(gitlab, name, body)
	pretended := http.Header{"X-Forwarded-For": {"203.0.113.7"}, "Gitlab-Packages-File": {"other"}}
	if got := both.do(t, call{path: filePath(name), token: developer, header: pretended}); got.StatusCode != http.StatusOK {
		t.Fatalf("%s; %s", got.Status, firstBytes(got.body))
	}
	for _, request := range gitlab.Requests() {
		if forwarded := request.Header.Get("X-Forwarded-For"); forwarded != "127.0.0.1" {
			t.Errorf("GitLab was told of %q", forwarded)
		}
		if request.Header.Get("Gitlab-Packages-File") != "" {
			t.Error("GitLab got the balancer's header")
		}
	}
}

func TestBytesPassTheBalancerWhileTheFileIsStillOnItsWayIn(t *testing.T) {
	gitlab := newGitLab(t)
	both := startTwoEdges(t, gitlab)
	body := someBytes(4<<20, 1)
	publishOld(gitlab, "big.bin", body)
	release := make(chan struct{})
	gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, StallAfter: 1 << 20, Release: release})
	response, err := both.begin(call{path: filePath("big.bin"), token: developer})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 900_000)
	if _, err := io.ReadFull(response.Body, first); err != nil {
		t.Fatal(err)
	}
	close(release)
	if digest, err := digestOfRest(first, response.Body); err != nil || digest != hexSHA256(body) {
		t.Errorf("%v", err)
	}
}
