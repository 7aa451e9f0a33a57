//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// fillFigures are what fills with small files and random hits among them show: files a second, processor time for each in
// seconds, and memory in bytes while all of it that a server takes is full.
type fillFigures struct {
	fills, fillCost, hits, hitCost, rss figures
}

func newFillFigures() fillFigures {
	return fillFigures{make(figures), make(figures), make(figures), make(figures), make(figures)}
}

// fill measures small cold files, then random hits among them, and memory in the end.
func fill(protocol protocol) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		b.publishSmall(smallCount)
		module, err := b.leastModule(ctx, numbered(0), smallSize)
		if err != nil {
			return err
		}
		filled := caches(protocol)
		peers := append(slices.Clone(filled), reverseProxy, respond(smallSize), module)
		f := newFillFigures()
		err = b.alternately(ctx, protocol, peers, func(_ int, p peer, server *process) error {
			switch {
			case p.name == reverseProxy.name: // the least that a file costs Caddy which comes from GitLab
				return b.measureFill(ctx, p, server, keepingCallers, "", f)
			case !p.keepsFiles():
				return b.measureRandomHits(ctx, p, server, f)
			}
			if err := b.measureFill(ctx, p, server, keepingCallers, "", f); err != nil {
				return err
			}
			// Files enter the edge's memory at their second use.
			if _, err := server.fetchSmall(ctx, 0, smallCount, keepingCallers); err != nil {
				return err
			}
			if err := server.settle(ctx); err != nil {
				return err
			}
			if err := b.measureRandomHits(ctx, p, server, f); err != nil {
				return err
			}
			rss, err := server.memory(memoryNow)
			f.rss.add(p, float64(rss))
			return err
		})
		if err != nil {
			return err
		}
		f.add(b, protocol, peers, filled)
		return nil
	}
}

// measureFill fetches all small files from a server that has none of them.
func (b *bench) measureFill(ctx context.Context, p peer, server *process, by callers, part string, f fillFigures) error {
	if err := b.firstRequest(ctx, server); err != nil {
		return err
	}
	sent, cost, err := b.under(ctx, p, server, part, func() (load, error) {
		sent, err := server.fetchSmall(ctx, 0, smallCount, by)
		return sent, errors.Join(err, server.settle(ctx))
	})
	b.gitlab.ResetRequests()
	f.fills.add(p, sent.perSecond())
	f.fillCost.add(p, cost.request)
	return err
}

// firstRequest has a server do what it does at its first request, and ask about the token: that isn't a fill's.
func (b *bench) firstRequest(ctx context.Context, server *process) error {
	b.publish("first.bin", smallSize)
	_, err := server.whole(ctx, call{file: "first.bin", token: token(1)}, smallSize)
	return err
}

func (b *bench) measureRandomHits(ctx context.Context, p peer, server *process, f fillFigures) error {
	connections := 32
	if server.protocol.http2 {
		connections = 16
	}
	sent, cost, err := b.under(ctx, p, server, "-random", func() (load, error) { return b.randomHits(ctx, server, smallCount, connections) })
	f.hits.add(p, sent.perSecond())
	f.hitCost.add(p, cost.request)
	return err
}

// add adds the rows of the table.
func (f fillFigures) add(b *bench, protocol protocol, peers, filled []peer) {
	hits, rss := make(cells), make(cells)
	for _, p := range peers {
		if len(f.hits[p.name]) == 0 {
			continue
		}
		hits.add(p, "%.0f/s, %.0f µs CPU", f.hits.median(p), f.hitCost.median(p)*1e6)
	}
	for _, p := range filled {
		rss.add(p, "%s", mebibytes(int64(f.rss.median(p))))
	}
	f.addFill(b, protocol, keepingCallers.String())
	b.table.add(protocol.name+": random hits among them", hits, f.hits.atLeast(1, theNginx, "rate"), f.hitCost.within(extraMicroseconds, respond(smallSize), "CPU"))
	b.table.add(protocol.name+": RSS after that", rss, rssGoal(int64(f.rss.median(theEdge))))
}

func (f fillFigures) addFill(b *bench, protocol protocol, by string) {
	shown := make(cells)
	for _, p := range []peer{theNginx, theVarnish, reverseProxy, theEdge} {
		if len(f.fills[p.name]) > 0 {
			shown.add(p, "%.0f/s, %.0f µs CPU", f.fills.median(p), f.fillCost.median(p)*1e6)
		}
	}
	goals := []goal{f.fills.atLeast(1, theNginx, "rate"), f.fillCost.shownOnly(theNginx, "CPU")}
	for _, p := range []peer{theVarnish, reverseProxy} {
		if len(f.fills[p.name]) > 0 {
			goals = append(goals, f.fills.shownOnly(p, "rate"))
		}
	}
	b.table.add(fmt.Sprintf("%s: fill %d × 16 KiB, %s", protocol.name, smallCount, by), shown, goals...)
}

// fillOthers measures fills by other callers than fill does, and beside an nginx that asks about each file.
func fillOthers(ctx context.Context, b *bench) error {
	b.publishSmall(smallCount)
	variants := []struct {
		by    callers
		peers []peer
		// more ends the row's name in the table, part that of its profile.
		more, part string
	}{
		{fewKeepingCallers, caches(plainHTTP), "", "-kept"},
		{comingCallers, caches(plainHTTP), "", "-new"},
		{keepingCallers, []peer{nginxAskingEach, theEdge}, "; nginx asks about each file", "-each"},
	}
	for _, variant := range variants {
		f := newFillFigures()
		err := b.alternately(ctx, plainHTTP, variant.peers, func(_ int, p peer, server *process) error {
			return b.measureFill(ctx, p, server, variant.by, variant.part, f)
		})
		if err != nil {
			return err
		}
		f.addFill(b, plainHTTP, variant.by.String()+variant.more)
	}
	return nil
}
