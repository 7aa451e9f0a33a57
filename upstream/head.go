package upstream

import (
	"context"
	"net/http"
	"time"
)

const (
	// rangeIgnoredFor is how long a GitLab is asked by HEAD that has sent more than was asked for.
	rangeIgnoredFor = time.Hour
	// headDistrustedFor is how long it isn't where its answer to HEAD was a failure or a no, and that to GET a yes.
	headDistrustedFor = time.Hour
	// headPatience is how long a HEAD may be silent before GET is asked. For a file that isn't stored GET is asked at once.
	headPatience = suspiciousSilence
)

// IgnoresRange reports whether this GitLab is asked by HEAD for now, since something in front of it sends whole files to
// who asks for one byte.
func (c *Client) IgnoresRange() bool { return c.cfg.Now().UnixNano() < c.ignoresRange.Load() }

// noteIgnoredRange has GitLab asked by HEAD for a while, unless HEAD is known not to work.
func (c *Client) noteIgnoredRange() {
	if now := c.cfg.Now(); now.UnixNano() >= c.distrustsHead.Load() {
		c.ignoresRange.Store(now.Add(rangeIgnoredFor).UnixNano())
	}
}

// noteWrongHead has GitLab asked by GET for a while, even if that brings the beginning of a whole file each time.
func (c *Client) noteWrongHead() {
	c.distrustsHead.Store(c.cfg.Now().Add(headDistrustedFor).UnixNano())
	c.ignoresRange.Store(0)
}

// checkByHead asks by HEAD. A yes counts. Anything else proves nothing: something in front of GitLab may know no HEAD, forbid it,
// or never answer it, and a stored file must not be less available than one that isn't, for which GET is asked. So GET decides,
// and where it says yes it is what is asked from then on.
func (c *Client) checkByHead(ctx context.Context, q Question, timeout time.Duration) Answer {
	byHead := c.checkBy(ctx, http.MethodHead, q, min(timeout, headPatience))
	switch {
	case byHead.Verdict == Allowed, byHead.Verdict == RateLimited, ctx.Err() != nil:
		return byHead
	case byHead.Verdict == Unreachable && (byHead.Err.Trouble == TroubleNotAsked || byHead.Err.Trouble == TroubleEdge):
		return byHead // a GET wouldn't be sent either
	}
	byGet := c.checkBy(ctx, http.MethodGet, q, timeout)
	if byGet.Verdict == Allowed {
		c.noteWrongHead()
	}
	return byGet
}
