//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// wrkReport makes wrk print what can be read without guessing.
const wrkReport = `
done = function(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.bytes,
		e.connect + e.read + e.write + e.status + e.timeout, summary.duration))
end
`

// wrk sends requests by HTTP/1.1 over a number of connections for a time. request is a Lua program that makes each; empty
// for the same one each time.
func (b *bench) wrk(ctx context.Context, url, token, request string, connections int) (load, error) {
	script := filepath.Join(b.directory, "wrk.lua")
	if err := os.WriteFile(script, []byte(request+wrkReport), 0o600); err != nil {
		return load{}, err
	}
	command := exec.CommandContext(ctx, "wrk", "-t2", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", int(b.duration.Seconds())), //nolint:gosec // our own command
		"--timeout", "60s", "-s", script, "-H", "PRIVATE-TOKEN: "+token, url)
	output, err := command.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, output)
	}
	_, report, ok := strings.Cut(string(output), "RESULT ")
	var requests, bytes, failed, took int64
	if _, err := fmt.Sscan(report, &requests, &bytes, &failed, &took); err != nil || !ok {
		return load{}, fmt.Errorf("wrk printed %s", output)
	}
	if failed > 0 {
		return load{}, fmt.Errorf("wrk met %d errors in %d requests", failed, requests)
	}
	return loadOf(requests, bytes, time.Duration(took)*time.Microsecond), nil
}
