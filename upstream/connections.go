package upstream

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Connections is a transport that doesn't trust connections that have stood still: those of a GitLab that has failed over
// are dead, and nothing tells so but their silence (design, "Life cycle with Caddy").
//
// A GET or HEAD without a body on such a connection is tried a second time on a new one (second_try.go). All other requests
// can't be sent twice, so they take a new connection unless one has answered within Config.Freshness (line.freshen). It is
// safe for concurrent use.
//
// Connections are kept for each host by itself, so MaxIdleConns of the transport is a bound for each host.
type Connections struct {
	cfg ConnectionsConfig

	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	// lines holds the way to each host, at most maxStorageHosts; hosts beyond them share one.
	lines map[string]*line
}

// ConnectionsConfig says how connections are made, and when they are doubted.
type ConnectionsConfig struct {
	// Transport is what all transports of the connections are copies of. It carries nothing itself and must not change any
	// more. Required. A transport that isn't Go's own can't be copied, such as one for HTTP/3.
	Transport *http.Transport

	// Around, if set, returns what requests are given to in place of a copy, such as a transport that prepares them for it.
	Around func(http.RoundTripper) http.RoundTripper

	// Silence is how long a request on a connection that was used before stays unanswered until it is tried a second time;
	// 2 s by default.
	Silence time.Duration

	// Pause is how long no request is tried a second time after a second try that wasn't answered first; a minute by default.
	Pause time.Duration

	// Freshness is how long after its last answer a connection is still taken for a request that can't be sent twice; 1 s by
	// default.
	Freshness time.Duration
}

// Defaults of ConnectionsConfig.
const (
	DefaultSilence   = 2 * time.Second
	DefaultPause     = time.Minute
	DefaultFreshness = time.Second
)

// NewConnections returns a transport without connections yet.
func NewConnections(cfg ConnectionsConfig) (*Connections, error) {
	if cfg.Transport == nil {
		return nil, errors.New("connections need a transport to be made like")
	}
	if cfg.Around == nil {
		cfg.Around = func(transport http.RoundTripper) http.RoundTripper { return transport }
	}
	if cfg.Silence <= 0 {
		cfg.Silence = DefaultSilence
	}
	if cfg.Pause <= 0 {
		cfg.Pause = DefaultPause
	}
	if cfg.Freshness <= 0 {
		cfg.Freshness = DefaultFreshness
	}
	return &Connections{cfg: cfg, lines: make(map[string]*line)}, nil
}

// RoundTrip implements http.RoundTripper.
func (c *Connections) RoundTrip(request *http.Request) (*http.Response, error) {
	l := c.line(request.URL.Scheme + "://" + strings.ToLower(request.URL.Host))
	switch {
	case requesterOf(request.Context()) == aProbe:
		return l.sendApart(request)
	case isRepeatable(request):
		return l.sendTwice(request)
	}
	l.freshen()
	return l.send(request)
}

// CloseIdleConnections closes the connections that no request uses now.
func (c *Connections) CloseIdleConnections() {
	c.mu.Lock()
	lines := make([]*line, 0, len(c.lines))
	for _, l := range c.lines {
		lines = append(lines, l)
	}
	c.mu.Unlock()
	for _, l := range lines {
		l.mu.Lock()
		present := l.present
		l.mu.Unlock()
		present.closeIdle()
	}
}

// line returns the way to a host.
func (c *Connections) line(host string) *line {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.lines[host]; known != nil {
		return known
	}
	if len(c.lines) >= maxStorageHosts {
		host = ""
		if known := c.lines[host]; known != nil {
			return known
		}
	}
	l := &line{cfg: c.cfg, present: newPool(c.cfg), pools: 1, doubted: time.Now(), silent: make(map[*secondTry]struct{})}
	c.lines[strings.Clone(host)] = l
	return l
}

// hasBody reports whether a request has a body, as far as is known before it is read.
func hasBody(request *http.Request) bool {
	return request.Body != nil && request.Body != http.NoBody
}

// pool is a transport with connections of its own.
type pool struct {
	http.RoundTripper
	closeIdle func()

	// inUse counts the requests under way, and retired says that no others will come; line.mu guards both.
	inUse   int
	retired bool
	// apart says that the pool is one of line.apart.
	apart bool
}

