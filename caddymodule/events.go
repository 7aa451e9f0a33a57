package caddymodule

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// Events that the edge tells Caddy's events app of, all of them rare.
const (
	// eventDiskFull: the file system has no room for files. Data: directory.
	eventDiskFull = "disk_full"
	// eventUpstreamDown and eventUpstreamUp: GitLab or its object storage isn't asked any more; answers again. Data:
	// upstream (its URL), server (gitlab, object storage).
	eventUpstreamDown = "upstream_down"
	eventUpstreamUp   = "upstream_up"
	// eventSharedDown and eventSharedUp: the shared store can't be used; can be again. Data: store (its s3:// URL), and reason.
	eventSharedDown = "shared_store_down"
	eventSharedUp   = "shared_store_up"
	// eventSharedWrong: an object of the shared store hasn't the bytes of its name. Data: store, object.
	eventSharedWrong = "shared_store_wrong"
	// eventSwitched: a project, or all, were switched at run time, here or by another instance. Data: upstream, project
	// (empty for all), state (on, off, or config where the config's word holds again).
	eventSwitched = "switched"
)

// maxWaitingEvents bounds the events that wait for handlers; more are dropped, and that is logged.
const maxWaitingEvents = 64

// eventSender hands events to Caddy's events app, one after another and beside what they tell of: their handlers may
// run programs.
type eventSender struct {
	ctx     caddy.Context
	app     *caddyevents.App
	waiting chan event
}

type event struct {
	name string
	data map[string]any
}

func newEventSender(ctx caddy.Context) (*eventSender, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("getting the events app: %w", err)
	}
	return &eventSender{ctx: ctx, app: app.(*caddyevents.App), waiting: make(chan event, maxWaitingEvents)}, nil
}

// tell notes an event and returns at once. The data must not be changed afterwards.
func (s *eventSender) tell(name string, data map[string]any) {
	select {
	case s.waiting <- event{name, data}:
	default:
		s.ctx.Logger().Warn("an event is dropped, since those before it still wait for their handlers", zap.String("event", name))
	}
}

// send hands events on until ctx ends.
func (s *eventSender) send(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.waiting:
			s.app.Emit(s.ctx, e.name, e.data)
		}
	}
}
