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

const fillCount, fillSize, fillWorkers = 20_000, 16 << 10, 16

// warmUpCount is how many of them are fetched before memory is first looked at: what a server needs to work at all isn't
// an object's cost.
const warmUpCount = 4_000

// fillMeasurement is what one server showed: fills and hits a second, bytes of memory for each object, the time from a
// restart to its first hit, and how many objects it had lost by then.
type fillMeasurement struct {
	rate, hits float64
	perObject  int64
	birth      time.Duration
	lost       int
}

// fillOnce fills a server, and without hits stops there.
func (b *bench) fillOnce(ctx context.Context, p peer, hits string, measured func(fillMeasurement)) error {
	directory, err := os.MkdirTemp(b.directory, "fill-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(directory) }()
	server, err := p.start(ctx, b, directory)
	if err != nil {
		return err
	}
	defer func() {
		if server != nil {
			server.stop()
		}
	}()
	var m fillMeasurement
	if _, err := server.whole(ctx, call{file: numbered(0), token: token(1)}, fillSize); err != nil {
		return err
	}
	begun := time.Now()
	if err := b.fetchAll(ctx, server, 0, warmUpCount, fillSize, fillWorkers); err != nil {
		return err
	}
	before, err := server.memory(memoryNow)
	if err != nil {
		return err
	}
	if err := b.fetchAll(ctx, server, warmUpCount, fillCount, fillSize, fillWorkers); err != nil {
		return err
	}
	m.rate = fillCount / time.Since(begun).Seconds()
	after, err := server.memory(memoryNow)
	if err != nil {
		return err
	}
	m.perObject = (after - before) / (fillCount - warmUpCount)
	if hits == "" {
		measured(m)
		return nil
	}
	result, err := b.wrk(ctx, "http://"+server.address, token(1), hits, 32, b.duration)
	if err != nil {
		return err
	}
	m.hits = result.perSecond()

	server.stop()
	begun = time.Now()
	if server, err = p.start(ctx, b, directory); err != nil {
		return err
	}
	if _, err := server.whole(ctx, call{file: numbered(rand.IntN(fillCount)), token: token(1)}, fillSize); err != nil { //nolint:gosec // any will do
		return err
	}
	m.birth = time.Since(begun)
	b.gitlab.ResetRequests()
	if err := b.fetchAll(ctx, server, 0, fillCount, fillSize, fillWorkers); err != nil {
		return err
	}
	m.lost = b.asked().gets
	b.gitlab.ResetRequests()
	measured(m)
	return nil
}

// fill measures many small cold files, then random hits among them, a restart, and what is lost by it.
func fill(ctx context.Context, b *bench) error {
	for n := range fillCount {
		b.publish(numbered(n), fillSize)
	}
	random := fmt.Sprintf(`
request = function()
	return wrk.format(nil, "%s" .. math.random(0, %d) .. ".bin")
end
`, filePath("n"), fillCount-1)
	fills, hits, births := make(figures), make(figures), make(map[string][]time.Duration)
	perObject, lost := make(map[string][]int64), make(map[string]int)
	peers := []peer{theNginx, theVarnish, theEdge}
	for range b.runs {
		for _, p := range peers {
			if err := b.fillOnce(ctx, p, random, func(m fillMeasurement) {
				fills[p.name] = append(fills[p.name], m.rate)
				hits[p.name] = append(hits[p.name], m.hits)
				births[p.name] = append(births[p.name], m.birth)
				lost[p.name] = max(lost[p.name], m.lost)
				if p.name != theEdge.name {
					perObject[p.name] = append(perObject[p.name], m.perObject)
				}
			}); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		// Without its memory tier, so that what an object itself costs is seen.
		err := b.fillOnce(ctx, edgeFromDisk, "", func(m fillMeasurement) {
			perObject[theEdge.name] = append(perObject[theEdge.name], m.perObject)
		})
		if err != nil {
			return fmt.Errorf("the edge without memory: %w", err)
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

// fetchAll downloads the small files from one number to another, a number of them at once.
func (b *bench) fetchAll(ctx context.Context, server *process, from, to int, size int64, workers int) error {
	var next atomic.Int64
	next.Store(int64(from))
	_, failures := together(workers, func(int) (answer, error) {
		for {
			n := int(next.Add(1)) - 1
			if n >= to {
				return answer{}, nil
			}
			if _, err := server.whole(ctx, call{file: numbered(n), token: token(1)}, size); err != nil {
				return answer{}, err
			}
		}
	})
	return errors.Join(failures...)
}
