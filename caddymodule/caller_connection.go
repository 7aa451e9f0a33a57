package caddymodule

import (
	"context"
	"net"
	"net/http"
	"syscall"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// callerConnection is the connection that requests come on.
type callerConnection struct {
	// tcp is the system's, nil if it isn't known.
	tcp *net.TCPConn
	// socket is the same as cork needs it, nil if the system can't hold packets back.
	socket syscall.RawConn
}

// connectionKey is where requests have the connection that they came on.
type connectionKey struct{}

// rememberConnections has a server tell its requests which connection they come on; nil does nothing.
func rememberConnections(server *caddyhttp.Server) {
	if server == nil {
		return
	}
	server.RegisterConnContext(func(ctx context.Context, connection net.Conn) context.Context {
		if ctx.Value(connectionKey{}) != nil {
			return ctx // another handler of the same server has said so
		}
		return context.WithValue(ctx, connectionKey{}, newCallerConnection(connection))
	})
}

func newCallerConnection(connection net.Conn) *callerConnection {
	c := &callerConnection{tcp: tcpOf(connection)}
	if c.tcp != nil && canCork {
		c.socket, _ = c.tcp.SyscallConn() // nil for one that is closed
	}
	return c
}

// tcpOf returns the connection of the system below TLS and below the PROXY protocol (Caddy's listener wrapper proxy_protocol); nil if there is
// none, or none that can be found.
func tcpOf(connection net.Conn) *net.TCPConn {
	if secure, ok := connection.(interface{ NetConn() net.Conn }); ok {
		connection = secure.NetConn()
	}
	if proxied, ok := connection.(interface{ TCPConn() (*net.TCPConn, bool) }); ok {
		tcp, _ := proxied.TCPConn()
		return tcp
	}
	tcp, _ := connection.(*net.TCPConn)
	return tcp
}

// connectionOf returns the connection that a request came on, nil if its server doesn't tell.
func connectionOf(r *http.Request) *callerConnection {
	connection, _ := r.Context().Value(connectionKey{}).(*callerConnection)
	return connection
}
