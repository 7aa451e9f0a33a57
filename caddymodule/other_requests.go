package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// serveOther answers a request that isn't about generic packages: it goes to GitLab, and nothing of the answer is kept. Which
// requests these are is decided by route alone, as if another handler had them: no spelling of a package's path comes here.
func (h *Handler) serveOther(w http.ResponseWriter, r *http.Request) {
	x := h.newExchange(w, r, upstream.Route{})
	defer resetIfBrokenOff(r)
	defer x.finish()
	h.transports.hold()
	defer h.transports.release()

	switch {
	case r.Method == http.MethodConnect:
		// A tunnel to anywhere, or a WebSocket over HTTP/2 or 3, which browsers also open over HTTP/1.1.
		x.refuseOther(http.StatusNotImplemented, bodyNoTunnel)
	case !h.client.IsBelowBase(upstream.EscapedPath(r.URL)):
		x.refuseOther(http.StatusNotFound, fmt.Sprintf(`{"message":"404 Not Found - this GitLab is below %s"}`, h.client.BasePath()))
	default:
		x.forwardOther()
	}
	x.answered = true
	x.body.linger(r)
}

const bodyNoTunnel = `{"error":"501 Not Implemented"}`

// refuseOther answers what isn't sent on.
func (x *exchange) refuseOther(status int, body string) {
	x.setOutcome(outcomeInvalid, cacheStatusLocal(outcomeInvalid))
	x.writeJSON(status, body)
}

// forwardOther sends the request on and relays the answer as it comes.
func (x *exchange) forwardOther() {
	delivery, begun := new(upstream.Delivery), time.Now()
	err := x.h.client.ForwardOther(x.w, x.r, upstream.Forwarding{
		Caller:      x.caller(),
		DropHeaders: x.h.DropHeaders,
		Delivery:    delivery,
		OnAnswer: func(response *http.Response) {
			x.relays(response, outcomeOther, begun)
			response.Header.Add("Cache-Status", cacheStatusForward(fwdBypass, response.StatusCode))
			if response.StatusCode == http.StatusSwitchingProtocols {
				return // what follows is a connection, and no body
			}
			response.Body = struct {
				io.Reader
				io.Closer
			}{&countedReader{Reader: response.Body, read: x.relayedOther}, response.Body}
		},
	})
	x.refuseUnforwarded(err, delivery)
}

// relayedOther is relayed for the log alone: the bytes that the metrics count are those of packages.
func (x *exchange) relayedOther(n int64) { x.report.bytesUpstream += n }
