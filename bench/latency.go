//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// steadyRate is how many requests a second there are where latency is measured: what runners send, not what a server can
// bear. They come over so many connections, each of which sends one every 20 ms.
const steadyRate, steadyConnections = 5_000, 100

// latency measures how long downloads of 4 KiB take while requests come at a fixed rate.
func latency(protocol protocol) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		t := target4K(protocol)
		peers, _, err := b.publishFor(ctx, protocol, t)
		if err != nil {
			return err
		}
		shares := []float64{0.5, 0.99, 0.999}
		took, rate := []figures{make(figures), make(figures), make(figures)}, make(figures)
		err = b.alternately(ctx, protocol, peers, func(_ int, p peer, server *process) error {
			if err := p.warm(ctx, server, t.file, t.size); err != nil {
				return err
			}
			await := b.profiling(ctx, p, server, "")
			times, lasted, err := b.steadily(ctx, server, t.file)
			if err != nil {
				return err
			}
			slices.Sort(times)
			for n, share := range shares {
				took[n].add(p, percentile(times, share).Seconds())
			}
			rate.add(p, float64(len(times))/lasted.Seconds())
			return await()
		})
		if err != nil {
			return err
		}
		shown := make(cells)
		for _, p := range peers {
			shown.add(p, "p50 %s, p99 %s, p99.9 %s%s", inMilliseconds(took[0].median(p)), inMilliseconds(took[1].median(p)), inMilliseconds(took[2].median(p)),
				rateNote(rate.median(p)))
		}
		b.table.add(protocol.name+": 4 KiB hits at 5,000/s", shown, took[1].atMost(1.5, respond(t.size), "p99"), took[1].shownOnly(theNginx, "p99"))
		return nil
	}
}

// inMilliseconds writes seconds.
func inMilliseconds(seconds float64) string {
	return milliseconds(time.Duration(seconds * float64(time.Second)))
}

// rateNote says that a rate wasn't kept: requests that can't be sent yet wait in the client, and nobody counts how long.
func rateNote(rate float64) string {
	if rate >= 0.95*steadyRate {
		return ""
	}
	return fmt.Sprintf(" (only %.0f/s)", rate)
}

// steadily sends requests at the fixed rate and returns how long each took, and all of them together. Connections begin one
// after another, so that their requests don't come at the same moments.
func (b *bench) steadily(ctx context.Context, server *process, file string) ([]time.Duration, time.Duration, error) {
	log := filepath.Join(b.directory, "latency.log")
	if err := os.RemoveAll(log); err != nil { // h2load would add to it
		return nil, 0, err
	}
	requests := steadyRate * int(b.duration.Seconds())
	arguments := []string{
		"-t2", fmt.Sprintf("-c%d", steadyConnections), "-m8", fmt.Sprintf("-n%d", requests),
		"-r2", "--rate-period=2ms", fmt.Sprintf("--rps=%d", steadyRate/steadyConnections), "--log-file=" + log, "-H", "PRIVATE-TOKEN: " + token(1),
	}
	if !server.protocol.http2 {
		arguments = append(arguments, "--h1", "-m1") // else requests would be sent before the answers to earlier ones
	}
	output, err := exec.CommandContext(ctx, "h2load", append(arguments, server.url(file))...).CombinedOutput() //nolint:gosec // our own command
	if err != nil {
		return nil, 0, fmt.Errorf("h2load: %w: %s", err, output)
	}
	times, lasted, err := readLatencies(log)
	if err == nil && len(times) != requests {
		err = fmt.Errorf("h2load noted %d of %d requests: %s", len(times), requests, output)
	}
	return times, lasted, err
}

// readLatencies reads h2load's log: for each request its beginning in microseconds, its status, and how many microseconds it
// took.
func readLatencies(path string) (times []time.Duration, lasted time.Duration, err error) {
	file, err := os.Open(path) //nolint:gosec // below our own directory
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	var first, last int64
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var began, status, took int64
		if _, err := fmt.Sscan(lines.Text(), &began, &status, &took); err != nil {
			return nil, 0, fmt.Errorf("%q in h2load's log: %w", lines.Text(), err)
		}
		if status != 200 {
			return nil, 0, fmt.Errorf("h2load noted the status %d", status)
		}
		if first == 0 || began < first {
			first = began
		}
		last = max(last, began)
		times = append(times, time.Duration(took)*time.Microsecond)
	}
	return times, time.Duration(last-first) * time.Microsecond, lines.Err()
}
