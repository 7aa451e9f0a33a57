package caddymodule

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// partPolicy is when a server is asked for parts.
type partPolicy int

const (
	// partsHelp: each connection is bounded, and many together aren't, as of object storage.
	partsHelp partPolicy = iota
	// partsMustHelp: each request counts, and connections may share one short line, as of GitLab itself. A further one is tried now
	// and then, and stays only if all together have become faster.
	partsMustHelp
)

const (
	// trialGain is how many times as fast a server must have become by a further connection; else none is tried for noGainPause.
	trialGain   = 1.2
	noGainPause = time.Minute
	// partsPause is for how long one connection is used to a server from which parts don't come, or that wants fewer requests and doesn't
	// say for how long, and longestPartsPause for how long at most; noPartsPause is that of one that doesn't give parts.
	partsPause        = time.Minute
	longestPartsPause = 10 * time.Minute
	noPartsPause      = time.Hour
	// maxParts bounds the parts under way from all servers together: each holds pumpPiece of memory.
	maxParts = 160
	// maxPartServers bounds the servers that are remembered.
	maxPartServers = 256
)

// partServers are the servers that parts are asked of, by their origins. Safe for concurrent use.
type partServers struct {
	*environment

	// underWay counts the parts of all servers.
	underWay atomic.Int64

	// mu guards known; nothing is waited for under it.
	mu    sync.Mutex
	known *simplelru.LRU[string, *partServer]
}

func newPartServers(e *environment) *partServers {
	return &partServers{environment: e, known: newLRU[string, *partServer](maxPartServers)}
}

// of returns what is known of a server.
func (s *partServers) of(origin string) *partServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.known.Get(origin); ok {
		return known
	}
	made := &partServer{all: s, users: make(map[*assembly]*connections)}
	s.known.Add(origin, made)
	return made
}

// partServer is what one server can take: how many connections, for which files, and whether more of them help.
type partServer struct {
	all *partServers
	// received counts the bytes of files that may have parts.
	received atomic.Int64

	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	// users are the files that are on their way from there, and total is how many connections all of them have.
	users map[*assembly]*connections
	total int
	// restUntil is until when each file has one connection.
	restUntil time.Time
	// since is when the rate began to be measured, and sinceBytes what had come by then.
	since      time.Time
	sinceBytes int64
	// trying says that a part's connection is on trial, before is the rate without it, in bytes a second, and disturbed that another
	// connection has begun or ended since, so that rates show nothing.
	trying    bool
	before    float64
	disturbed bool
	// proven is how many connections in all have been shown to be worth it.
	proven int
	// noneUntil is until when none is tried.
	noneUntil time.Time
}

// connections are those of one file: for parts, and that of its own body while that is open.
type connections struct {
	parts int
	body  bool
}

func (c *connections) count() int {
	if c.body {
		return c.parts + 1
	}
	return c.parts
}

// enter notes that a file is on its way, whose body is open.
func (s *partServer) enter(a *assembly) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[a] = &connections{body: true}
	s.total++
	s.disturbLocked()
}

// leave takes a file off, whose parts have all ended.
func (s *partServer) leave(a *assembly) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total -= s.users[a].count()
	delete(s.users, a)
	if len(s.users) == 0 {
		s.proven = 0
	}
	s.disturbLocked()
}

// noteBody notes whether a file's own body is open.
func (s *partServer) noteBody(a *assembly, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.users[a]
	s.total -= own.count()
	own.body = open
	s.total += own.count()
	s.disturbLocked()
}

// take reports whether a file may have one more part under way, of bound connections to this server in all: as large a share of
// these as any other file, and one where it has none, which its own body would need else. tried says that the connection is on trial: who
// gets one calls watch, or unwatched. When the part has ended, giveBack is called.
func (s *partServer) take(a *assembly, bound int) (taken, tried bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, own := s.all.clock(), s.users[a]
	if now.Before(s.restUntil) || (own.count() > 0 && (s.total >= bound || own.count() >= bound/len(s.users))) {
		return false, false
	}
	tried = a.policy == partsMustHelp && s.total >= s.proven
	if tried && now.Sub(s.since) > 2*s.all.trialPause && !s.trying {
		s.measureLocked() // nobody asked for long: what came in all that time says little of the line
	}
	if tried && (s.trying || now.Before(s.noneUntil) || now.Sub(s.since) < s.all.trialPause) {
		return false, false
	}
	if s.all.underWay.Add(1) > maxParts {
		s.all.underWay.Add(-1)
		return false, false
	}
	if tried {
		s.trying, s.before = true, s.rateLocked()
	}
	own.parts++
	s.total++
	s.disturbLocked()
	return true, tried
}

// giveBack takes a part off.
func (s *partServer) giveBack(a *assembly) {
	s.all.underWay.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[a].parts--
	s.total--
	s.disturbLocked()
}

// watch has a part that begins judged by what comes of it.
func (s *partServer) watch(p *part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.measureLocked()
	s.disturbed = false
	time.AfterFunc(s.all.trialPause, func() { s.judge(p) })
}

// unwatched ends the trial of a part that could not begin.
func (s *partServer) unwatched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying = false
}

// judge ends a part's trial: its connection stays, and as many as there are now need no trial any more, or is given up. Of a trial that
// shows nothing, since other connections have begun or ended meanwhile, its own stays as long as the part needs it.
func (s *partServer) judge(p *part) {
	s.mu.Lock()
	gain := s.rateLocked() >= trialGain*s.before
	s.trying = false
	s.measureLocked()
	switch {
	case s.disturbed:
		gain = true
	case gain:
		s.proven = max(s.proven, s.total)
	default:
		s.noneUntil = s.all.clock().Add(noGainPause)
	}
	s.mu.Unlock()
	if !gain {
		p.cancel(errNoGain)
	}
}

// disturbLocked notes that there are other connections than before: what is measured begins anew.
func (s *partServer) disturbLocked() {
	s.measureLocked()
	s.disturbed = true
}

func (s *partServer) measureLocked() { s.since, s.sinceBytes = s.all.clock(), s.received.Load() }

// rateLocked is how many bytes a second have come since then.
func (s *partServer) rateLocked() float64 {
	return float64(s.received.Load()-s.sinceBytes) / max(s.all.clock().Sub(s.since).Seconds(), 1e-3)
}

// rest has each file use one connection for a while: the server wants fewer requests, gives no parts, or none has come.
func (s *partServer) rest(err error) {
	asked, _ := upstream.RetryAfter(err, s.all.clock())
	pause := min(max(asked, partsPause), longestPartsPause)
	if givesNoParts(err) {
		pause = noPartsPause
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := s.all.clock().Add(pause); until.After(s.restUntil) {
		s.restUntil = until
	}
}
