//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const mebibyte = 1 << 20

// herd measures 50 callers with 50 tokens who ask for a cold file at once, from a GitLab that gives 100 MiB/s in all.
func herd(ctx context.Context, b *bench) error {
	const callers, size = 50, 256 * mebibyte
	first, done := make(map[string][]time.Duration), make(figures)
	peaks := make(map[string][]int64)
	worst := asked{}
	err := b.alternately(ctx, plainHTTP, caches(plainHTTP), func(round int, p peer, server *process) error {
		file := fmt.Sprintf("herd-%s-%d.bin", p.id(), round)
		want := sumOf(b.publish(file, size))
		b.gitlab.SetRate(100 * mebibyte)
		b.gitlab.ResetRequests()
		await := b.profiling(ctx, p, server, "")
		answers, failures := together(callers, func(n int) (answer, error) {
			// One of them looks at the bytes; to sum them all would be most of the machine's work.
			a, err := server.whole(ctx, call{file: file, token: token(n), sum: n == 0}, size)
			if err == nil && n == 0 && a.sum != want {
				err = errors.New("wrong bytes")
			}
			return a, err
		})
		b.gitlab.SetRate(0)
		if err := errors.Join(append(failures, await())...); err != nil {
			return err
		}
		var firsts []time.Duration
		last := time.Duration(0)
		for _, a := range answers {
			firsts = append(firsts, a.first)
			last = max(last, a.done)
		}
		first[p.name] = append(first[p.name], median(firsts))
		done.add(p, last.Seconds())
		peak, err := server.memory(memoryPeak)
		if err != nil {
			return err
		}
		peaks[p.name] = append(peaks[p.name], peak)
		if p.name == theEdge.name {
			now := b.asked()
			worst.gets, worst.questions = max(worst.gets, now.gets), max(worst.questions, now.questions)
		}
		return nil
	})
	if err != nil {
		return err
	}
	shown := make(cells)
	for _, p := range caches(plainHTTP) {
		shown.add(p, "first byte %s, all done %.2f s, RSS %s", milliseconds(median(first[p.name])), done.median(p), mebibytes(median(peaks[p.name])))
	}
	shown.add(theEdge, "at most %s", worst)
	b.table.add("herd: 50 callers, 50 tokens, cold 256 MiB, GitLab gives 100 MiB/s", shown,
		absolute("first byte ≤ 0.1 s", median(first[theEdge.name]) <= 100*time.Millisecond), done.atMost(1, theVarnish, "all done"),
		absolute("1 GET", worst.gets == 1), absolute("≤ 49 questions", worst.questions <= callers-1),
		absolute("RSS ≤ 100 MiB", median(peaks[theEdge.name]) <= 100*mebibyte))
	return nil
}

// together runs calls at once and returns what came of each.
func together(calls int, do func(n int) (answer, error)) ([]answer, []error) {
	answers, failures := make([]answer, calls), make([]error, calls)
	var running sync.WaitGroup
	for n := range calls {
		running.Go(func() { answers[n], failures[n] = do(n) })
	}
	running.Wait()
	return answers, failures
}

func sumOf(content gitlabtest.Content) (sum [sha256.Size]byte) {
	hash := sha256.New()
	_, _ = io.Copy(hash, content.NewReader()) // neither fails
	copy(sum[:], hash.Sum(nil))
	return sum
}

// coldRange measures 1 MiB from the middle of a cold file, and what GitLab sends in the end.
func coldRange(ctx context.Context, b *bench) error {
	const size = 256 * mebibyte
	took, sent := make(map[string][]time.Duration), make(map[string][]int64)
	peers := []peer{theNginx, theVarnish, reverseProxy, theEdge}
	err := b.alternately(ctx, plainHTTP, peers, func(round int, p peer, server *process) error {
		file := fmt.Sprintf("range-%s-%d.bin", p.id(), round)
		b.publish(file, size)
		// The file is cold, not the server: what it does at its start is another row's.
		if _, err := server.get(ctx, call{file: "no-such-file", token: token(1)}); err != nil {
			return err
		}
		b.gitlab.SetRate(100 * mebibyte)
		defer b.gitlab.SetRate(0)
		b.gitlab.ResetRequests()
		a, err := server.get(ctx, call{file: file, token: token(1), part: fmt.Sprintf("bytes=%d-%d", size/2, size/2+mebibyte-1)})
		if err != nil {
			return err
		}
		if a.status != http.StatusPartialContent || a.bytes != mebibyte {
			return fmt.Errorf("status %d, %d bytes", a.status, a.bytes)
		}
		took[p.name] = append(took[p.name], a.done)
		err = b.gitlab.Await(ctx, func(requests []gitlabtest.Request) bool {
			for _, request := range requests {
				if !request.Done {
					return false
				}
			}
			return true
		})
		sent[p.name] = append(sent[p.name], b.asked().sent)
		return err
	})
	if err != nil {
		return err
	}
	shown := make(cells)
	for _, p := range peers {
		shown.add(p, "%s, GitLab sends %s", milliseconds(median(took[p.name])), mebibytes(median(sent[p.name])))
	}
	// Answers have heads, too, and a connection that is left has bytes under way.
	most := int64(size + mebibyte + mebibyte/2)
	b.table.add("cold 256 MiB: 1 MiB from the middle", shown,
		absolute("≤ 0.1 s", median(took[theEdge.name]) <= 100*time.Millisecond), absolute("GitLab sends ≤ 1 body + 1 MiB", median(sent[theEdge.name]) <= most))
	return nil
}
