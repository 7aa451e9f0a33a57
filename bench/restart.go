//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// warmUpCount is how many of the small files are fetched before memory is first looked at: what a server needs to work at all
// isn't an object's cost.
const warmUpCount = 4_000

// restarted is what a server showed that was filled and started anew: bytes of memory for each object, the time from the
// restart to its first hit, and how many objects it had lost by then.
type restarted struct {
	perObject int64
	birth     time.Duration
	lost      int
}

// restart measures what a stored small file costs in memory, and what becomes of all of them when a server is started anew.
func restart(ctx context.Context, b *bench) error {
	b.publishSmall(smallCount)
	births, perObject, lost := make(map[string][]time.Duration), make(map[string][]int64), make(map[string]int)
	peers := caches(plainHTTP)
	for range b.runs {
		for _, p := range peers {
			if b.profiles != "" {
				return nil // no load is steady here
			}
			r, err := b.restartOnce(ctx, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			births[p.name] = append(births[p.name], r.birth)
			lost[p.name] = max(lost[p.name], r.lost)
			if p.isEdge() {
				// Without its memory tier, so that what an object itself costs is seen.
				err := b.with(ctx, edgeFromDisk, plainHTTP, func(server *process) (err error) {
					r.perObject, err = server.fillForMemory(ctx)
					return err
				})
				if err != nil {
					return fmt.Errorf("the edge without memory: %w", err)
				}
			}
			perObject[p.name] = append(perObject[p.name], r.perObject)
		}
	}
	shown, memory := make(cells), make(cells)
	for _, p := range peers {
		shown.add(p, "%s, %d lost", milliseconds(median(births[p.name])), lost[p.name])
		memory.add(p, "%.2f KiB", float64(median(perObject[p.name]))/1024)
	}
	b.table.add("first hit after a restart", shown,
		absolute("≤ 200 ms", median(births[theEdge.name]) <= 200*time.Millisecond), absolute("nothing lost", lost[theEdge.name] == 0))
	b.table.add("RSS per object", memory, absolute("≤ 1 KiB", median(perObject[theEdge.name]) <= 1024))
	return nil
}

// restartOnce fills a server, and starts it anew at the same place.
func (b *bench) restartOnce(ctx context.Context, p peer) (r restarted, err error) {
	directory, err := os.MkdirTemp(b.directory, "fill-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	at := place{directory, plainHTTP}
	server, err := p.start(ctx, b, at)
	if err != nil {
		return r, err
	}
	r.perObject, err = server.fillForMemory(ctx)
	server.stop()
	if err != nil {
		return r, err
	}
	begun := time.Now()
	if server, err = p.start(ctx, b, at); err != nil {
		return r, err
	}
	defer server.stop()
	if _, err := server.whole(ctx, call{file: numbered(rand.IntN(smallCount)), token: token(1)}, smallSize); err != nil { //nolint:gosec // any will do
		return r, err
	}
	r.birth = time.Since(begun)
	b.gitlab.ResetRequests()
	_, err = server.fetchSmall(ctx, 0, smallCount, keepingCallers)
	r.lost = b.asked().gets
	b.gitlab.ResetRequests()
	return r, err
}

// fillForMemory fetches all small files and returns by how many bytes of memory each of the later ones made the server larger.
func (p *process) fillForMemory(ctx context.Context) (perObject int64, err error) {
	if _, err := p.fetchSmall(ctx, 0, warmUpCount, keepingCallers); err != nil {
		return 0, err
	}
	before, err := p.memory(memoryNow)
	if err != nil {
		return 0, err
	}
	if _, err := p.fetchSmall(ctx, warmUpCount, smallCount, keepingCallers); err != nil {
		return 0, err
	}
	after, err := p.memory(memoryNow)
	return (after - before) / (smallCount - warmUpCount), err
}
