package page

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/fakeedge"
)

// viewing is a stream as a viewer gets it.
type viewing struct {
	mu     sync.Mutex
	text   strings.Builder
	status int
	header http.Header
	// flushed counts how often what was written was sent.
	flushed int
	// deadline is the last one that was set, of so many.
	deadline time.Time
	// unbounded counts writes that a viewer could hold up.
	unbounded int
	// ended is when the stream was over; the zero time before.
	ended time.Time
	leave context.CancelFunc
}

func (v *viewing) Header() http.Header { return v.header }

func (v *viewing) WriteHeader(status int) { v.status = status }

func (v *viewing) Write(text []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.deadline.IsZero() || v.deadline.After(time.Now().Add(patience)) {
		v.unbounded++
	}
	return v.text.Write(text)
}

func (v *viewing) FlushError() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flushed++
	return nil
}

func (v *viewing) SetWriteDeadline(deadline time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.deadline = deadline
	return nil
}

// seen is what has come so far.
func (v *viewing) seen() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.text.String()
}

func (v *viewing) end() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ended
}

// watchPage opens a stream of a page.
func watchPage(t *testing.T, p *Page) *viewing {
	t.Helper()
	r := visit{target: "/events"}.request(t)
	ctx, leave := context.WithCancel(r.Context())
	v := &viewing{header: make(http.Header), leave: leave}
	go func() { // ends with the stream
		_ = p.ServeHTTP(v, r.WithContext(ctx), nil)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.ended = time.Now()
	}()
	synctest.Wait()
	return v
}

func TestAStreamHasAHeartbeatAndEndsAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPage(t, morning(), "", loopback...)
		const quarter, minute = 15 * time.Second, time.Minute // as docs/page.md has it
		begun := time.Now()
		v := watchPage(t, p)
		if v.header.Get("Content-Type") != "text/event-stream" || v.header.Get("Cache-Control") != "no-store, no-transform" {
			t.Errorf("%v", v.header)
		}
		seen := v.seen()
		if !strings.HasPrefix(seen, "retry: 2000\n\n") || strings.Count(seen, "data: ") != 1 || !strings.HasSuffix(seen, "\n\n") {
			t.Errorf("at first: %q", seen)
		}
		_, message, _ := strings.Cut(seen, "data: ")
		var told live
		if err := json.Unmarshal([]byte(message), &told); err != nil || told.Cells["verdict"] != "Working." || len(told.Rows["fills"]) != 3 {
			t.Errorf("%v, %+v", err, told)
		}
		time.Sleep(quarter - time.Millisecond)
		synctest.Wait()
		if got := v.seen(); got != seen {
			t.Errorf("within %s: %q; nothing has changed", quarter, got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := strings.TrimPrefix(v.seen(), seen); got != ": still here\n\n" {
			t.Errorf("after %s: %q; nothing has changed", quarter, got)
		}
		time.Sleep(minute)
		synctest.Wait()
		if took := v.end().Sub(begun); took != minute {
			t.Errorf("it ended after %s", took)
		}
		if v.flushed < 4 || v.unbounded > 0 || !v.deadline.IsZero() {
			t.Errorf("sent %d times, %d of them without a limit of time; while nothing is sent the limit is %s", v.flushed, v.unbounded, v.deadline)
		}
	})
}

// TestWhatChangesIsToldOnceToAllViewers has many viewers, and counts what the edge is asked.
func TestWhatChangesIsToldOnceToAllViewers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, edge := newPage(t, morning(), "", loopback...)
		viewers := make([]*viewing, 0, 10)
		for range 10 {
			viewers = append(viewers, watchPage(t, p))
		}
		before := len(edge.Calls(adminapi.CallActivity))
		edge.Change(func(world *fakeedge.World) { world.Activity.Fills[0].Bytes += 100 << 20 })
		time.Sleep(watchTick)
		synctest.Wait()
		if asked := len(edge.Calls(adminapi.CallActivity)) - before; asked != 1 {
			t.Errorf("asked %d times for ten viewers", asked)
		}
		for i, v := range viewers {
			if got := v.seen(); strings.Count(got, "data: ") != 2 || !strings.Contains(got, "2.2 GiB of 3.0 GiB") {
				t.Errorf("viewer %d: %d messages", i, strings.Count(got, "data: "))
			}
			v.leave()
		}
	})
}

func TestNothingIsComputedWhenNobodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, edge := newPage(t, morning(), "", loopback...)
		time.Sleep(time.Hour)
		if calls := edge.Calls(""); len(calls) > 0 {
			t.Errorf("asked before anybody looks: %v", calls)
		}
		v := watchPage(t, p)
		v.leave()
		synctest.Wait()
		if v.end().IsZero() {
			t.Error("the stream goes on after its viewer left")
		}
		asked := len(edge.Calls(""))
		time.Sleep(time.Hour)
		if calls := edge.Calls(""); asked == 0 || len(calls) != asked {
			t.Errorf("asked %d times after everybody has left", len(calls)-asked)
		}
		again := watchPage(t, p)
		if !strings.Contains(again.seen(), "data: ") {
			t.Error("who comes after that sees nothing")
		}
		again.leave()
	})
}

func TestViewersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPage(t, morning(), "", loopback...)
		viewers := make([]*viewing, 0, maxViewers)
		for range maxViewers {
			viewers = append(viewers, watchPage(t, p))
		}
		refused := watchPage(t, p)
		if refused.status != http.StatusServiceUnavailable || refused.header.Get("Retry-After") != "15" {
			t.Errorf("%d, %v", refused.status, refused.header)
		}
		viewers[0].leave()
		synctest.Wait()
		if late := watchPage(t, p); late.status != 0 || !strings.Contains(late.seen(), "data: ") {
			t.Errorf("a place that is free again: %d", late.status)
		}
		p.watch.end()
		synctest.Wait()
		for i, v := range viewers {
			if v.end().IsZero() {
				t.Errorf("viewer %d goes on after the end", i)
			}
		}
		// Who comes over an old connection is sent away, to come back by a new one.
		after := watchPage(t, p)
		if after.end().IsZero() || after.status != 0 || after.seen() != "retry: 2000\n\n" || after.header.Get("Connection") != "close" {
			t.Errorf("a stream after the end: %d, %v, %q", after.status, after.header, after.seen())
		}
		p.watch.end() // a server's end and the config's both do so
	})
}

// TestASlowViewerSlowsNobody has a viewer who takes nothing, and sees that the other one gets all.
func TestASlowViewerSlowsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, edge := newPage(t, morning(), "", loopback...)
		slow, ok := p.watch.join()
		if !ok {
			t.Fatal("no place")
		}
		quick := watchPage(t, p)
		for i := range 5 {
			edge.Change(func(world *fakeedge.World) { world.Activity.Fills[1].Callers = 100 + i })
			time.Sleep(watchTick)
			synctest.Wait()
		}
		if got := quick.seen(); strings.Count(got, "data: ") != 6 {
			t.Errorf("the other one got %d messages", strings.Count(got, "data: "))
		}
		if message := string(<-slow.news); !strings.Contains(message, "for 104 callers") {
			t.Error("the slow one has an old message")
		}
		p.watch.leave(slow)
		quick.leave()
	})
}
