package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
)

// TestCallersWhoResetTheirStreamsGiveNobodyOthersBytes: when a Write by HTTP/2 fails, a frame of it may still be on its way. The
// files are of all the ways that bytes take: from memory, small and large ones from the disk, and parts of each.
func TestCallersWhoResetTheirStreamsGiveNobodyOthersBytes(t *testing.T) {
	gitlab := newGitLab(t)
	e := startEdge(t, gitlab.URL, "cache "+t.TempDir()+" {\n memory 2MiB\n min_free 0\n}", around{servers: "protocols h1 h2c"})
	bodies := make(map[string][]byte)
	for i, size := range []int{3000, 20_000, 32_000, 33_000, 60_000, 100_000, 600_000, 3 << 20} {
		for j := range 2 {
			name := fmt.Sprintf("%d-%d.bin", size, j)
			bodies[name] = someBytes(size, byte(10*i+j))
			publishOld(gitlab, name, bodies[name])
			e.mustGet(t, name, developer, bodies[name])
		}
	}
	client := http2Client(t)
	names := make([]string, 0, len(bodies))
	for name := range bodies {
		names = append(names, name)
	}
	get := func(random *rand.Rand, name string) error {
		body := bodies[name]
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+filePath(name), nil)
		if err != nil {
			return err
		}
		request.Header.Set("Private-Token", developer)
		want := body
		if random.IntN(3) == 0 {
			from := random.IntN(len(body))
			request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+random.IntN(len(body)-from)))
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.ProtoMajor != 2 || response.StatusCode >= 300 {
			return fmt.Errorf("%s by %s", response.Status, response.Proto)
		}
		if response.StatusCode == http.StatusPartialContent {
			var from, to, size int
			if _, err := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); err != nil {
				return err
			}
			want = body[from : to+1]
		}
		if random.IntN(2) == 0 {
			// It leaves somewhere in the middle, which resets the stream.
			some := make([]byte, random.IntN(len(want)+1))
			n, err := io.ReadFull(response.Body, some)
			if err != nil || !bytes.Equal(some[:n], want[:n]) {
				return fmt.Errorf("%s: %d bytes that are others, %w", name, n, err)
			}
			return nil
		}
		if got, err := io.ReadAll(response.Body); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%s: %d of %d bytes, or others, %w", name, len(got), len(want), err)
		}
		return nil
	}
	var callers sync.WaitGroup
	for caller := range uint64(8) {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(1, caller)) //nolint:gosec // G404: a test that can be repeated
			for range 40 {
				if err := get(random, names[random.IntN(len(names))]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	if memory := e.do(t, call{path: filePath("3000-0.bin"), token: developer}); !bytes.Equal(memory.body, bodies["3000-0.bin"]) {
		t.Error("another file")
	}
}
