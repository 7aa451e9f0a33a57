//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// newConnections measures downloads of 4 KiB, each of which opens a TLS connection of its own and doesn't go on with an earlier
// session.
func newConnections(protocol protocol) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		t := target4K(protocol)
		peers, _, err := b.publishFor(ctx, protocol, t)
		if err != nil {
			return err
		}
		request, rate := make(figures), make(figures)
		err = b.alternately(ctx, protocol, peers, func(_ int, p peer, server *process) error {
			if err := p.warm(ctx, server, t.file, t.size); err != nil {
				return err
			}
			sent, cost, err := b.under(ctx, p, server, "", func() (load, error) { return server.connectAgain(ctx, t.file, t.size, b.duration) })
			if err != nil {
				return err
			}
			request.add(p, cost.request)
			rate.add(p, sent.perSecond())
			return nil
		})
		if err != nil {
			return err
		}
		shown := make(cells)
		for _, p := range peers {
			shown.add(p, "%.2f ms CPU, %.0f/s", request.median(p)*1000, rate.median(p))
		}
		b.table.add(protocol.name+": a new connection each time, 4 KiB", shown, request.shownOnly(respond(t.size), "CPU"), request.shownOnly(theNginx, "CPU"))
		return nil
	}
}

// connectAgain downloads a file over a new connection each time, for a time. It is our own client: wrk and h2load can't open
// connections one after another without going on with an earlier TLS session.
func (p *process) connectAgain(ctx context.Context, file string, size int64, duration time.Duration) (load, error) {
	const callers = 16
	client := p.client()
	begun := time.Now()
	var requests atomic.Int64
	_, failures := together(callers, func(int) (answer, error) {
		for time.Since(begun) < duration && ctx.Err() == nil {
			if err := fetchOnce(ctx, client, p.url(file), size); err != nil {
				return answer{}, err
			}
			requests.Add(1)
		}
		return answer{}, ctx.Err()
	})
	return loadOf(requests.Load(), requests.Load()*size, time.Since(begun)), errors.Join(failures...)
}

// client speaks the server's protocol, over a connection of its own for each request.
func (p *process) client() *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!p.protocol.http2)
	protocols.SetHTTP2(p.protocol.http2)
	config := p.certificate.config()
	config.NextProtos = nil // the transport's own, by protocols
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, Protocols: &protocols, DisableKeepAlives: true, DisableCompression: true}}
}

func fetchOnce(ctx context.Context, client *http.Client, url string, size int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Private-Token", token(1))
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || n != size) {
		err = fmt.Errorf("status %d, %d of %d bytes", response.StatusCode, n, size)
	}
	return err
}
