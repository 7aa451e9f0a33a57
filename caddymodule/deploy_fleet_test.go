package caddymodule

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// startFleet runs what the profile `fleet` of deploy/compose.yaml has: two edges by its Caddyfile, the balancer of deploy/two-edges,
// and the storage.
func startFleet(t *testing.T, gitlab *gitlabtest.Server) (*twoEdges, *gateway) {
	t.Helper()
	storage := startGateway(t, new(gateway))
	t.Setenv("S3_ENDPOINT", "http://"+storage.address)
	t.Setenv("S3_BUCKET", "s3://edges/prefix")
	t.Setenv("S3_ACCESS_KEY", gatewayKey)
	return startEdgesBehindBalancer(t, gitlab, "../deploy/compose/fleet.Caddyfile"), storage
}

func TestInTheFleetOfComposeAnEdgeHasFromTheStorageWhatTheOtherFetched(t *testing.T) {
	for name, gitlab := range map[string]func(*testing.T) *gitlabtest.Server{
		"GitLab sends": naming, "GitLab redirects": func(t *testing.T) *gitlabtest.Server { return redirecting(t, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			gitlab := gitlab(t)
			both, storage := startFleet(t, gitlab)
			body := someBytes(16<<20, 41)
			publishOld(gitlab, "app.bin", body)
			both.mustGet(t, "app.bin", developer, body)
			await(t, func() bool { return storage.has(t, body) && (name == "GitLab sends" || storage.locations(t) > 0) })
			fetched, other := 0, 1
			if blobsIn(t, both.edges[fetched].directory) == 0 {
				fetched, other = other, fetched
			}
			if blobsIn(t, both.edges[other].directory) != 0 {
				t.Fatal("both edges have the file already")
			}
			if err := both.processes[fetched].Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = both.processes[fetched].Wait()
			both.mustGet(t, "app.bin", developer, body)
			const found = `caddy_gitlab_packages_shared_store_read_duration_seconds_count{result="found"} 1`
			if numbers := numbersAt(t, both.metrics[other]); !strings.Contains(numbers, found) {
				t.Errorf("the other edge's numbers have no %s:\n%s", found, linesWith(numbers, "shared_store"))
			}
			for _, request := range gitlab.Requests() {
				if forwarded := request.Header.Get("X-Forwarded-For"); !request.Storage && forwarded != "127.0.0.1" {
					t.Errorf("GitLab was told of %q", forwarded)
				}
			}
		})
	}
}

// has reports whether the bytes are in the bucket, and are these.
func (g *gateway) has(t *testing.T, body []byte) bool {
	t.Helper()
	stored, err := os.ReadFile(g.object(body))
	return err == nil && hexSHA256(stored) == hexSHA256(body)
}

// locations counts what the edges have told each other of locations.
func (g *gateway) locations(t *testing.T) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(g.data, "edges", "prefix", "locations", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// numbersAt is what Prometheus gets from an edge of another process.
func numbersAt(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	numbers, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
	return string(numbers)
}

// linesWith are the lines of a text that have the word.
func linesWith(text, word string) string {
	var lines strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			lines.WriteString(line)
		}
	}
	return lines.String()
}
