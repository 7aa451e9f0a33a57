package upstream

import (
	"errors"
	"net/http"
	"time"
)

// Heard is what was last heard of a server, for people to see. Nothing that is served depends on it, so that it may rest on
// answers to anybody.
type Heard struct {
	// At is when the server last answered below 500, to whatever request; zero if it never has.
	At time.Time
	// RedirectsToHTTPS says that this answer was a redirect from http to https (ErrRedirectsToHTTPS).
	RedirectsToHTTPS bool
}

// Heard returns what was last heard of GitLab (ServerGitLab) or of any host of its object storage (ServerStorage), by any
// client that shares the breakers.
func (b *Breakers) Heard(server string) (last Heard) {
	if server == ServerGitLab {
		return b.gitlab.lastHeard()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, host := range b.storage {
		if heard := host.lastHeard(); heard.At.After(last.At) {
			last = heard
		}
	}
	return last
}

// hear notes an answer.
func (b *breaker) hear(status int, redirectsToHTTPS bool) {
	if status >= http.StatusInternalServerError {
		return
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard = Heard{At: now, RedirectsToHTTPS: redirectsToHTTPS}
}

func (b *breaker) lastHeard() Heard {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heard
}

// heard notes an answer of GitLab's.
func (c *Client) heard(response *http.Response) {
	c.breakers.Load().gitlab.hear(response.StatusCode, c.redirectsToHTTPS(response))
}

// ErrRedirectsToHTTPS is the cause of an UnreachableError for which GitLab, asked by http, has redirected to the same path by
// https. Who got to see that redirect would go past the edge, with their token. The edge doesn't follow it either: the first
// request has carried a token in clear, and so would each further one.
var ErrRedirectsToHTTPS = errors.New("it redirects to https: the edge's URL of GitLab must begin with https://")

func redirectedToHTTPS(response *http.Response) *UnreachableError {
	return &UnreachableError{Status: response.StatusCode, Err: ErrRedirectsToHTTPS}
}

// redirectsToHTTPS reports whether an answer says that GitLab is to be asked by https: a redirect from http to the same path.
func (c *Client) redirectsToHTTPS(response *http.Response) bool {
	if c.cfg.Base.Scheme != "http" || response.Request == nil || response.Request.URL == nil {
		return false
	}
	location, ok := redirectLocation(response)
	return ok && location.Scheme == "https" && location.EscapedPath() == response.Request.URL.EscapedPath() && !c.isStorage(location)
}
