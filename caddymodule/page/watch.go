package page

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// How often what moves is computed while anybody watches, and how seldom the status is asked for it.
const (
	watchTick   = time.Second
	statusTicks = 5
)

// maxViewers is how many streams there are at a time.
const maxViewers = 32

// watch computes what moves once for all viewers, while there are any.
type watch struct {
	page *Page
	// over is closed when streams must end.
	over chan struct{}

	// mu guards all below. Nothing is waited for under it.
	mu      sync.Mutex
	ended   bool
	viewers map[*viewer]bool
	// last is what was computed last, for who comes now; nil before the first time, and while nobody watches.
	last []byte
	// stop ends the computing.
	stop context.CancelFunc
}

// viewer is one stream.
type viewer struct {
	// news has the newest message that wasn't sent yet. A slow viewer misses those between, and slows nobody.
	news chan []byte
}

func newWatch(page *Page) *watch {
	return &watch{page: page, over: make(chan struct{}), viewers: make(map[*viewer]bool)}
}

// join adds a viewer, who must leave. There is none where all places are taken, or streams have ended.
func (w *watch) join() (*viewer, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || len(w.viewers) == maxViewers {
		return nil, false
	}
	joined := &viewer{news: make(chan []byte, 1)}
	if w.last != nil {
		joined.news <- w.last
	}
	w.viewers[joined] = true
	if len(w.viewers) == 1 {
		ctx, stop := context.WithCancel(context.Background())
		w.stop = stop
		// Ends when the last viewer leaves, or all streams end.
		go w.run(ctx)
	}
	return joined, true
}

// isOver reports whether streams have ended.
func (w *watch) isOver() bool {
	select {
	case <-w.over:
		return true
	default:
		return false
	}
}

// leave takes a viewer away.
func (w *watch) leave(v *viewer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.viewers, v)
	if len(w.viewers) == 0 {
		w.stopLocked()
	}
}

// end ends all streams, and lets no new ones begin.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended = true
		close(w.over)
	}
	w.stopLocked()
}

func (w *watch) stopLocked() {
	w.last = nil
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// run computes and tells, until ctx ends.
func (w *watch) run(ctx context.Context) {
	ticker := time.NewTicker(watchTick)
	defer ticker.Stop()
	var told []byte
	status, err := w.page.askStatus(ctx)
	for tick := 1; ; tick++ {
		if message := w.message(ctx, status, err == nil); message != nil && !bytes.Equal(message, told) {
			told = message
			w.tell(ctx, message)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if tick%statusTicks == 0 {
			status, err = w.page.askStatus(ctx)
		}
	}
}

// message is what moves, as JSON in one line; nil where nothing can be told.
func (w *watch) message(ctx context.Context, status adminapi.Status, known bool) []byte {
	moving := newLive()
	if known {
		moving.addStatus(status)
	}
	if activity, err := w.page.askActivity(ctx); err == nil {
		moving.addActivity(activityOf(activity, w.page.now()))
	}
	encoded, err := json.Marshal(moving)
	if err != nil {
		return nil // a type that can always be written
	}
	return encoded
}

// tell hands a message to all viewers.
func (w *watch) tell(ctx context.Context, message []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return // nobody watches any more, or others do with a run of their own
	}
	w.last = message
	for v := range w.viewers {
		select {
		case <-v.news: // was not taken yet, and is old now
		default:
		}
		v.news <- message
	}
}
