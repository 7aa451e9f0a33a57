//go:build linux

package main

import (
	"context"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// damaged asks for a file that is changed on its way, though GitLab names its checksum, and then once more.
func damaged(ctx context.Context, b *bench) error {
	const size = 16 * mebibyte
	b.gitlab.SetChecksums(true)
	if b.profiles != "" {
		return nil // no load is steady here
	}
	shown, good := make(cells), true
	for _, p := range []peer{theNginx, theVarnish, reverseProxy, theEdge} {
		err := b.with(ctx, p, plainHTTP, func(server *process) error {
			file := "damaged-" + p.id() + ".bin"
			want := sumOf(b.publish(file, size))
			b.gitlab.Inject(gitlabtest.Fault{CorruptAt: size / 2})
			verdict := func() string {
				a, err := server.get(ctx, call{file: file, token: token(1), sum: true})
				switch {
				case err != nil:
					return "a broken-off answer"
				case a.sum != want:
					return "wrong bytes"
				}
				return "right"
			}
			once, again := verdict(), verdict()
			shown.add(p, "%s, then %s", once, again)
			if p.name == theEdge.name {
				good = once == "a broken-off answer" && again == "right"
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.gitlab.ClearFaults()
	}
	b.table.add("body damaged on the way (checksum named)", shown, absolute("a broken-off answer, nothing kept", good))
	return nil
}

// broken makes GitLab break a body off while five callers wait for it.
func broken(ctx context.Context, b *bench) error {
	const callers, size = 5, 64 * mebibyte
	if b.profiles != "" {
		return nil // no load is steady here
	}
	// A file published this very second could else not be told from another, and not be gone on with.
	b.gitlab.SetChecksums(true)
	shown, ours := make(cells), 0
	for _, p := range caches(plainHTTP) {
		err := b.with(ctx, p, plainHTTP, func(server *process) error {
			file := "broken-" + p.id() + ".bin"
			b.publish(file, size)
			b.gitlab.SetRate(200 * mebibyte)
			defer b.gitlab.SetRate(0)
			b.gitlab.Inject(gitlabtest.Fault{CutAfter: size / 2})
			_, failures := together(callers, func(n int) (answer, error) {
				return server.whole(ctx, call{file: file, token: token(n)}, size)
			})
			b.gitlab.ClearFaults()
			errors := 0
			for _, err := range failures {
				if err != nil {
					errors++
				}
			}
			shown.add(p, "%d errors", errors)
			if p.name == theEdge.name {
				ours = errors
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	b.table.add("GitLab breaks off in a herd of 5", shown, absolute("no error (resumed)", ours == 0))
	return nil
}

// readers lets 200 callers read a file of 4 GiB, cold at first, and looks at the edge's memory.
func readers(ctx context.Context, b *bench) error {
	const count, size = 200, 4 << 30
	var peak int64
	err := b.with(ctx, theEdge, plainHTTP, func(server *process) error {
		b.publish("large.bin", size)
		await := b.profiling(ctx, theEdge, server, "")
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		_, _ = together(count, func(n int) (answer, error) {
			// Broken off after a while: what counts is that all of them read at once.
			return server.get(ctx, call{file: "large.bin", token: token(n % 64)})
		})
		if err := await(); err != nil {
			return err
		}
		var err error
		peak, err = server.memory(memoryPeak)
		return err
	})
	if err != nil {
		return err
	}
	shown := make(cells)
	shown.add(theEdge, "RSS %s", mebibytes(peak))
	b.table.add("200 readers of a 4 GiB file, 30 s", shown, absolute("RSS ≤ 200 MiB", peak <= 200*mebibyte))
	return nil
}
