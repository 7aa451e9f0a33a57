package caddymodule

import "net/http"

const (
	// serverBuffer is what net/http gathers of an answer by HTTP/1 before it writes, its head included. An answer that has more goes out by
	// two writes at least, and each would be a packet, and wake the client, by itself.
	serverBuffer = 4 << 10
	// headRoom is what is left to the head of that: the edge's own has half as much.
	headRoom = 1 << 10
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

// corkable returns the connection to the caller if packets can be held back on it, else nil. By HTTP/2 nobody here knows when frames are
// written, and a client that lets few bytes come at a time would wait for the last ones of each time.
func (x *exchange) corkable() *callerConnection {
	if connection := connectionOf(x.r); connection != nil && connection.socket != nil && x.r.ProtoMajor == 1 {
		return connection
	}
	return nil
}

// writeAtOnce writes bytes of a body. With the head that may come before them, they leave in as few packets as they fill, although net/http
// writes them in pieces, and TLS by records of 16 KiB at most (RFC 8446, section 5.1): half of what a small hit costs the system and its client is what
// each packet costs.
func (x *exchange) writeAtOnce(p []byte) (int, error) {
	connection := x.corkable()
	if connection == nil || len(p) < serverBuffer-headRoom { // with its head that much goes out by one write
		return x.w.Write(p)
	}
	connection.cork()
	defer connection.uncork()
	n, err := x.w.Write(p)
	if err == nil && len(p) < 2*serverBuffer {
		// The end is in net/http's buffer, and would come after uncork. A writer in front of this one that can't flush costs a packet.
		_ = http.NewResponseController(x.w).Flush()
	}
	return n, err
}

// atOnce is an exchange's writer whose bytes are written so.
type atOnce struct{ *exchange }

func (w atOnce) Write(p []byte) (int, error) { return w.writeAtOnce(p) }
