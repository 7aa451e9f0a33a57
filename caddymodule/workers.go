package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
)

// maxIdleWorkers is how many goroutines are kept for requests to come. The garbage collector halves the stack of each that waits, so the one
// that waits for the shortest time is the next to be used.
const maxIdleWorkers = 64

// workers answer requests on goroutines that are kept. By HTTP/2 and 3 each request comes on a new goroutine with a stack of a few KiB. Caddy and
// the edge need more together, and the runtime then moves the whole stack to a larger one, for each request anew: of a small hit that was an
// eighth of the processor time and more. A worker has such a stack already.
type workers struct {
	// mu guards all below. Nothing is waited for under it.
	mu sync.Mutex
	// users are the handlers that may give tasks. Without any, no worker is kept.
	users int
	// idle are the workers without a task; the one that had one last comes last, and gets the next.
	idle []*worker
}

// worker is one goroutine's.
type worker struct {
	// tasks has room for one. It is closed when the worker isn't needed any more.
	tasks chan *task
}

// task is one request.
type task struct {
	serve func() error
	done  chan struct{}

	// returned says that serve came to an end by itself, with err; else it panicked, or ended its goroutine.
	returned bool
	err      error
	panicked any
}

// use and release are the begin and the end of a handler.
func (w *workers) use() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users++
}

func (w *workers) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users--
	if w.users > 0 {
		return
	}
	for _, one := range w.idle {
		close(one.tasks)
	}
	w.idle = nil
}

// do has a worker call serve, waits for that, and returns, panics or ends its goroutine as serve did.
func (w *workers) do(serve func() error) error {
	t := &task{serve: serve, done: make(chan struct{})}
	w.worker().tasks <- t
	<-t.done
	switch {
	case t.panicked != nil:
		panic(t.panicked)
	case !t.returned:
		runtime.Goexit()
	}
	return t.err
}

// worker takes one that is idle, or begins one.
func (w *workers) worker() *worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last := len(w.idle) - 1; last >= 0 {
		one := w.idle[last]
		w.idle[last], w.idle = nil, w.idle[:last]
		return one
	}
	one := &worker{tasks: make(chan *task, 1)}
	// Ends when enough others are idle, or no handler is left, or serve ends its goroutine.
	go w.work(one)
	return one
}

func (w *workers) work(one *worker) {
	for t := range one.tasks {
		kept := false
		func() {
			// Kept before its caller goes on: whose next request may come at once, and finds it.
			defer close(t.done)
			defer func() { kept = w.keep(one, t.returned) }()
			t.run()
		}()
		if !kept {
			return
		}
	}
}

// keep takes back a worker whose task is done, and reports whether it is to wait for another. One whose goroutine ends isn't.
func (w *workers) keep(one *worker, goesOn bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !goesOn || w.users == 0 || len(w.idle) >= maxIdleWorkers {
		return false
	}
	w.idle = append(w.idle, one)
	return true
}

// run calls serve and notes how that ended.
func (t *task) run() {
	defer func() {
		if t.returned {
			return
		}
		t.panicked = recover()
		if err, ok := t.panicked.(error); t.panicked != nil && (!ok || !errors.Is(err, http.ErrAbortHandler)) {
			t.panicked = &panicError{t.panicked, debug.Stack()}
		}
	}()
	t.err = t.serve()
	t.returned = true
}

// panicError is what a task panicked with, and where: who prints it has only the stack of who waited for the task.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

func (p *panicError) Unwrap() error {
	err, _ := p.value.(error)
	return err
}
