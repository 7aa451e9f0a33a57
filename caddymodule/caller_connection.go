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
		return context.WithValue(ctx, connectionKey{}, newCallerConnection(connection))
	})
}

func newCallerConnection(connection net.Conn) *callerConnection {
	c := &callerConnection{Conn: connection}
	if tcp, ok := belowTLS(connection).(*net.TCPConn); ok && canCork {
		c.socket, _ = tcp.SyscallConn() // nil for one that is closed
	}
	return c
}

// belowTLS is the connection itself if there is no TLS.
func belowTLS(connection net.Conn) net.Conn {
	if secure, ok := connection.(interface{ NetConn() net.Conn }); ok {
		return secure.NetConn()
	}
	return connection
}

// connectionOf returns the connection that a request came on, nil if its server doesn't tell.
func connectionOf(r *http.Request) *callerConnection {
	connection, _ := r.Context().Value(connectionKey{}).(*callerConnection)
	return connection
}
