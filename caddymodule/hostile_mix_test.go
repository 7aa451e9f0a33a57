package caddymodule

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream/gitlabtest"
)

// TestNothingIsLeftOfCallersWhoLeaveAnywhere has many callers break off at random places, GitLab fail at random places, and
// the config be reloaded meanwhile. Afterwards no question, turn, wait or flight is left.
func TestNothingIsLeftOfCallersWhoLeaveAnywhere(t *testing.T) {
	setForTest(t, &process.checkTimeout, 500*time.Millisecond)
	gitlab := newGitLab(t)
	gitlab.SetChecksums(true)
	options := "fetches_per_caller 2\n max_age 50ms\n grant_ttl 50ms\n transport http {\n max_conns_per_host 6\n }"
	e := startEdge(t, gitlab.URL, options)
	for i := range 8 {
		publishOld(gitlab, fmt.Sprintf("%d.bin", i), someBytes(200_000, byte(i)))
	}
	ctx, stop := context.WithTimeout(t.Context(), 8*time.Second)
	defer stop()
	var wrong atomic.Int64
	var group sync.WaitGroup
	for worker := range 10 {
		group.Go(func() { // ends with ctx
			random := rand.New(rand.NewPCG(uint64(worker), 1)) //nolint:gosec // a test that can be repeated
			tokens := []string{developer, colleague, outsider, "", "glpat-x"}
			for ctx.Err() == nil {
				file := fmt.Sprintf("%d.bin", random.IntN(10))
				token := tokens[random.IntN(len(tokens))]
				connection, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
				if err != nil {
					continue
				}
				_ = connection.SetDeadline(time.Now().Add(time.Duration(random.IntN(300)) * time.Millisecond))
				switch random.IntN(6) {
				case 0: // an upload that stops anywhere
					_, _ = fmt.Fprintf(connection, "PUT %s HTTP/1.1\r\nHost: e\r\nPrivate-Token: %s\r\nContent-Length: 100000\r\n\r\n%s", filePath(file), token, strings.Repeat("x", random.IntN(100_001)))
				case 1: // chunked, maybe malformed
					_, _ = fmt.Fprintf(connection, "PUT %s HTTP/1.1\r\nHost: e\r\nPrivate-Token: %s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n%s", filePath(file), token, []string{"0\r\n\r\n", "ZZZ\r\n", ""}[random.IntN(3)])
				case 2:
					_, _ = fmt.Fprintf(connection, "HEAD %s HTTP/1.1\r\nHost: e\r\nPrivate-Token: %s\r\n\r\n", filePath(file), token)
				default:
					_, _ = fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: e\r\nPrivate-Token: %s\r\n\r\n", filePath(file), token)
				}
				_, _ = io.CopyN(io.Discard, connection, int64(random.IntN(300_000)))
				_ = connection.Close()
			}
		})
	}
	group.Go(func() { // ends with ctx
		random := rand.New(rand.NewPCG(99, 1)) //nolint:gosec // a test that can be repeated
		for ctx.Err() == nil {
			faults := []gitlabtest.Fault{
				{Reset: true},
				{Status: 502},
				{Status: 500, Question: true},
				{CutAfter: 1000},
				{Method: http.MethodGet, StallAfter: 50_000},
				{CutUploadAfter: 10},
				{LoseAnswer: true},
				{AfterBody: true, Status: 502},
				{Hang: true},
				{LoginPage200: true},
			}
			gitlab.Inject(faults[random.IntN(len(faults))])
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	for range 2 {
		time.Sleep(2 * time.Second)
		e.reload(t, options+"\n retries 1")
		options += " "
	}
	group.Wait()
	gitlab.ClearFaults()
	awaitNoFlight(t)
	s := runningState()
	left := func() string {
		s.asks.mu.Lock()
		defer s.asks.mu.Unlock()
		s.answerWaits.mu.Lock()
		defer s.answerWaits.mu.Unlock()
		return fmt.Sprintf("%d questions, %d turns, %d waiting, %d waits of %d addresses", len(s.asks.running), turnsTaken(), turnsWaiting(), s.answerWaits.all, len(s.answerWaits.byAddress))
	}
	deadline := time.Now().Add(40 * time.Second)
	for left() != "0 questions, 0 turns, 0 waiting, 0 waits of 0 addresses" && time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
	}
	t.Log(left(), wrong.Load())
	if got := left(); got != "0 questions, 0 turns, 0 waiting, 0 waits of 0 addresses" {
		t.Error(got)
	}
	putForward(10 * time.Minute)
	await(t, func() bool {
		got := e.do(t, call{path: filePath("1.bin"), token: developer})
		return got.StatusCode == http.StatusOK && got.err == nil
	})
}
