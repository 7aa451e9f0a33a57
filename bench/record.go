//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// leastModule is a Caddy whose one handler writes the edge's own answer from memory (bench/ceiling): the least that a module of
// Caddy's can cost. The answer is that to a hit on a file.
func (b *bench) leastModule(ctx context.Context, file string, size int64) (peer, error) {
	answer := filepath.Join(b.directory, "answer")
	err := b.with(ctx, theEdge, plainHTTP, func(server *process) error {
		if err := theEdge.warm(ctx, server, file, size); err != nil {
			return err
		}
		return server.record(ctx, file, answer)
	})
	if err != nil {
		return peer{}, fmt.Errorf("recording the edge's answer: %w", err)
	}
	return peer{columnModule, columnModule, func(ctx context.Context, b *bench, at place) (*process, error) {
		return startCaddyfile(ctx, b, at, b.ceiling, "recorded_answer * "+answer)
	}}, nil
}

// record keeps the answer to a GET of a file, as HTTP/1.1 has it.
func (p *process) record(ctx context.Context, file, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url(file), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Private-Token", token(1))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	recorded, err := os.Create(path) //nolint:gosec // below our own directory
	if err != nil {
		return err
	}
	return errors.Join(response.Write(recorded), recorded.Close())
}
