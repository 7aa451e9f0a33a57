//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// randomHits downloads small files, any of so many, over and over.
func (b *bench) randomHits(ctx context.Context, server *process, count, connections int) (load, error) {
	if server.protocol.http2 {
		return b.randomHitsByHTTP2(ctx, server, count, connections)
	}
	// Without seeds of their own both threads of wrk would draw the same files.
	return b.wrk(ctx, server.protocol.scheme()+"://"+server.address, token(1), fmt.Sprintf(`
local threads = 0
setup = function(thread)
	threads = threads + 1
	thread:set("seed", threads)
end
init = function(arguments)
	math.randomseed(seed)
end
request = function()
	local n = math.random(0, %d)
	return wrk.format(nil, "%s1.0." .. math.floor(n / %d) .. "/n" .. n .. ".bin")
end
`, count-1, filePrefix, filesPerVersion), connections)
}

// randomHitsByHTTP2 runs h2load 16 times at once, each with an order of its own: all connections of one go through the files in
// the same order, so that most would be repetitions.
func (b *bench) randomHitsByHTTP2(ctx context.Context, server *process, count, connections int) (all load, err error) {
	const clients, streams = 16, 8
	loads := make([]load, clients)
	group, ctx := errgroup.WithContext(ctx)
	for n := range clients {
		list := filepath.Join(b.directory, "files-"+strconv.Itoa(n))
		if err := os.WriteFile(list, []byte(shuffledURLs(server, count)), 0o600); err != nil {
			return load{}, err
		}
		group.Go(func() (err error) {
			loads[n], err = b.h2load(ctx, token(1), 1, max(connections/clients, 1), streams, "-i", list)
			return err
		})
	}
	err = group.Wait()
	for _, one := range loads {
		all = all.plus(one)
	}
	return all, err
}

// shuffledURLs are those of all small files in a random order, one a line.
func shuffledURLs(server *process, count int) string {
	var list strings.Builder
	for _, n := range rand.Perm(count) { //nolint:gosec // any order will do
		list.WriteString(server.url(numbered(n)) + "\n")
	}
	return list.String()
}
