//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"
)

// fill measures many small cold files, then random hits among them, a restart, and what is lost by it.
func fill(ctx context.Context, b *bench) error {
	const count, size, workers = 20_000, 16 << 10, 16
	for n := range count {
		b.publish(numbered(n), size)
	}
	random := fmt.Sprintf(`
request = function()
	return wrk.format(nil, "%s" .. math.random(0, %d) .. ".bin")
end
`, filePath("n"), count-1)
	fills, hits, births := make(figures), make(figures), make(map[string][]time.Duration)
	perObject, lost := make(map[string][]int64), make(map[string]int)
	// The edge without its memory tier, so that what an object costs is seen.
	peers := []peer{theNginx, theVarnish, edgeFromDisk}
	for range b.runs {
		for _, p := range peers {
			err := func() error {
				directory, err := os.MkdirTemp(b.directory, "fill-")
				if err != nil {
					return err
				}
				defer func() { _ = os.RemoveAll(directory) }()
				server, err := p.start(ctx, b, directory)
				if err != nil {
					return err
				}
				defer func() { server.stop() }()
				if _, err := server.whole(ctx, call{file: numbered(0), token: token(1)}, size); err != nil {
					return err
				}
				before, err := server.memory(memoryNow)
				if err != nil {
					return err
				}
				begun := time.Now()
				if err := b.fetchAll(ctx, server, count, size, workers); err != nil {
					return err
				}
				fills[p.name] = append(fills[p.name], count/time.Since(begun).Seconds())
				after, err := server.memory(memoryNow)
				if err != nil {
					return err
				}
				perObject[p.name] = append(perObject[p.name], (after-before)/count)
				result, err := b.wrk(ctx, "http://"+server.address, token(1), random, 32, b.duration)
				if err != nil {
					return err
				}
				hits[p.name] = append(hits[p.name], result.perSecond())

				server.stop()
				begun = time.Now()
				if server, err = p.start(ctx, b, directory); err != nil {
					return err
				}
				if _, err := server.whole(ctx, call{file: numbered(rand.IntN(count)), token: token(1)}, size); err != nil { //nolint:gosec // any will do
					return err
				}
				births[p.name] = append(births[p.name], time.Since(begun))
				b.gitlab.ResetRequests()
				if err := b.fetchAll(ctx, server, count, size, workers); err != nil {
					return err
				}
				lost[p.name] = max(lost[p.name], b.asked().gets)
				b.gitlab.ResetRequests()
				return nil
			}()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	rate, hitRate, restart, memory := make(map[string]string), make(map[string]string), make(map[string]string), make(map[string]string)
	for _, p := range peers {
		rate[p.name] = fmt.Sprintf("%.0f/s", fills.median(p))
		hitRate[p.name] = fmt.Sprintf("%.0f/s", hits.median(p))
		restart[p.name] = fmt.Sprintf("%s, %d lost", milliseconds(median(births[p.name])), lost[p.name])
		memory[p.name] = fmt.Sprintf("%.2f KiB", float64(median(perObject[p.name]))/1024)
	}
	rate[theEdge.name] += fmt.Sprintf("; %.2f × nginx, %.2f × Varnish", fills.ratio(theNginx), fills.ratio(theVarnish))
	b.table.add("fill 20,000 × 16 KiB", rate, "≥ nginx", fills.ratio(theNginx) >= 1)
	b.table.add("random hits among them", hitRate, "≥ 15,000/s", hits.median(theEdge) >= 15_000)
	b.table.add("first hit after a restart", restart, "≤ 200 ms, nothing lost",
		median(births[theEdge.name]) <= 200*time.Millisecond, lost[theEdge.name] == 0)
	b.table.add("RSS per object", memory, "≤ 1 KiB", median(perObject[theEdge.name]) <= 1024)
	return nil
}

// numbered is the name of the nth small file.
func numbered(n int) string { return fmt.Sprintf("n%d.bin", n) }

// fetchAll downloads all small files, a number of them at once.
func (b *bench) fetchAll(ctx context.Context, server *process, count int, size int64, workers int) error {
	var next atomic.Int64
	_, failures := together(workers, func(int) (answer, error) {
		for {
			n := int(next.Add(1)) - 1
			if n >= count {
				return answer{}, nil
			}
			if _, err := server.whole(ctx, call{file: numbered(n), token: token(1)}, size); err != nil {
				return answer{}, err
			}
		}
	})
	return errors.Join(failures...)
}
