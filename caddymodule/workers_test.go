package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"
)

// someWorkers are workers that a handler uses until the test ends; none may be left then.
func someWorkers(t *testing.T) *workers {
	t.Helper()
	others := goleak.IgnoreCurrent()
	w := new(workers)
	w.use()
	t.Cleanup(func() {
		w.release()
		if err := goleak.Find(others); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestATaskEndsForItsCallerAsItEnded(t *testing.T) {
	w := someWorkers(t)
	failed := errors.New("failed")
	if err := w.do(func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("the task's error is %v", err)
	}
	panicsWith := func(value any) (got any) {
		defer func() { got = recover() }()
		_ = w.do(func() error { panic(value) })
		return nil
	}
	if got := panicsWith(http.ErrAbortHandler); got != any(http.ErrAbortHandler) {
		t.Errorf("net/http looks for its own value, and gets %v", got)
	}
	if got, ok := panicsWith("broken").(error); !ok || !strings.Contains(got.Error(), "broken") || !strings.Contains(got.Error(), "TestATaskEndsForItsCallerAsItEnded") {
		t.Errorf("what is printed doesn't tell what happened where: %v", got)
	}
	if got, ok := panicsWith(io.ErrClosedPipe).(error); !ok || !errors.Is(got, io.ErrClosedPipe) {
		t.Errorf("what it panicked with can't be found in %v", got)
	}
	ended := true
	var caller sync.WaitGroup
	caller.Go(func() {
		_ = w.do(func() error { runtime.Goexit(); return nil })
		ended = false
	})
	caller.Wait()
	if !ended {
		t.Error("a goroutine that was to end went on")
	}
	if len(w.idle) != 0 {
		t.Errorf("%d workers are kept whose task didn't return", len(w.idle))
	}
}

func TestAWorkerIsUsedAgain(t *testing.T) {
	w := someWorkers(t)
	for range 3 {
		if err := w.do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if len(w.idle) != 1 {
			t.Fatalf("%d workers are idle, want the one", len(w.idle))
		}
	}
}

// TestNoWorkerIsKeptForNoHandler has a task under way when the last one ends.
func TestNoWorkerIsKeptForNoHandler(t *testing.T) {
	w := someWorkers(t)
	w.use()
	begun, goOn := make(chan struct{}), make(chan struct{})
	var caller sync.WaitGroup
	caller.Go(func() {
		_ = w.do(func() error {
			close(begun)
			<-goOn
			return nil
		})
	})
	<-begun
	w.release()
	w.release()
	close(goOn)
	caller.Wait()
	if len(w.idle) != 0 {
		t.Errorf("%d workers are kept", len(w.idle))
	}
	w.use() // which the test's end releases
}

// TestNoMoreWorkersAreKeptThanMayBeIdle has more tasks under way than that.
func TestNoMoreWorkersAreKeptThanMayBeIdle(t *testing.T) {
	w := someWorkers(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var callers sync.WaitGroup
	for range 2 * maxIdleWorkers {
		callers.Go(func() {
			_ = w.do(func() error {
				begun <- struct{}{}
				<-goOn
				return nil
			})
		})
	}
	for range 2 * maxIdleWorkers {
		<-begun
	}
	close(goOn)
	callers.Wait()
	if len(w.idle) != maxIdleWorkers {
		t.Errorf("%d are idle, want %d", len(w.idle), maxIdleWorkers)
	}
}

// TestARequestByHTTP2IsAnsweredByAWorker, and no worker outlives the last config: startEdge looks for goroutines that are left.
func TestARequestByHTTP2IsAnsweredByAWorker(t *testing.T) {
	gitlab := naming(t)
	body := someBytes(4<<10, 1)
	publishOld(gitlab, "app.bin", body)
	e := startEdge(t, gitlab.URL, "", around{servers: "protocols h1 h2c"})
	idle := func() int {
		process.workers.mu.Lock()
		defer process.workers.mu.Unlock()
		return len(process.workers.idle)
	}
	e.mustGet(t, "app.bin", developer, body)
	if idle() != 0 {
		t.Error("a request by HTTP/1.1 has a goroutine that is kept already")
	}
	client := http2Client(t)
	get := func() {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+filePath("app.bin"), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Private-Token", developer)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got, err := io.ReadAll(response.Body); err != nil || string(got) != string(body) || response.ProtoMajor != 2 {
			t.Fatalf("%s, %d bytes: %v", response.Proto, len(got), err)
		}
	}
	get()
	await(t, func() bool { return idle() == 1 })
	e.reload(t, "max_age 2m")
	get()
	await(t, func() bool { return idle() == 1 })
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if idle() != 0 {
		t.Error("workers are kept without any config")
	}
}
