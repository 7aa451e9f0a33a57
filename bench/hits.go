//go:build linux

package main

import (
	"context"
	"strconv"
)

// target is a file that is downloaded again and again. streams is how many downloads share a connection of HTTP/2.
type target struct {
	file                 string
	size                 int64
	connections, streams int
}

// Targets, by the number of connections: those of HTTP/2 carry several downloads each.
func target4K(p protocol) target   { return p.target("4k.bin", 4<<10, 32, 16, 8) }
func target1M(p protocol) target   { return p.target("1m.bin", mebibyte, 16, 16, 2) }
func target256M(p protocol) target { return p.target("256m.bin", 256*mebibyte, 4, 4, 1) }

func (p protocol) target(file string, size int64, connections, connections2, streams int) target {
	if p.http2 {
		return target{file, size, connections2, streams}
	}
	return target{file, size, connections, 1}
}

// publishFor publishes a file, and returns all servers that its downloads are measured of, with the least module by itself, too.
func (b *bench) publishFor(ctx context.Context, protocol protocol, t target) (peers []peer, module peer, err error) {
	b.publish(t.file, t.size)
	if module, err = b.leastModule(ctx, t.file, t.size); err != nil {
		return nil, module, err
	}
	peers = append(caches(protocol), fileServer(t.file, t.size), module)
	if t.size < mebibyte { // it looks for placeholders in its body at each request
		peers = append(peers, respond(t.size))
	}
	return peers, module, nil
}

// hits are repeated downloads of one file: requests and bytes a second, processor time in seconds for each request and each
// gigabyte, and memory in bytes at its peak.
type hits struct {
	peers                               []peer
	module                              peer
	rate, bytes, request, gigabyte, rss figures
}

// measureHits measures repeated downloads of a file, from nginx, Varnish, Caddy's own handlers, the least module and the edge.
func (b *bench) measureHits(ctx context.Context, protocol protocol, t target) (h hits, err error) {
	h = hits{rate: make(figures), bytes: make(figures), request: make(figures), gigabyte: make(figures), rss: make(figures)}
	if h.peers, h.module, err = b.publishFor(ctx, protocol, t); err != nil {
		return h, err
	}
	err = b.alternately(ctx, protocol, h.peers, func(_ int, p peer, server *process) error {
		if err := p.warm(ctx, server, t.file, t.size); err != nil {
			return err
		}
		sent, cost, err := b.under(ctx, p, server, "", func() (load, error) { return b.downloads(ctx, server, t) })
		if err != nil {
			return err
		}
		most, err := server.memory(memoryPeak)
		if err != nil {
			return err
		}
		h.rate.add(p, sent.perSecond())
		h.bytes.add(p, sent.bytesPerSecond())
		h.request.add(p, cost.request)
		h.gigabyte.add(p, cost.gigabyte)
		h.rss.add(p, float64(most))
		return nil
	})
	return h, err
}

// downloads sends a load with the client that costs least: one that drops what comes where no TLS has to be undone.
func (b *bench) downloads(ctx context.Context, server *process, t target) (load, error) {
	switch {
	case server.protocol.http2:
		return b.h2load(ctx, token(1), 2, t.connections, t.streams, server.url(t.file))
	case server.protocol.tls || t.size < mebibyte:
		return b.wrk(ctx, server.url(t.file), token(1), "", t.connections)
	}
	return server.download(ctx, filePath(t.file), token(1), t.connections, b.duration)
}

// extraMicroseconds is how much more processor time than respond a hit may cost.
const extraMicroseconds = 12

func hits4K(protocol protocol) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		t := target4K(protocol)
		h, err := b.measureHits(ctx, protocol, t)
		if err != nil {
			return err
		}
		shown := make(cells)
		for _, p := range h.peers {
			shown.add(p, "%.0f/s, %.0f µs CPU", h.rate.median(p), h.request.median(p)*1e6)
		}
		b.table.add(t.title(protocol, "4 KiB hits"), shown, h.rate.atLeast(0.95, h.module, "rate"),
			h.request.within(extraMicroseconds, respond(t.size), "CPU"), h.rate.shownOnly(respond(t.size), "rate"), h.rate.shownOnly(theNginx, "rate"))
		return nil
	}
}

func hits1M(protocol protocol) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		t := target1M(protocol)
		h, err := b.measureHits(ctx, protocol, t)
		if err != nil {
			return err
		}
		b.addThroughput(t.title(protocol, "1 MiB hits"), h, h.goals(protocol, 1.1, 0))
		return nil
	}
}

func hits256M(protocol protocol) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		t := target256M(protocol)
		h, err := b.measureHits(ctx, protocol, t)
		if err != nil {
			return err
		}
		most := int64(h.rss.median(theEdge))
		rss := goal{met: true}
		if !protocol.tls {
			rss = absolute("RSS ≤ 100 MiB", most <= 100*mebibyte)
		}
		rss.shown = "RSS " + mebibytes(most)
		b.addThroughput(t.title(protocol, "256 MiB hits"), h, append(h.goals(protocol, 1.3, 1.5), rss))
		return nil
	}
}

// goals are what large files have to reach beside nginx: so many times its rate without TLS, and with TLS over HTTP/1.1 (0 for
// nothing), and over HTTP/2 about its rate at about its cost.
func (h hits) goals(protocol protocol, plain, overTLS float64) []goal {
	switch {
	case protocol.http2:
		return []goal{h.bytes.atLeast(0.95, theNginx, "rate"), h.gigabyte.atMost(1.1, theNginx, "CPU")}
	case protocol.tls && overTLS == 0:
		return []goal{h.bytes.shownOnly(theNginx, "rate"), h.gigabyte.shownOnly(theNginx, "CPU")}
	case protocol.tls:
		return []goal{h.bytes.atLeast(overTLS, theNginx, "rate")}
	}
	return []goal{h.bytes.atLeast(plain, theNginx, "rate")}
}

// title is the row's name in the table.
func (t target) title(protocol protocol, what string) string {
	connections := strconv.Itoa(t.connections)
	if t.streams > 1 {
		connections += " × " + strconv.Itoa(t.streams)
	}
	return protocol.name + ": " + what + " (" + connections + ")"
}

func (b *bench) addThroughput(name string, h hits, goals []goal) {
	shown := make(cells)
	for _, p := range h.peers {
		shown.add(p, "%s, %.2f CPU s/GB", gigabytes(h.bytes.median(p)), h.gigabyte.median(p))
	}
	b.table.add(name, shown, goals...)
}
