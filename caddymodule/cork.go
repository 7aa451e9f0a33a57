package caddymodule

import (
	"io"
	"net/http"
)

const (
	// serverBuffer is what net/http gathers of an answer by HTTP/1 before it writes, its head included. An answer that has more goes out by
	// two writes at least, and each would be a packet, and wake the client, by itself.
	serverBuffer = 4 << 10
	// headRoom is more than the head of a file takes of that.
	headRoom = 1 << 10
	// tlsRecord is how many bytes of a body a record of TLS has at most (RFC 8446, section 5.1). Go writes each by itself.
	tlsRecord = 16 << 10
)

// cork has the system hold back what fills no packet, until uncork, which has to follow soon: meanwhile the caller waits for the last bytes
// that were written. The system itself does so for 200 ms at most (tcp(7), TCP_CORK).
func (c *callerConnection) cork() {
	_ = c.socket.Control(corkSocket) // it fails for a connection that has ended
}

// uncork sends what was held back.
func (c *callerConnection) uncork() {
	_ = c.socket.Control(uncorkSocket)
}

// writeAtOnce writes a whole body that is in memory, by HTTP/1. Its head and its bytes leave in as few packets as they fill, although net/http
// writes them in pieces: half of what a small hit costs a client and the system is what each packet costs.
func (x *exchange) writeAtOnce(data []byte) (int, error) {
	connection := x.corkable()
	if connection == nil || len(data) < serverBuffer-headRoom { // with its head such a body goes out by one write
		return x.w.Write(data)
	}
	connection.cork()
	defer connection.uncork()
	n, err := x.w.Write(data)
	if err == nil && len(data) < 2*serverBuffer {
		// The end is in net/http's buffer, and would come after uncork. A writer in front of this one that can't flush costs a packet.
		_ = http.NewResponseController(x.w).Flush()
	}
	return n, err
}

// corkedWriter writes to a client over TLS: the records of one Write leave in as few packets as they fill.
type corkedWriter struct {
	io.Writer
	connection *callerConnection
}

// pieceWriter returns what pieces of a file are written to.
func (x *exchange) pieceWriter() io.Writer {
	if connection := x.corkable(); connection != nil && x.r.TLS != nil {
		return &corkedWriter{x.w, connection}
	}
	return x.w
}

// corkable returns the connection to the caller if packets can be held back on it, else nil. By HTTP/2 nobody here knows when frames are
// written, and a client that lets few bytes come at a time would wait for the last ones of each time.
func (x *exchange) corkable() *callerConnection {
	if connection := connectionOf(x.r); connection != nil && connection.socket != nil && x.r.ProtoMajor == 1 {
		return connection
	}
	return nil
}

func (w *corkedWriter) Write(p []byte) (int, error) {
	if len(p) <= tlsRecord {
		return w.Writer.Write(p)
	}
	w.connection.cork()
	defer w.connection.uncork()
	return w.Writer.Write(p)
}
