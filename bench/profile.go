//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// profiled measures a row once more with nothing but the edge, and keeps a profile of its processor time. What is measured
// meanwhile is dropped: a profile costs time itself.
func (b *bench) profiled(ctx context.Context, r row) error {
	once := *b
	once.runs, once.table, once.profiles, once.row = 1, table{}, b.profileDirectory, r.name
	return r.measure(ctx, &once)
}

// profiling has the edge profile itself for as long as rows measure, from now on, and returns what awaits the profile.
// Without -profile, and with other servers, nothing happens.
func (b *bench) profiling(ctx context.Context, p peer, server *process, part string) (await func() error) {
	if b.profiles == "" || !p.isEdge() {
		return func() error { return nil }
	}
	ended := make(chan error, 1)
	// Ends with the profile.
	go func() {
		ended <- fetchProfile(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", server.admin, int(b.duration.Seconds())),
			filepath.Join(b.profiles, b.row+part+".pprof"))
	}()
	return func() error { return <-ended }
}

func fetchProfile(ctx context.Context, url, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("taking a profile: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("taking a profile: %s", response.Status)
	}
	file, err := os.Create(path) //nolint:gosec // below the directory that the flag names
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
