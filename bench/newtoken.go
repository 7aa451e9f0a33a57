//go:build linux

package main

import (
	"context"
	"time"
)

// newToken measures a download of a stored file with a token that the server doesn't know yet, GitLab 20 ms away.
func newToken(ctx context.Context, b *bench) error {
	const latency, calls = 20 * time.Millisecond, 100
	took, asked := make(map[string][]time.Duration), make(map[string]asked)
	b.publish("4k.bin", 4<<10)
	next := 1000
	err := b.alternately(ctx, plainHTTP, caches(plainHTTP), func(_ int, p peer, server *process) error {
		b.gitlab.ClearFaults()
		if _, err := server.whole(ctx, call{file: "4k.bin", token: token(1)}, 4<<10); err != nil {
			return err
		}
		b.delay(latency)
		b.addTokens(next, calls)
		b.gitlab.ResetRequests()
		await := b.profiling(ctx, p, server, "")
		for range calls {
			a, err := server.whole(ctx, call{file: "4k.bin", token: token(next)}, 4<<10)
			if err != nil {
				return err
			}
			next++
			took[p.name] = append(took[p.name], a.done)
		}
		asked[p.name] = b.asked()
		return await()
	})
	if err != nil {
		return err
	}
	shown := make(cells)
	for _, p := range caches(plainHTTP) {
		shown.add(p, "p50 %s; %s for %d", milliseconds(median(took[p.name])), asked[p.name], calls)
	}
	ours := asked[theEdge.name]
	b.table.add("a new token each time, GitLab 20 ms away", shown,
		absolute("1 question", ours.questions == calls), absolute("no body", ours.gets == 0),
		absolute("p50 ≤ 24 ms", median(took[theEdge.name]) <= 24*time.Millisecond))
	return nil
}
