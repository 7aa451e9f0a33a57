package upstream

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// errSwitched says that a server switched protocols, which nobody had asked it to.
var errSwitched = errors.New("it answers 101 Switching Protocols, which nobody asked for")

// neverUpgraded is a transport whose answers never are 101: what follows one is a tunnel and no body. The edge offers no
// upgrade but that of ForwardOther, so a server that takes one is out of order.
type neverUpgraded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t neverUpgraded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		_ = response.Body.Close()
		return nil, errSwitched
	}
	return response, err
}

// webSocket is the only protocol that is switched to. In others, such as h2c, the caller could ask for packages, and nobody
// would look at names and switches.
const webSocket = "websocket"

// isWebSocket reports whether a request asks for a WebSocket (RFC 6455, section 4.1). An offer counts that Connection names, and not
// in HTTP/1.0 (RFC 9110, section 7.8): a front that knows nothing of it would have other callers' requests in the tunnel.
func isWebSocket(r *http.Request) bool {
	offered := r.Header["Upgrade"]
	return r.ProtoMajor == 1 && r.ProtoAtLeast(1, 1) && r.Method == http.MethodGet && r.ContentLength == 0 &&
		len(offered) == 1 && strings.EqualFold(offered[0], webSocket) &&
		httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") && r.Header.Get("Sec-WebSocket-Key") != ""
}

// tunnelWriter is the answer to a request for a WebSocket. The zero value is that to any other.
//
// ReverseProxy writes the head of a 101 past the server, so that the server's log would know neither status nor headers. Here the
// server writes that head, and what ReverseProxy writes goes nowhere.
type tunnelWriter struct {
	http.ResponseWriter
	head       http.Header
	connection io.Closer
	// caller is the caller's connection, once it is a tunnel.
	caller *callersEnd
}

// callersEnd is the caller's connection of a tunnel. ReverseProxy ends when either side has closed, and may still be writing
// then: the server's log, which counts what is written, must not read what is being counted.
type callersEnd struct {
	net.Conn
	// early has what the caller sent before the server let go of the connection. ReverseProxy reads the connection alone, since
	// it writes the head of a 101 itself, later than that.
	early *bufio.Reader
	// mu is held while bytes are written: only who ends the tunnel waits for that, who has closed the connection before.
	mu    sync.Mutex
	ended bool
}

// Read implements io.Reader. It is for one goroutine.
func (c *callersEnd) Read(p []byte) (int, error) {
	if c.early.Buffered() > 0 {
		return c.early.Read(p)
	}
	return c.Conn.Read(p)
}

// Write implements io.Writer.
func (c *callersEnd) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// end closes the connection. Nothing is written to it when it has returned.
func (c *callersEnd) end() {
	_ = c.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// prepare takes in the head of the answer.
func (w *tunnelWriter) prepare(response *http.Response) error {
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil
	}
	if offered := response.Header["Upgrade"]; w.ResponseWriter == nil || len(offered) != 1 || !strings.EqualFold(offered[0], webSocket) {
		return errSwitched
	}
	w.head, w.connection = response.Header.Clone(), response.Body
	return nil
}

// Hijack implements http.Hijacker.
func (w *tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	maps.Copy(w.Header(), w.head)
	w.WriteHeader(http.StatusSwitchingProtocols)
	connection, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.caller = &callersEnd{Conn: connection, early: buffered.Reader}
	return w.caller, bufio.NewReadWriter(buffered.Reader, bufio.NewWriter(io.Discard)), nil
}

// end closes the connection to GitLab, if there was one: ReverseProxy leaves it open where the caller's can't be had. It ends the
// caller's, too.
func (w *tunnelWriter) end() {
	if w.caller != nil {
		w.caller.end()
	}
	if w.connection != nil {
		_ = w.connection.Close()
	}
}

// Unwrap serves http.ResponseController.
func (w *tunnelWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// onClose returns a body that calls a function when it is closed. It can be written to if body can: what follows a 101 is a
// connection.
func onClose(body io.ReadCloser, closed func()) io.ReadCloser {
	if connection, ok := body.(io.ReadWriteCloser); ok {
		return closingConnection{connection, closed}
	}
	return closingBody{body, closed}
}

// closingConnection is closingBody for a connection.
type closingConnection struct {
	io.ReadWriteCloser
	closed func()
}

// Close implements io.Closer.
func (c closingConnection) Close() error {
	err := c.ReadWriteCloser.Close()
	c.closed()
	return err
}
