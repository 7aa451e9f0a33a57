package caddymodule

import (
	"context"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// connectionKey is where requests have the connection that they came on.
type connectionKey struct{}

// rememberConnections has a server tell its requests which connection they come on; nil does nothing.
func rememberConnections(server *caddyhttp.Server) {
	if server != nil {
		server.RegisterConnContext(func(ctx context.Context, connection net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, connection)
		})
	}
}

// resetIfBrokenOff is deferred by who answers a request. Where the answer is broken off, an HTTP/1 caller's connection ends with
// a reset. To clients that compare no lengths, such as Python's requests, an orderly end is the end of the file, and net/http
// makes one when it aborts (design, "Serving bytes"). Over HTTP/2 and 3 it resets the stream.
func resetIfBrokenOff(r *http.Request) {
	broken := recover()
	if broken == nil {
		return
	}
	if r.ProtoMajor == 1 {
		connection, _ := r.Context().Value(connectionKey{}).(net.Conn)
		reset(connection)
	}
	panic(broken)
}

// reset closes a connection below TLS, whose end would be orderly, and has the system discard what isn't sent.
func reset(connection net.Conn) {
	if secure, ok := connection.(interface{ NetConn() net.Conn }); ok {
		connection = secure.NetConn()
	}
	if lingering, ok := connection.(interface{ SetLinger(seconds int) error }); ok {
		_ = lingering.SetLinger(0)
		_ = connection.Close()
	}
}
