package gitlabtest

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
)

// Relay stands before a server and passes bytes on both ways. It can let its connections die as those of a server do that
// has failed over: they stay open, and nobody answers on them.
type Relay struct {
	// URL is the server's, with the relay's address.
	URL string

	listener net.Listener
	target   string
	accepted atomic.Int64
	relaying sync.WaitGroup

	mu sync.Mutex
	// dead is closed when the connections die that there are now. Those that come later have another.
	dead chan struct{}
	// open are the connections that there are, of both sides.
	open map[net.Conn]struct{}
	// dumb says that those die that come, too.
	dumb, closed bool
}

// NewRelay begins to listen on a port of the loopback. target is the server's URL.
func NewRelay(target string) *Relay {
	parsed, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	r := &Relay{listener: listener, target: parsed.Host, dead: make(chan struct{}), open: make(map[net.Conn]struct{})}
	parsed.Host = listener.Addr().String()
	r.URL = parsed.String()
	r.relaying.Go(r.accept) // ends with the listener
	return r
}

// Kill lets the connections die that there are.
func (r *Relay) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.dead)
	r.dead = make(chan struct{})
}

// Mute lets the connections die that there are, and those that come until Unmute.
func (r *Relay) Mute() {
	r.mu.Lock()
	r.dumb = true
	r.mu.Unlock()
	r.Kill()
}

// Unmute ends Mute for the connections that come.
func (r *Relay) Unmute() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dumb = false
}

// Accepted is how many connections have come.
func (r *Relay) Accepted() int { return int(r.accepted.Load()) }

// Close closes the relay and all of its connections.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for connection := range r.open {
		_ = connection.Close()
	}
	r.mu.Unlock()
	r.relaying.Wait()
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.accepted.Add(1)
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		r.relay(client, server)
	}
}

// relay passes bytes on between two connections until one of them ends or both die.
func (r *Relay) relay(client, server net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dead := r.dead
	if r.dumb {
		dead = make(chan struct{})
		close(dead)
	}
	r.open[client], r.open[server] = struct{}{}, struct{}{}
	if r.closed {
		_, _ = client.Close(), server.Close()
	}
	// Each ends with its connection, at the latest with the relay.
	r.relaying.Go(func() { r.pass(server, client, dead) })
	r.relaying.Go(func() { r.pass(client, server, dead) })
}

// pass passes bytes on until a connection ends. Of a dead one they are taken and go nowhere, and that the server has closed it
// is never heard of.
func (r *Relay) pass(to, from net.Conn, dead <-chan struct{}) {
	isDead := func() bool {
		select {
		case <-dead:
			return true
		default:
			return false
		}
	}
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err == nil && !isDead() {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			break
		}
	}
	_ = from.Close()
	if !isDead() {
		_ = to.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, from)
}
