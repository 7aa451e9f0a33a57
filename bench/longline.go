//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// The long line: so many bytes a second for each connection, and for all together.
const connectionRate, lineRate = 10 * mebibyte, 200 * mebibyte

// edgeBy is the edge with so many connections for a file.
func edgeBy(name string, connections int) peer {
	return peer{name, columnEdge, func(ctx context.Context, b *bench, at place) (*process, error) {
		return startCaddyfile(ctx, b, at, b.caddy, fmt.Sprintf(`gitlab_packages %s {
		fetch_connections %d
		cache %s {
			max_size 20GiB
			min_free 0
		}
	}`, b.gitlab.URL, connections, filepath.Join(at.directory, "cache")))
	}}
}

var (
	// byEight is the edge whose figures have goals, byOne what it is compared with.
	byEight = edgeBy(theEdge.name, 8)
	byOne   = edgeBy("one connection", 1)
)

// longLine measures cold files that GitLab's storage sends over a long line, and over a short one.
func longLine(ctx context.Context, b *bench) error {
	if b.profiles != "" {
		return nil // no load is steady here
	}
	b.gitlab.SetMode(gitlabtest.Redirect)
	defer b.gitlab.SetMode(gitlabtest.LocalDisk)
	for _, measure := range []func(context.Context, *bench) error{longLineOne, longLineHerd, longLineSixteen, longLineBroken, shortLine} {
		if err := measure(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// lineFigures are what one way of fetching shows: seconds to the first byte and to the end, bodies that GitLab and its storage sent
// for each file, and memory.
type lineFigures struct {
	first, done, bodies, rss figures
	gets                     int
}

// fetchCold has callers fetch as many cold files as told, each file by all of the callers of it.
func (b *bench) fetchCold(ctx context.Context, peers []peer, files, callers int, size int64, limited bool, meanwhile func(ctx context.Context)) (f lineFigures, err error) {
	f = lineFigures{first: make(figures), done: make(figures), bodies: make(figures), rss: make(figures)}
	err = b.alternately(ctx, plainHTTP, peers, func(_ int, p peer, server *process) error {
		if err := b.firstRequest(ctx, server); err != nil {
			return err
		}
		names, sums := make([]string, files), make(map[string][32]byte)
		for n := range names {
			names[n] = fmt.Sprintf("1.0.%d/long.bin", b.files)
			sums[names[n]] = sumOf(b.publish(names[n], size))
		}
		if limited {
			b.gitlab.SetConnectionRate(connectionRate)
			b.gitlab.SetRate(lineRate)
			defer b.gitlab.SetConnectionRate(0)
			defer b.gitlab.SetRate(0)
		}
		b.gitlab.ResetRequests()
		watched, stop := context.WithCancel(ctx)
		defer stop()
		if meanwhile != nil {
			go meanwhile(watched) // ends with the round
		}
		answers, failures := together(files*callers, func(n int) (answer, error) {
			file := names[n%files]
			a, err := server.whole(ctx, call{file: file, token: token(n / files), sum: n < files}, size)
			if err == nil && n < files && a.sum != sums[file] {
				err = errors.New("wrong bytes")
			}
			return a, err
		})
		b.gitlab.ClearFaults()
		if err := errors.Join(failures...); err != nil {
			return err
		}
		var firsts []time.Duration
		last := time.Duration(0)
		for _, a := range answers {
			firsts, last = append(firsts, a.first), max(last, a.done)
		}
		asked := b.asked()
		peak, err := server.memory(memoryPeak)
		f.first.add(p, median(firsts).Seconds())
		f.done.add(p, last.Seconds())
		f.bodies.add(p, float64(asked.sent)/float64(size)/float64(files))
		f.rss.add(p, float64(peak))
		if p.name == theEdge.name {
			for _, request := range b.gitlab.Requests() {
				if !request.Storage && request.Method == http.MethodGet && !request.IsQuestion() {
					f.gets++
				}
			}
		}
		return err
	})
	return f, err
}

// row is the table's for it.
func (f lineFigures) row(b *bench, name string, peers []peer, goals ...goal) {
	shown := make(cells)
	for _, p := range peers {
		shown.add(p, "%s first byte %s, all done %.2f s, %.3f bodies sent, RSS %s", p.name,
			milliseconds(time.Duration(f.first.median(p)*float64(time.Second))), f.done.median(p), f.bodies.median(p), mebibytes(int64(f.rss.median(p))))
	}
	b.table.add(name, shown, goals...)
}

func longLineOne(ctx context.Context, b *bench) error {
	peers := []peer{byEight}
	f, err := b.fetchCold(ctx, peers, 1, 1, 256*mebibyte, true, nil)
	if err != nil {
		return err
	}
	f.row(b, "cold 256 MiB from a storage that gives 10 MiB/s for each connection, by eight", peers,
		absolute("done ≤ 4 s", f.done.median(byEight) <= 4), absolute("first byte ≤ 60 ms", f.first.median(byEight) <= 0.06),
		absolute("≤ 1.02 bodies", f.bodies.median(byEight) <= 1.02), absolute("RSS ≤ 100 MiB", f.rss.median(byEight) <= 100*mebibyte),
		absolute("GitLab asked once", f.gets == b.runs))
	return nil
}

func longLineHerd(ctx context.Context, b *bench) error {
	peers := []peer{byEight}
	f, err := b.fetchCold(ctx, peers, 1, 50, 256*mebibyte, true, nil)
	if err != nil {
		return err
	}
	f.row(b, "… for 50 callers", peers, absolute("≤ 1.02 bodies", f.bodies.median(byEight) <= 1.02), absolute("RSS ≤ 100 MiB", f.rss.median(byEight) <= 100*mebibyte))
	return nil
}

func longLineSixteen(ctx context.Context, b *bench) error {
	peers := []peer{byEight, byOne}
	f, err := b.fetchCold(ctx, peers, 16, 1, 64*mebibyte, true, nil)
	if err != nil {
		return err
	}
	f.row(b, "… sixteen cold files of 64 MiB at once", peers, f.done.atMost(1, byOne, "all done"), absolute("≤ 1.02 bodies", f.bodies.median(byEight) <= 1.02))
	return nil
}

func longLineBroken(ctx context.Context, b *bench) error {
	peers := []peer{byEight}
	f, err := b.fetchCold(ctx, peers, 1, 1, 256*mebibyte, true, b.breakEachTenth)
	if err != nil {
		return err
	}
	f.row(b, "… with each tenth part broken off after 4 MiB", peers, absolute("done ≤ 5 s", f.done.median(byEight) <= 5), absolute("≤ 1.02 bodies", f.bodies.median(byEight) <= 1.02))
	return nil
}

// breakEachTenth has the storage break off one answer of ten, until ctx ends.
func (b *bench) breakEachTenth(ctx context.Context) {
	for next := 10; ; next += 10 {
		err := b.gitlab.Await(ctx, func(requests []gitlabtest.Request) bool {
			seen := 0
			for _, request := range requests {
				if request.Storage {
					seen++
				}
			}
			return seen >= next-1
		})
		if err != nil {
			return
		}
		b.gitlab.Inject(gitlabtest.Fault{Method: http.MethodGet, CutEach: 4 * mebibyte})
	}
}

func shortLine(ctx context.Context, b *bench) error {
	peers := []peer{byOne, byEight}
	f, err := b.fetchCold(ctx, peers, 1, 1, 256*mebibyte, false, nil)
	if err != nil {
		return err
	}
	f.row(b, "cold 256 MiB without any limit, by eight and by one", peers, f.done.atMost(1, byOne, "all done"), absolute("GitLab asked once", f.gets == b.runs))
	return nil
}