func newPool(cfg ConnectionsConfig) *pool {
	transport := cfg.Transport.Clone()
	if transport.TLSNextProto["h2"] != nil {
		// The function that stands there may be of golang.org/x/net/http2, and then it gives the copy's connections to the
		// original. Without it Go configures HTTP/2 anew.
		transport.TLSNextProto, transport.ForceAttemptHTTP2 = nil, true
		if transport.Protocols != nil {
			transport.Protocols.SetHTTP2(true) // what stood there spoke it whatever is said here
		}
	}
	return &pool{RoundTripper: cfg.Around(transport), closeIdle: transport.CloseIdleConnections}
}

// line is the way to one host.
type line struct {
	cfg ConnectionsConfig
	// multiplexed says that the host speaks HTTP/2: one connection carries many requests, and takes further ones for as long
	// as one is under way.
	multiplexed atomic.Bool

	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	// present is where requests go.
	present *pool
	// pools counts the present one and those that are retired but have requests under way.
	pools int
	// doubted is when all connections were last given up: what can be had of the present pool is newer, or has answered since.
	doubted time.Time
	// wins counts the second tries that were answered first.
	wins  int
	tries [requesters]tries
	// apart counts the pools of second tries and probes that have requests under way.
	apart int
	// silent are the requests that a connection which was used before doesn't answer.
	silent map[*secondTry]struct{}
}

// send sends a request on any connection.
func (l *line) send(request *http.Request) (*http.Response, error) {
	l.mu.Lock()
	present := l.present
	present.inUse++
	l.mu.Unlock()
	return l.sendBy(present, request)
}

// sendApart sends a request on a new connection that serves no other. It is beyond the transport's bound on connections:
// dead ones may hold all of those.
func (l *line) sendApart(request *http.Request) (*http.Response, error) {
	apart := newPool(l.cfg)
	apart.inUse, apart.retired, apart.apart = 1, true, true
	l.mu.Lock()
	l.pools++
	l.apart++
	l.mu.Unlock()
	return l.sendBy(apart, request)
}

// sendBy sends a request that is counted already as one of the pool's. It is until the answer's body is closed.
func (l *line) sendBy(p *pool, request *http.Request) (*http.Response, error) {
	response, err := p.RoundTrip(request)
	if err != nil {
		l.leave(p)
		return nil, err
	}
	l.multiplexed.Store(response.ProtoMajor >= 2)
	response.Body = onClose(response.Body, sync.OnceFunc(func() { l.leave(p) }))
	return response, nil
}

// leave ends the use of a pool by one request. The last closes the connections of one that is retired.
func (l *line) leave(p *pool) {
	l.mu.Lock()
	p.inUse--
	last := p.retired && p.inUse == 0
	if last {
		l.pools--
	}
	if last && p.apart {
		l.apart--
	}
	l.mu.Unlock()
	if last {
		p.closeIdle()
	}
}

// freshen sees to it that the next request is sent on a connection that is new or has answered within cfg.Freshness.
func (l *line) freshen() {
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.doubted) < l.cfg.Freshness {
		l.mu.Unlock()
		return
	}
	older := l.renewLocked(false)
	l.mu.Unlock()
	older.closeIdle()
	l.mu.Lock()
	defer l.mu.Unlock()
	// Only now: another request must not take a connection that is about to be closed for a fresh one.
	l.doubted = now
}

// mayGoApartLocked reports whether one request more may have a connection beyond MaxConnsPerHost: a quarter of that number may,
// or one, since what was tried a second time keeps its connection until its body ends.
func (l *line) mayGoApartLocked() bool {
	bound := l.cfg.Transport.MaxConnsPerHost
	return bound <= 0 || l.apart < max(1, bound/4)
}

// renewLocked sees to it that no connection is used again that is in use now and doesn't answer. The caller closes the idle
// ones of the pool that it returns.
//
// Over HTTP/1 a connection in use becomes free by its answer alone. One of HTTP/2 takes requests all the time, so another
// pool takes its place. MaxConnsPerHost is kept for each pool by itself; unless it must, none is added beyond that number.
func (l *line) renewLocked(must bool) (older *pool) {
	older = l.present
	bound := l.cfg.Transport.MaxConnsPerHost
	isFull := bound > 0 && l.pools >= bound && older.inUse > 0
	if !l.multiplexed.Load() || (isFull && !must) {
		return older
	}
	older.retired = true
	if older.inUse == 0 {
		l.pools--
	}
	l.present = newPool(l.cfg)
	l.pools++
	return older
}
