package caddymodule

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// caddyVariable makes the test binary the command caddy.
const caddyVariable = "GITLAB_PACKAGES_TEST_CADDY"

// runCaddy runs the command caddy with this process's environment, without GITLAB_URL but for what env says.
func runCaddy(t *testing.T, env []string, args ...string) (printed string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], args...) //nolint:gosec // this very program
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "GITLAB_URL=") })
	command.Env = append(append(command.Env, caddyVariable+"=yes"), env...)
	said, err := command.CombinedOutput()
	return string(said), err
}

// shippedCaddyfiles are all of the repository that have an edge in them.
func shippedCaddyfiles(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == ".git") {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.Contains(entry.Name(), "Caddyfile") {
			return nil
		}
		written, err := os.ReadFile(path) //nolint:gosec // the repository's own file
		if bytes.Contains(written, []byte("\tgitlab_packages ")) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 2 {
		t.Fatalf("found only %v", paths)
	}
	return paths
}

// TestForgettingGITLAB_URLFailsAndTheRunningEdgeStays runs Caddy's own commands with each Caddyfile that is shipped, beside an
// edge that runs.
func TestForgettingGITLAB_URLFailsAndTheRunningEdgeStays(t *testing.T) { //nolint:revive // the variable's name
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "", withAdmin)
	publishOld(gitlab, "app.bin", []byte("x"))
	e.mustGet(t, "app.bin", developer, []byte("x"))
	config := func() string {
		response, err := testClient.Get(e.admin + "/config/")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		shown, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(shown)
	}
	before := config()
	others := []string{"EDGE_ADDRESS=http://" + freeAddress(t), "CACHE_DIR=" + t.TempDir()}
	address := strings.TrimPrefix(e.admin, "http://")
	for _, path := range shippedCaddyfiles(t) {
		for _, args := range [][]string{
			{"adapt", "--config", path}, {"validate", "--config", path}, {"reload", "--config", path, "--address", address},
		} {
			for _, env := range [][]string{others, append(slices.Clone(others), "GITLAB_URL=")} {
				printed, err := runCaddy(t, env, args...)
				if err == nil || !strings.Contains(printed, "GITLAB_URL is empty: ") || !strings.Contains(printed, filepath.Base(path)+":") {
					t.Errorf("%s of %s: %v; %s", args[0], path, err, printed)
				}
			}
		}
		// So it was the variable.
		if printed, err := runCaddy(t, append(slices.Clone(others), "GITLAB_URL="+gitlab.URL), "adapt", "--config", path); err != nil {
			t.Errorf("%s: %v; %s", path, err, printed)
		}
	}
	if after := config(); after != before {
		t.Errorf("the config was\n%s\nand is\n%s", before, after)
	}
	if got := e.mustGet(t, "app.bin", developer, []byte("x")); !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("after that: %q", got.cacheStatus())
	}
}
