//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"time"
)

// Files that a shared store is to get: so many of that size.
const sharedCount, sharedSize = 4_000, 256 << 10

// bucketSink is an object storage that takes all it is given, and keeps nothing. It lives in this process, so that its work counts
// for no server.
type bucketSink struct {
	*httptest.Server

	// refusing says that it is down. written counts objects.
	refusing atomic.Bool
	written  atomic.Int64
}

func newBucketSink() *bucketSink {
	s := new(bucketSink)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.refusing.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Method == http.MethodPut:
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
			s.written.Add(1)
			w.Header().Set("Etag", `"e"`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	return s
}

// sharing is the edge with all files written to the sink.
func (s *bucketSink) sharing() peer {
	return peer{theEdge.name, columnEdge, func(ctx context.Context, b *bench, at place) (*process, error) {
		return startEdgeWith(ctx, b, at, `shared_store s3://bench {
			endpoint `+s.URL+`
			access_key key
			secret_key secret
			min_size 1
			direction write
		}`)
	}}
}

// notSharing is the edge without a shared store.
var notSharing = peer{"the edge alone", columnEdge, startEdge}

// shared measures what a shared store costs those who don't wait for it: fills, and a start with much that is owed.
func shared(ctx context.Context, b *bench) error {
	if b.profiles != "" {
		return nil // no load is steady here
	}
	sink := newBucketSink()
	defer sink.Close()
	return errors.Join(b.sharedFill(ctx, sink), b.sharedRestart(ctx, sink))
}

func (b *bench) sharedFill(ctx context.Context, sink *bucketSink) error {
	for n := range sharedCount {
		b.publish(numbered(n), sharedSize)
	}
	sharing := sink.sharing()
	rates, costs := make(figures), make(figures)
	var written []int64
	err := b.alternately(ctx, plainHTTP, []peer{notSharing, sharing}, func(_ int, p peer, server *process) error {
		if err := b.firstRequest(ctx, server); err != nil {
			return err
		}
		sink.written.Store(0)
		sent, cost, err := b.under(ctx, p, server, "", func() (load, error) {
			return server.fetchFiles(ctx, 0, sharedCount, sharedSize, keepingCallers)
		})
		if p.name == sharing.name {
			written = append(written, sink.written.Load())
		}
		b.gitlab.ResetRequests()
		rates.add(p, sent.perSecond())
		costs.add(p, cost.request)
		return err
	})
	if err != nil {
		return err
	}
	shown := make(cells)
	for _, p := range []peer{notSharing, sharing} {
		shown.add(p, "%s %.0f/s, %.0f µs CPU", p.name, rates.median(p), costs.median(p)*1e6)
	}
	shown.add(sharing, "%d written meanwhile", median(written))
	b.table.add(fmt.Sprintf("%s: fill %d × 256 KiB, with a shared store and without", plainHTTP.name, sharedCount), shown,
		rates.atLeast(0.9, notSharing, "rate"))
	return nil
}

func (b *bench) sharedRestart(ctx context.Context, sink *bucketSink) error {
	b.publishSmall(smallCount)
	sharing := sink.sharing()
	births := make(figures)
	for range b.runs {
		for _, p := range []peer{notSharing, sharing} {
			birth, err := b.sharedRestartOnce(ctx, sink, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			births.add(p, birth.Seconds())
		}
	}
	shown := make(cells)
	for _, p := range []peer{notSharing, sharing} {
		shown.add(p, "%s %s", p.name, milliseconds(time.Duration(births.median(p)*float64(time.Second))))
	}
	b.table.add(fmt.Sprintf("first hit after a restart with %d files owed", smallCount), shown, births.atMost(1.1, notSharing, "time"))
	return nil
}

// sharedRestartOnce fills a server while the sink is down, and starts it anew when that is well again.
func (b *bench) sharedRestartOnce(ctx context.Context, sink *bucketSink, p peer) (birth time.Duration, err error) {
	directory, err := os.MkdirTemp(b.directory, "fill-")
	if err != nil {
		return 0, err
	}
	defer emptyFiles(directory)
	at := place{directory, plainHTTP}
	server, err := p.start(ctx, b, at)
	if err != nil {
		return 0, err
	}
	sink.refusing.Store(true)
	_, err = server.fetchSmall(ctx, 0, smallCount, keepingCallers)
	server.stop()
	sink.refusing.Store(false)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if server, err = p.start(ctx, b, at); err != nil {
		return 0, err
	}
	defer server.stop()
	_, err = server.whole(ctx, call{file: numbered(smallCount / 2), token: token(1)}, smallSize)
	b.gitlab.ResetRequests()
	return time.Since(begun), err
}
