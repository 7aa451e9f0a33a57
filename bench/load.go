//go:build linux

package main

import (
	"context"
	"errors"
	"time"
)

// load is what was sent in a time, and what came of it.
type load struct {
	requests, bytes int64
	took            time.Duration
	// allRequests and allBytes have those too that came before that time or after it: what a server's processor time was spent
	// on.
	allRequests, allBytes int64
}

// loadOf is one that began and ended with the time.
func loadOf(requests, bytes int64, took time.Duration) load {
	return load{requests: requests, bytes: bytes, took: took, allRequests: requests, allBytes: bytes}
}

func (l load) perSecond() float64      { return float64(l.requests) / l.took.Seconds() }
func (l load) bytesPerSecond() float64 { return float64(l.bytes) / l.took.Seconds() }

// plus is two loads that were sent at the same time.
func (l load) plus(other load) load {
	return load{
		requests: l.requests + other.requests, bytes: l.bytes + other.bytes, took: max(l.took, other.took),
		allRequests: l.allRequests + other.allRequests, allBytes: l.allBytes + other.allBytes,
	}
}

// cost is the server's processor time, in seconds: for each request, and for each gigabyte.
type cost struct{ request, gigabyte float64 }

// under sends a load to a server and returns what that cost it. Where profiles are taken, one is, by the name of the row and
// that part of it.
func (b *bench) under(ctx context.Context, p peer, server *process, part string, send func() (load, error)) (load, cost, error) {
	before, err := server.cpu()
	if err != nil {
		return load{}, cost{}, err
	}
	await := b.profiling(ctx, p, server, part)
	sent, err := send()
	if err != nil {
		return load{}, cost{}, errors.Join(err, await())
	}
	after, err := server.cpu()
	if err != nil {
		return load{}, cost{}, errors.Join(err, await())
	}
	used := (after - before).Seconds()
	return sent, cost{used / float64(max(sent.allRequests, 1)), used / (float64(max(sent.allBytes, 1)) / 1e9)}, await()
}
