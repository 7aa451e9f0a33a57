package caddymodule

import (
	"context"
	"net"
	"net/http"
	"syscall"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// callerConnection is the connection that requests come on, with TLS if there is any.
type callerConnection struct {
	net.Conn
	// socket is what lies below TLS, nil if that is no TCP of the system's, or the system can't hold packets back.
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
	c := &callerConnection{Conn: connection}
	if tcp := tcpOf(connection); tcp != nil && canCork {
		c.socket, _ = tcp.SyscallConn() // nil for one that is closed
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
