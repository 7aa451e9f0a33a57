//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

const uploadSize = 256 * mebibyte

// uploads is how many there are at once.
const uploads = 4

// theParts is what an upload through the edge costs in parts; no server by itself.
var theParts = peer{name: "the parts", column: columnCaddy}

// put measures four uploads at once and what they cost in processor time: through Caddy's reverse_proxy, through the edge
// with copies kept, and through reverse_proxy while a process beside it hashes and writes as many bytes. The last is
// what the edge's work costs in parts.
func put(ctx context.Context, b *bench) error {
	costs, parts, peaks := make(figures), make(figures), make(map[string][]int64)
	b.gitlab.SetChecksums(true)
	b.gitlab.DiscardLargeUploads()
	missing := 0
	peers := []peer{reverseProxy, theEdge}
	err := b.alternately(ctx, plainHTTP, peers, func(run int, p peer, server *process) error {
		// So that the edge has seen that this GitLab names checksums.
		b.publish("small.bin", 1000)
		if _, err := server.whole(ctx, call{file: "small.bin", token: token(1)}, 1000); err != nil {
			return err
		}
		await := b.profiling(ctx, p, server, "")
		cost, err := uploadAll(ctx, p, server, run)
		if err := errors.Join(err, await()); err != nil {
			return err
		}
		peak, err := server.memory(memoryPeak)
		if err != nil {
			return err
		}
		costs[p.name] = append(costs[p.name], cost)
		peaks[p.name] = append(peaks[p.name], peak)
		if p.name != theEdge.name {
			cost, err := uploadInParts(ctx, p, server, run)
			parts.add(theParts, cost)
			return err
		}
		for n := range uploads {
			sum := fmt.Sprintf("%x", sumOf(uploaded(run, n)))
			if _, err := os.Stat(filepath.Join(server.directory, "cache", "blobs", sum[:2], sum)); err != nil {
				missing++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	shown, inParts := make(cells), make(cells)
	for _, p := range peers {
		shown.add(p, "%.2f CPU s/GB, RSS %s", costs.median(p), mebibytes(median(peaks[p.name])))
	}
	shown.add(theEdge, "%d copies missing", missing)
	b.table.add("PUT 256 MiB, 4 at once", shown, absolute("≤ 0.9 CPU s/GB", costs.median(theEdge) <= 0.9),
		absolute("the copy kept", missing == 0), absolute("flat RSS", median(peaks[theEdge.name]) <= 100*mebibyte))
	inParts.add(theParts, "(`reverse_proxy`, and SHA-256 and files beside it) %.2f CPU s/GB", parts.median(theParts))
	parts[theEdge.name] = costs[theEdge.name]
	b.table.add("the same in parts", inParts, parts.atMost(1.1, theParts, "CPU"))
	return nil
}

// uploadAll uploads all files at once and returns what that cost the server, in seconds of processor time for each GB.
func uploadAll(ctx context.Context, p peer, server *process, run int) (float64, error) {
	before, err := server.cpu()
	if err != nil {
		return 0, err
	}
	_, failures := together(uploads, func(n int) (answer, error) {
		return answer{}, upload(ctx, server, fmt.Sprintf("put-%s-%d-%d.bin", p.id(), run, n), uploaded(run, n))
	})
	after, err := server.cpu()
	return (after - before).Seconds() / (uploads * uploadSize / 1e9), errors.Join(err, errors.Join(failures...))
}

// uploadInParts uploads all files once more while another process hashes and writes as many bytes, and returns what both
// cost together.
func uploadInParts(ctx context.Context, p peer, server *process, run int) (float64, error) {
	var group errgroup.Group
	var proxying float64
	var copying time.Duration
	group.Go(func() (err error) {
		copying, err = copiesCost(ctx, server.directory, uploads, uploadSize)
		return err
	})
	group.Go(func() (err error) {
		proxying, err = uploadAll(ctx, p, server, run+1000)
		return err
	})
	err := group.Wait()
	return proxying + copying.Seconds()/(uploads*uploadSize/1e9), err
}

// uploaded is what the nth upload of a run brings.
func uploaded(run, n int) gitlabtest.Content {
	return gitlabtest.Generated(uploadSize, uint64(1000+10*run+n)) //nolint:gosec // small numbers
}

func upload(ctx context.Context, server *process, file string, content gitlabtest.Content) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, server.url(file), content.NewReader())
	if err != nil {
		return err
	}
	request.ContentLength = content.Size()
	request.Header.Set("Private-Token", token(1))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Minute}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("uploading %s: %s", file, response.Status)
	}
	return nil
}
