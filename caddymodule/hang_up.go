package caddymodule

import "net/http"

// resetIfBrokenOff is deferred by who answers a request. Where the answer is broken off, an HTTP/1 caller's connection ends with
// a reset. To clients that compare no lengths, such as Python's requests, an orderly end is the end of the file, and net/http
// makes one when it aborts (design, "Serving bytes"). Over HTTP/2 and 3 it resets the stream.
func resetIfBrokenOff(r *http.Request) {
	broken := recover()
	if broken == nil {
		return
	}
	if connection := connectionOf(r); connection != nil && r.ProtoMajor == 1 {
		connection.reset()
	}
	panic(broken)
}

// reset closes a connection below TLS, whose end would be orderly, and has the system discard what isn't sent.
func (c *callerConnection) reset() {
	if c.tcp != nil {
		_ = c.tcp.SetLinger(0)
		_ = c.tcp.Close()
	}
}
