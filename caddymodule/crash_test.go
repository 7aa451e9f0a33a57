package caddymodule

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache/shardtest"
)

// edgeConfigVariable makes the test binary run an edge with the config in the named file, until it is killed.
const edgeConfigVariable = "GITLAB_PACKAGES_TEST_EDGE"

func TestMain(m *testing.M) {
	path := os.Getenv(edgeConfigVariable)
	if os.Getenv(caddyVariable) != "" {
		caddycmd.Main() // which ends the process itself after a failure
		os.Exit(0)
	}
	if path == "" {
		os.Exit(shardtest.Run(m))
	}
	process.sharedSpread = sharedSpread // there are others with the same bucket
	process.sharedPause = 2 * time.Second
	config, err := os.ReadFile(path) //nolint:gosec // the parent's own file
	if err == nil {
		err = caddy.Load(config, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// The parent holds the other end; when it is gone, so is this.
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// TestAfterKill9EveryStoredFileMatchesItsSHA256 kills a real process at random moments while files come in.
func TestAfterKill9EveryStoredFileMatchesItsSHA256(t *testing.T) {
	gitlab := newGitLab(t)
	const files = 12
	bodies := make([][]byte, files)
	for i := range bodies {
		bodies[i] = someBytes(100_000*(i+1), byte(i))
		publishOld(gitlab, fmt.Sprintf("f%d.bin", i), bodies[i])
	}
	gitlab.SetRate(16 << 20)
	// The first edge is only started to have its config.
	e := startEdge(t, gitlab.URL, "retries 0")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(config, e.config("retries 0"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		process, stdin := startEdgeProcess(t, config)
		var callers sync.WaitGroup
		for i := range bodies {
			callers.Go(func() { e.downloadUntilKilled(t, i, bodies[i]) })
		}
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(700 * time.Millisecond)))) //nolint:gosec // any moment will do
		<-timer.C
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
		_ = stdin.Close()
		callers.Wait()
		checkBlobs(t, e.directory)
	}
	gitlab.SetRate(0)
	process, stdin := startEdgeProcess(t, config)
	for i := range bodies {
		await(t, func() bool { return e.reachable() })
		e.mustGet(t, fmt.Sprintf("f%d.bin", i), developer, bodies[i])
	}
	_ = stdin.Close()
	if err := process.Wait(); err != nil {
		t.Error(err)
	}
}

// startEdgeProcess runs an edge in a process of its own, as an argument of another command if one is given.
func startEdgeProcess(t *testing.T, config string, under ...string) (*exec.Cmd, io.Closer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	command := slices.Concat(under, []string{os.Args[0]})
	process := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // this very program
	process.Env = append(os.Environ(), edgeConfigVariable+"="+config)
	process.Stderr = os.Stderr
	stdin, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	return process, stdin
}

func (e *edge) reachable() bool {
	response, err := e.begin(call{path: "/"})
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}

// downloadUntilKilled downloads one file as soon as the edge is there. What comes is the whole file, or an error.
func (e *edge) downloadUntilKilled(t *testing.T, i int, want []byte) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for range 200 { // the process needs some time to start, and may be killed before it has
		<-ticker.C
		response, err := e.begin(call{path: filePath(fmt.Sprintf("f%d.bin", i)), token: developer})
		if err != nil {
			continue
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK && !bytes.Equal(got, want) {
			t.Errorf("file %d came complete and wrong: %d bytes", i, len(got))
		}
		return
	}
}

// checkBlobs makes sure that every file below blobs is what its name says.
func checkBlobs(t *testing.T, directory string) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(directory, "blobs", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		data, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != filepath.Base(blob) {
			t.Errorf("%s holds the bytes of %s", blob, got)
		}
	}
}
