//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// h2load sends requests by HTTP/2 over a number of connections for a time, so many at once over each. arguments come last;
// they name what is asked for.
func (b *bench) h2load(ctx context.Context, token string, threads, connections, streams int, arguments ...string) (load, error) {
	arguments = append([]string{
		fmt.Sprintf("-t%d", threads), fmt.Sprintf("-c%d", connections), fmt.Sprintf("-m%d", streams),
		fmt.Sprintf("-D%d", int(b.duration.Seconds())), "-H", "PRIVATE-TOKEN: " + token,
	}, arguments...)
	output, err := exec.CommandContext(ctx, "h2load", arguments...).CombinedOutput() //nolint:gosec // our own command
	if err != nil {
		return load{}, fmt.Errorf("h2load: %w: %s", err, output)
	}
	return readH2load(string(output), b.duration)
}

// What h2load prints. "done" and "total" are of the time itself, "2xx" and "data" of all that came.
var (
	h2loadRequests = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadStatuses = regexp.MustCompile(`status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
	h2loadTraffic  = regexp.MustCompile(`traffic: \S+ \((\d+)\) total, \S+ \((\d+)\) headers .*, \S+ \((\d+)\) data`)
)

// readH2load understands what h2load printed about a load that was to take that long.
func readH2load(output string, took time.Duration) (load, error) {
	requests, err := numbersIn(output, h2loadRequests)
	if err != nil {
		return load{}, err
	}
	statuses, err := numbersIn(output, h2loadStatuses)
	if err != nil {
		return load{}, err
	}
	traffic, err := numbersIn(output, h2loadTraffic)
	if err != nil {
		return load{}, err
	}
	if wrong := requests[1] + requests[2] + requests[3] + statuses[1] + statuses[2] + statuses[3]; wrong > 0 {
		return load{}, fmt.Errorf("h2load met %d errors in %d requests: %s", wrong, requests[0], output)
	}
	return load{
		requests: requests[0], bytes: traffic[0] - traffic[1], took: took,
		allRequests: statuses[0], allBytes: traffic[2],
	}, nil
}

func numbersIn(output string, pattern *regexp.Regexp) ([]int64, error) {
	found := pattern.FindStringSubmatch(output)
	if found == nil {
		return nil, fmt.Errorf("h2load printed %s", output)
	}
	numbers := make([]int64, 0, len(found)-1)
	for _, text := range found[1:] {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("h2load printed %s: %w", output, err)
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}
