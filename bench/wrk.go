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

// load is what was sent in a time, and what came of it.
type load struct {
	requests, bytes, errors int64
	took, median            time.Duration
}

func (r load) perSecond() float64      { return float64(r.requests) / r.took.Seconds() }
func (r load) bytesPerSecond() float64 { return float64(r.bytes) / r.took.Seconds() }

// wrkReport makes wrk print what can be read without guessing.
const wrkReport = `
done = function(summary, latency, requests)
	local e = summary.errors
	io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.bytes,
		e.connect + e.read + e.write + e.status + e.timeout, summary.duration, latency:percentile(50)))
end
`

// wrk sends requests over a number of connections for a time. request is a Lua function that makes each; empty for
// the same one each time.
func (b *bench) wrk(ctx context.Context, url, token, request string, connections int, duration time.Duration) (result load, err error) {
	script := filepath.Join(b.directory, "wrk.lua")
	if err := os.WriteFile(script, []byte(request+wrkReport), 0o600); err != nil {
		return result, err
	}
	command := exec.CommandContext(ctx, "wrk", "-t2", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", int(duration.Seconds())), //nolint:gosec // our own command
		"--timeout", "60s", "-s", script, "-H", "PRIVATE-TOKEN: "+token, url)
	output, err := command.CombinedOutput()
	if err != nil {
		return result, fmt.Errorf("wrk: %w: %s", err, output)
	}
	_, report, ok := strings.Cut(string(output), "RESULT ")
	var took, median int64
	if _, err := fmt.Sscan(report, &result.requests, &result.bytes, &result.errors, &took, &median); err != nil || !ok {
		return result, fmt.Errorf("wrk printed %s", output)
	}
	result.took, result.median = time.Duration(took)*time.Microsecond, time.Duration(median)*time.Microsecond
	if result.errors > 0 {
		return result, fmt.Errorf("wrk met %d errors in %d requests", result.errors, result.requests)
	}
	return result, nil
}
