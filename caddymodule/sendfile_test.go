package caddymodule

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestTheKernelSendsAHitInBigPieces watches the system calls of a real edge, with a file below readPieceFrom: what stands between the file and
// the connection, Caddy's writers above all, must not keep Go from sendfile, nor cut it into pieces of 64 KiB.
func TestTheKernelSendsAHitInBigPieces(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	strace := straceInto(t, trace)
	gitlab := newGitLab(t)
	body := someBytes(readPieceFrom-1, 1)
	publishOld(gitlab, "app.bin", body)
	// The first edge stores the file, and is gone when the one that is watched serves it.
	e := startEdge(t, gitlab.URL, "")
	e.mustGet(t, "app.bin", developer, body)
	awaitNoFlight(t)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(config, e.config(""), 0o600); err != nil {
		t.Fatal(err)
	}
	process, stdin := startEdgeProcess(t, config, strace...)
	await(t, func() bool { return e.reachable() })
	const hits = 2
	for i := range 1 + hits {
		got := e.mustGet(t, "app.bin", developer, body)
		if want := []string{"detail=confirmed", "; hit"}[min(i, 1)]; !strings.Contains(got.cacheStatus(), want) {
			t.Errorf("download %d: %q", i, got.cacheStatus())
		}
	}
	_ = stdin.Close()
	if err := process.Wait(); err != nil {
		t.Fatal(err)
	}

	sent, inBigPieces := sentByTheKernel(t, trace)
	// The first bytes of a body may be written beside its head, and a connection that is full takes less than a piece.
	const beside = 4 << 10
	if want := (1 + hits) * int64(len(body)-beside); sent < want || inBigPieces < want/2 {
		t.Errorf("of at least %d bytes the kernel sent %d, %d of them in pieces above 64 KiB", want, sent, inBigPieces)
	}
}

// straceInto returns the command that writes a program's calls of sendfile into a file. It skips the test where that isn't
// possible.
func straceInto(t *testing.T, file string) []string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is missing: it is in Debian's package strace")
	}
	command := []string{path, "--follow-forks", "--quiet=all", "--seccomp-bpf", "--trace=sendfile", "--output=" + file}
	said, err := exec.CommandContext(t.Context(), path, append(command[1:], "true")...).CombinedOutput() //nolint:gosec // found above
	if err != nil {
		t.Skipf("strace can't trace here, ptrace isn't permitted: %v: %s", err, said)
	}
	return command
}

// resultOfSendfile is the end of a call, whole or resumed after another thread's: "… = 524288".
var resultOfSendfile = regexp.MustCompile(`sendfile.*\) += (\d+)$`)

// sentByTheKernel adds up what sendfile has sent: all, and in pieces of more than 64 KiB.
func sentByTheKernel(t *testing.T, trace string) (sent, inBigPieces int64) {
	t.Helper()
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(calls)) {
		result := resultOfSendfile.FindStringSubmatch(strings.TrimSpace(line))
		if result == nil {
			continue
		}
		n, err := strconv.ParseInt(result[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
		if n > 64<<10 {
			inBigPieces += n
		}
	}
	return sent, inBigPieces
}
