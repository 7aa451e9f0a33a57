//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// figures are what a row measures of each server, by its name and one figure a run.
type figures map[string][]float64

func (f figures) median(p peer) float64 { return median(f[p.name]) }

// ratio is the edge's median over another's.
func (f figures) ratio(p peer) float64 { return f.median(theEdge) / f.median(p) }

// hits measures repeated downloads of one file and their cost in processor time.
func (b *bench) hits(ctx context.Context, file, plain string, size int64, connections int) (rate, bytes, cost, peak figures, err error) {
	rate, bytes, cost, peak = make(figures), make(figures), make(figures), make(figures)
	b.publish(file, size)
	err = b.alternately(ctx, []peer{theNginx, theVarnish, plainCaddy, theEdge}, func(_ int, p peer, server *process) error {
		path := filePath(file)
		if p.name == plainCaddy.name {
			path = plain
		} else if _, err := server.whole(ctx, call{file: file, token: token(1)}, size); err != nil {
			return err
		}
		before, err := server.cpu()
		if err != nil {
			return err
		}
		var result load
		if size < mebibyte {
			result, err = b.wrk(ctx, "http://"+server.address+path, token(1), "", connections, b.duration)
		} else {
			result, err = server.download(ctx, path, token(1), connections, b.duration)
		}
		if err != nil {
			return err
		}
		after, err := server.cpu()
		if err != nil {
			return err
		}
		most, err := server.memory(memoryPeak)
		if err != nil {
			return err
		}
		rate[p.name] = append(rate[p.name], result.perSecond())
		bytes[p.name] = append(bytes[p.name], result.bytesPerSecond())
		peak[p.name] = append(peak[p.name], float64(most))
		cost[p.name] = append(cost[p.name], (after-before).Seconds()/float64(max(result.requests, 1)))
		if size >= 1<<20 {
			cost[p.name][len(cost[p.name])-1] = (after - before).Seconds() / (float64(result.bytes) / 1e9)
		}
		return nil
	})
	return rate, bytes, cost, peak, err
}

func hits4K(ctx context.Context, b *bench) error {
	rate, _, cost, _, err := b.hits(ctx, "4k.bin", "/4k", 4<<10, 32)
	if err != nil {
		return err
	}
	measured := make(map[string]string)
	for _, p := range []peer{theNginx, theVarnish, plainCaddy, theEdge} {
		measured[p.name] = fmt.Sprintf("%.0f/s, %.0f µs CPU", rate.median(p), cost.median(p)*1e6)
	}
	measured[plainCaddy.name] = "`respond` " + measured[plainCaddy.name]
	ratio := rate.ratio(plainCaddy)
	measured[theEdge.name] += fmt.Sprintf("; %.2f × `respond`, %.2f × nginx", ratio, rate.ratio(theNginx))
	b.table.add("4 KiB hits", measured, "≥ 0.9 × `respond`", ratio >= 0.9)
	return nil
}

func hits1M(ctx context.Context, b *bench) error {
	_, bytes, cost, _, err := b.hits(ctx, "1m.bin", "/files/1m", 1<<20, 16)
	if err != nil {
		return err
	}
	b.addThroughput("1 MiB hits", bytes, cost, "", "≥ 1.1 × nginx", bytes.ratio(theNginx) >= 1.1)
	return nil
}

func hits256M(ctx context.Context, b *bench) error {
	_, bytes, cost, peak, err := b.hits(ctx, "256m.bin", "/files/256m", 256<<20, 8)
	if err != nil {
		return err
	}
	most := int64(peak.median(theEdge))
	b.addThroughput("256 MiB hits", bytes, cost, ", RSS "+mebibytes(most), "≥ 1.3 × nginx, RSS ≤ 100 MiB",
		bytes.ratio(theNginx) >= 1.3, most <= 100<<20)
	return nil
}

func (b *bench) addThroughput(name string, bytes, cost figures, more, must string, met ...bool) {
	measured := make(map[string]string)
	for _, p := range []peer{theNginx, theVarnish, plainCaddy, theEdge} {
		measured[p.name] = fmt.Sprintf("%s, %.2f CPU s/GB", gigabytes(bytes.median(p)), cost.median(p))
	}
	measured[plainCaddy.name] = "`file_server` " + measured[plainCaddy.name]
	measured[theEdge.name] += fmt.Sprintf("; %.2f × nginx%s", bytes.ratio(theNginx), more)
	b.table.add(name, measured, must, met...)
}

// newToken measures a download of a stored file with a token that the server doesn't know yet, GitLab 20 ms away.
func newToken(ctx context.Context, b *bench) error {
	const latency, calls = 20 * time.Millisecond, 100
	took, asked := make(map[string][]time.Duration), make(map[string]asked)
	b.publish("4k.bin", 4<<10)
	next := 1000
	err := b.alternately(ctx, []peer{theNginx, theVarnish, theEdge}, func(_ int, p peer, server *process) error {
		b.gitlab.ClearFaults()
		if _, err := server.whole(ctx, call{file: "4k.bin", token: token(1)}, 4<<10); err != nil {
			return err
		}
		b.delay(latency)
		b.addTokens(next, calls)
		b.gitlab.ResetRequests()
		for range calls {
			a, err := server.whole(ctx, call{file: "4k.bin", token: token(next)}, 4<<10)
			if err != nil {
				return err
			}
			next++
			took[p.name] = append(took[p.name], a.done)
		}
		asked[p.name] = b.asked()
		return nil
	})
	if err != nil {
		return err
	}
	measured := make(map[string]string)
	for _, p := range []peer{theNginx, theVarnish, theEdge} {
		measured[p.name] = fmt.Sprintf("p50 %s; %s for %d", milliseconds(median(took[p.name])), asked[p.name], calls)
	}
	ours := asked[theEdge.name]
	b.table.add("a new token each time, GitLab 20 ms away", measured, "1 question, no body, p50 ≤ 24 ms",
		ours.questions == calls, ours.gets == 0, median(took[theEdge.name]) <= 24*time.Millisecond)
	return nil
}
