package page

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"
)

// A stream of events says something at least every heartbeat, so that what stands between doesn't take it for dead, and ends after
// its length; the browser comes back.
const (
	heartbeat    = 15 * time.Second
	streamLength = time.Minute
)

// patience is how long one piece of a stream may take to be sent: what is between here and a viewer holds many of them.
const patience = 2 * time.Second

// comeBackLine tells a browser to come back two seconds after its stream has ended; busy is when one is to ask again that got none.
const (
	comeBackLine = "retry: 2000\n\n"
	busy         = 15 * time.Second
)

// sendEvents answers GET events: server-sent events with what moves, until the viewer leaves, the stream's length is over, or the server
// or the config ends.
func (p *Page) sendEvents(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	joined, ok := p.watch.join()
	if !ok && p.watch.isOver() {
		// Asked over a connection to a server that is stopping, or whose config was replaced: whoever comes back finds the next one.
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, comeBackLine) // a viewer who left doesn't read it
		return
	}
	if !ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(busy.Seconds())))
		p.showMessage(w, r, http.StatusServiceUnavailable, "Too many are watching", "All "+countText(maxViewers)+" places are taken. The page goes on without: load it again now and then.")
		return
	}
	defer p.watch.leave(joined)
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // or nginx keeps events back
	stream := &eventStream{writer: w, controller: http.NewResponseController(w)}
	stream.send(comeBackLine)
	p.follow(r.Context(), joined, stream)
}

// follow sends what a viewer is to see.
func (p *Page) follow(ctx context.Context, joined *viewer, stream *eventStream) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	end := time.NewTimer(streamLength)
	defer end.Stop()
	for stream.err == nil {
		select {
		case <-ctx.Done():
			return
		case <-p.watch.over:
			return
		case <-end.C:
			return
		case <-beat.C:
			stream.send(": still here\n\n")
		case message := <-joined.news:
			stream.send("data: " + string(message) + "\n\n")
		}
	}
}

// eventStream is an answer that is sent piece by piece. After an error it is over.
type eventStream struct {
	writer     http.ResponseWriter
	controller *http.ResponseController
	err        error
}

func (s *eventStream) send(text string) {
	// A viewer who takes nothing for so long must not keep the server from stopping. Not all connections know deadlines.
	_ = s.controller.SetWriteDeadline(time.Now().Add(patience))
	if _, s.err = s.writer.Write([]byte(text)); s.err == nil {
		s.err = s.controller.Flush()
	}
	if s.err == nil {
		_ = s.controller.SetWriteDeadline(time.Time{}) // it would end a stream of HTTP/2 that has nothing to say
	}
}
