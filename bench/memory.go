//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// The edge's memory tier by default, and what all else may take beside it, in bytes.
const memoryTier, besideMemoryTier = 256 * mebibyte, 120_000_000

// rssGoal is what may be in memory while the memory tier is full.
func rssGoal(rss int64) goal {
	return absolute(fmt.Sprintf("RSS ≤ memory + 120 MB (%s)", mebibytes(memoryTier+besideMemoryTier)), rss <= memoryTier+besideMemoryTier)
}

// memoryFull measures memory with 100,000 files of 16 KiB in the cache, the memory tier full, while 64 connections download any
// of them. It does so once, whatever the number of rounds: memory differs little from one time to another.
func memoryFull(protocol protocol) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		const count, connections = 100_000, 64
		b.publishSmall(count)
		once := *b
		once.runs = 1
		peak, rate := make(figures), make(figures)
		err := once.alternately(ctx, protocol, caches(protocol), func(_ int, p peer, server *process) error {
			for range 2 { // files enter the edge's memory at their second use
				if _, err := server.fetchSmall(ctx, 0, count, keepingCallers); err != nil {
					return err
				}
			}
			b.gitlab.ResetRequests()
			if err := server.settle(ctx); err != nil {
				return err
			}
			watched := server.watchMemory()
			sent, _, err := b.under(ctx, p, server, "", func() (load, error) { return b.randomHits(ctx, server, count, connections) })
			most := watched()
			peak.add(p, float64(most))
			rate.add(p, sent.perSecond())
			return err
		})
		if err != nil {
			return err
		}
		shown := make(cells)
		for _, p := range caches(protocol) {
			shown.add(p, "%s, %.0f/s", mebibytes(int64(peak.median(p))), rate.median(p))
		}
		b.table.add(fmt.Sprintf("%s: RSS with %d × 16 KiB, random hits over %d connections", protocol.name, count, connections), shown,
			rssGoal(int64(peak.median(theEdge))))
		return nil
	}
}

// watchMemory looks at a server's memory four times a second until most is called, which returns the most that was seen.
func (p *process) watchMemory() (most func() int64) {
	stop, seen := make(chan struct{}), make(chan int64)
	// Ends when most is called.
	go func() {
		ticks := time.NewTicker(time.Second / 4)
		defer ticks.Stop()
		highest := int64(0)
		for {
			if now, err := p.memory(memoryNow); err == nil { // else the server has ended, and the load tells
				highest = max(highest, now)
			}
			select {
			case <-ticks.C:
			case <-stop:
				seen <- highest
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-seen
	}
}
