package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Config says which GitLab a Client asks, and how.
type Config struct {
	// Base is GitLab's external URL: scheme, host and, for a GitLab below a relative URL root, its path.
	Base *url.URL

	// Transport carries requests to GitLab itself. Connections, here and for the object storage, finds out connections that
	// are dead; with any other transport requests wait on them for their time-outs.
	Transport http.RoundTripper

	// StorageTransport carries requests to GitLab's object storage. It must not present anything that is meant for
	// GitLab alone, such as a client certificate.
	StorageTransport http.RoundTripper

	// PartTransport and PartStorageTransport carry requests for parts of a file, beside those for its beginning (parts.go): each on
	// a connection of its own, which one by HTTP/2 isn't. Without one there are no parts from that server.
	PartTransport, PartStorageTransport http.RoundTripper

	// ProbeTransport and StorageProbeTransport carry the breakers' probes. By default they are Transport and StorageTransport.
	// Where those bound their connections and aren't Connections, which give a probe one beyond the bound, these must have
	// others: whoever holds all of those must not look like an outage.
	ProbeTransport, StorageProbeTransport http.RoundTripper

	// StorageHosts are hosts (with port, if it isn't the scheme's own) that are GitLab's object storage even when
	// their URLs carry no signature that we know, each as ParseStorageHost reads it.
	StorageHosts []string

	// HeaderTimeout bounds the wait for the head of an answer to a fetch, or to a download that is forwarded; 60 s by
	// default.
	HeaderTimeout time.Duration

	// CheckTimeout bounds the wait for the answer to a check of a caller whom GitLab has allowed lately (Question.Granted),
	// who needn't wait for one that hangs. 60 s by default, and never more than HeaderTimeout, which holds for all others:
	// how long they wait must not tell them what is stored.
	CheckTimeout time.Duration

	// PublishTimeout is how long the answer to an upload, or to any other request that is no download, is awaited after the
	// last byte of the request; 10 minutes by default. GitLab works on large uploads after their last byte.
	PublishTimeout time.Duration

	// StallTimeout is how long a fetched body may stand still before its connection is given up; 30 s by default.
	StallTimeout time.Duration

	// Retries is how often in a row a body that broke off is asked for again and brings less than a megabyte. Zero means that it
	// is never asked for again.
	Retries int

	// RetryPause is the wait before the first of these; it doubles each time, up to a minute. 200 ms by default.
	RetryPause time.Duration

	// Now tells the time; time.Now by default.
	Now func() time.Time

	// MaxConnections is how many connections Transport keeps to GitLab at most, 0 for no bound. Forwarded requests of callers
	// whom GitLab isn't known to allow take half of them at most, and those of one Neighbourhood three quarters of that half.
	MaxConnections int

	// Hold, if set, keeps the transports usable until the function that it returns is called. The client calls it for
	// requests that it makes on nobody's behalf.
	Hold func() (release func())
}

// Defaults of Config.
const (
	DefaultHeaderTimeout  = 60 * time.Second
	DefaultCheckTimeout   = 60 * time.Second
	DefaultPublishTimeout = 10 * time.Minute
	DefaultStallTimeout   = 30 * time.Second
	DefaultRetryPause     = 200 * time.Millisecond
)

// Client asks one GitLab about files, fetches them, and forwards what is not ours to answer. It is safe for
// concurrent use and holds nothing that must be closed.
type Client struct {
	cfg Config
	// upstream is cfg.Base as a text: each request needs it.
	upstream string

	// showsChecksums turns true with the first answer that carries X-Checksum-SHA256 and never back: a GitLab that
	// has learnt it (18.6) doesn't forget, and rows without a digest are exceptions (contract, section 4).
	showsChecksums atomic.Bool

	// redirects turns true with the first redirect to the object storage, and never back.
	redirects atomic.Bool

	// ignoresRange is until when this GitLab is asked by HEAD, in Unix nanoseconds: something in front of it sends whole
	// files to who asks for one byte (answer.go).
	ignoresRange atomic.Int64
	// distrustsHead is until when it isn't asked by HEAD all the same.
	distrustsHead atomic.Int64

	// answerGrace is the constant of that name, and longer in tests, whose machine may be slow.
	answerGrace time.Duration
	// refusesExpect is until when uploads are sent without an expectation of the edge's, in Unix nanoseconds: GitLab, or
	// something in front of it, refuses them (expectation.go).
	refusesExpect atomic.Int64

	// upgrading is Config.Transport for requests that ask for a WebSocket.
	upgrading http.RoundTripper

	breakers atomic.Pointer[Breakers]

	// strangers bounds the connections of forwarded requests whose callers GitLab isn't known to allow.
	strangers    *strangersShare
	storageHosts []StorageHost
}

// NewClient returns a client for cfg.Base. Both transports are required.
func NewClient(cfg Config) (*Client, error) {
	if err := CheckBase(cfg.Base); err != nil {
		return nil, err
	}
	if cfg.Transport == nil || cfg.StorageTransport == nil {
		return nil, errors.New("a client needs a transport for GitLab and one for its object storage")
	}
	if cfg.ProbeTransport == nil {
		cfg.ProbeTransport = cfg.Transport
	}
	if cfg.StorageProbeTransport == nil {
		cfg.StorageProbeTransport = cfg.StorageTransport
	}
	upgrading := cfg.Transport
	cfg.Transport, cfg.StorageTransport = neverUpgraded{cfg.Transport}, neverUpgraded{cfg.StorageTransport}
	for _, transport := range []*http.RoundTripper{&cfg.PartTransport, &cfg.PartStorageTransport} {
		if *transport != nil {
			*transport = neverUpgraded{*transport}
		}
	}
	base := *cfg.Base
	base.Scheme, base.Host = strings.ToLower(base.Scheme), strings.ToLower(base.Host)
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	cfg.Base = &base
	if cfg.HeaderTimeout <= 0 {
		cfg.HeaderTimeout = DefaultHeaderTimeout
	}
	if cfg.CheckTimeout <= 0 {
		cfg.CheckTimeout = DefaultCheckTimeout
	}
	cfg.CheckTimeout = min(cfg.CheckTimeout, cfg.HeaderTimeout)
	if cfg.PublishTimeout <= 0 {
		cfg.PublishTimeout = DefaultPublishTimeout
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = DefaultStallTimeout
	}
	if cfg.RetryPause <= 0 {
		cfg.RetryPause = DefaultRetryPause
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Hold == nil {
		cfg.Hold = func() (release func()) { return func() {} }
	}
	client := &Client{
		cfg: cfg, upstream: base.String(), upgrading: upgrading, answerGrace: answerGrace, strangers: newStrangersShare(cfg.MaxConnections),
	}
	for _, text := range cfg.StorageHosts {
		host, err := ParseStorageHost(text)
		if err != nil {
			return nil, fmt.Errorf("storage host %q: %w", text, err)
		}
		client.storageHosts = append(client.storageHosts, host)
	}
	client.breakers.Store(NewBreakers(BreakerConfig{}))
	return client, nil
}

// UseBreakers has the client share breakers with others that ask the same GitLab by transports of the same settings. Until
// then it has its own.
func (c *Client) UseBreakers(breakers *Breakers) { c.breakers.Store(breakers) }

// CheckBase returns an error if a URL can't be a GitLab's.
func CheckBase(base *url.URL) error {
	switch {
	case base == nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https"):
		return errors.New("the upstream must be an http or https URL with a host, such as https://gitlab.example.com")
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return errors.New("the upstream URL must hold no user, query or fragment")
	case leadsIntoAPI(base.Path):
		return errors.New("the upstream URL leads into GitLab's API; give GitLab's own URL, without /api/v4")
	}
	return nil
}

// leadsIntoAPI reports whether a base path is one of GitLab's API, such as CI_API_V4_URL has. Below it no request would be about a
// package, so that all would be forwarded past rules and switches.
func leadsIntoAPI(path string) bool {
	segments := strings.FieldsFunc(strings.ToLower(path), func(c rune) bool { return c == '/' })
	for i, segment := range segments {
		if segment == "api" && (i == len(segments)-1 || segments[i+1] == "v4") {
			return true
		}
	}
	return false
}

// Upstream is the origin and base path of this GitLab, without a slash at the end: what keys and grants are told
// apart by.
func (c *Client) Upstream() string { return c.upstream }

// BasePath is the escaped path that stands before /api in this GitLab's URLs; empty for most.
func (c *Client) BasePath() string { return c.cfg.Base.EscapedPath() }

// Down is closed while GitLab isn't asked, since it doesn't answer. Ask again for each wait: once GitLab answers, another
// channel takes its place.
func (c *Client) Down() <-chan struct{} { return c.breakers.Load().gitlab.down() }

// ShowsChecksums reports whether this GitLab has named a SHA-256 (X-Checksum-SHA256, GitLab 18.6) since the client
// was made.
func (c *Client) ShowsChecksums() bool { return c.showsChecksums.Load() }

// Redirects reports whether this GitLab has sent a request to its object storage since the client was made.
func (c *Client) Redirects() bool { return c.redirects.Load() }

// Caller is who a request is made for. What checks and fetches tell GitLab of it either is in the fingerprint or in the
// grant's key, so that GitLab's answer depends on nothing that a grant doesn't cover.
type Caller struct {
	Credential Credential

	// ClientIP is the caller's address as Caddy trusts it. It is the only address that GitLab is told.
	ClientIP string

	// Proto and Host are how the caller reached the edge: "http" or "https", and the Host it named. Only forwarded
	// requests tell them.
	Proto, Host string

	// Trace holds the headers of a trace context (W3C traceparent, tracestate), or nil.
	Trace http.Header
}

// userAgent tells GitLab's admins which requests the edge makes on its own account.
const userAgent = "caddy-gitlab-packages"

// newRequest builds a request of the edge's own for ref: the caller's credential and address, and nothing else of
// what the caller sent, so that no other header can change what GitLab answers.
func (c *Client) newRequest(ctx context.Context, method string, caller Caller, ref Ref) (*http.Request, error) {
	target, err := c.target(ref.EscapedPath(), caller.Credential.Query())
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.cfg.Base.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("building a request to GitLab: %w", err)
	}
	request.URL = target
	maps.Copy(request.Header, caller.Trace)
	caller.Credential.AddTo(request.Header)
	// Scheme and host are the caller's to choose, and no part of a grant's key: GitLab's answer must not depend on them.
	caller.Proto, caller.Host = c.cfg.Base.Scheme, c.cfg.Base.Host
	caller.setForwarded(request.Header)
	request.Header.Set("User-Agent", userAgent)
	// Without this Go asks for gzip and unpacks it, and what arrives is no longer what was published.
	request.Header.Set("Accept-Encoding", "identity")
	return request, nil
}

// target is the URL of an escaped path below GitLab's base path. The path's bytes reach GitLab as they are.
func (c *Client) target(escapedPath, rawQuery string) (*url.URL, error) {
	path, err := url.PathUnescape(escapedPath)
	if err != nil {
		// The error of url would repeat the path; a path holds no secret, but is the caller's to shape.
		return nil, errors.New("building the URL for GitLab: invalid percent-encoding in the path")
	}
	target := *c.cfg.Base
	target.RawPath = target.EscapedPath() + escapedPath
	target.Path += path
	target.RawQuery = rawQuery
	return &target, nil
}

// setForwarded tells GitLab the one address, scheme and host that Caddy trusts. X-Forwarded-For holds a single
// address, never the chain a caller sent: what GitLab judges is then what the grant is keyed by.
func (caller Caller) setForwarded(header http.Header) {
	for name, value := range map[string]string{
		"X-Forwarded-For": caller.ClientIP, "X-Forwarded-Proto": caller.Proto, "X-Forwarded-Host": caller.Host,
	} {
		if value != "" {
			header.Set(name, value)
		}
	}
}

// askGitLab sends a request of the edge's own to GitLab and bounds the wait for the answer's head, unless it isn't to be
// asked now. The answer's body lives until it is closed, however long that takes; closing it also ends the request. A
// redirect to object storage that isn't followed is an error, and never an answer.
func (c *Client) askGitLab(request *http.Request, timeout time.Duration) (*http.Response, error) {
	server := c.breakers.Load().gitlab
	report, trying, err := server.admit(c.probeGitLab)
	if err != nil {
		return nil, err
	}
	if trying {
		timeout = min(timeout, c.cfg.CheckTimeout)
	}
	response, shown, err := c.roundTrip(forParts(request.Context(), c.cfg.PartTransport, c.cfg.Transport), request, timeout)
	report(shown)
	return c.unlessForbidden(response, server.unlessOpen(err))
}

// askStorage is askGitLab for the object storage.
func (c *Client) askStorage(request *http.Request, by requester) (*http.Response, error) {
	server := c.breakers.Load().storageAt(request.URL.Host)
	if by == aCaller {
		if err := server.notAsked(); err != nil {
			return nil, err
		}
		request = request.WithContext(requestedBy(request.Context(), aCaller))
		response, _, err := c.roundTrip(c.cfg.StorageTransport, request, c.cfg.HeaderTimeout)
		if err == nil {
			server.hear(response.StatusCode, false)
		}
		return response, err
	}
	report, trying, err := server.admit(c.probeStorage(request.URL))
	if err != nil {
		return nil, err
	}
	timeout := c.cfg.HeaderTimeout
	if trying {
		timeout = c.cfg.CheckTimeout
	}
	response, shown, err := c.roundTrip(forParts(request.Context(), c.cfg.PartStorageTransport, c.cfg.StorageTransport), request, timeout)
	report(shown)
	if err == nil {
		server.hear(response.StatusCode, false)
	}
	return response, server.unlessOpen(err)
}

// unlessForbidden notes an answer of GitLab's, and makes an error of a redirect that nobody may follow: to https, and one to
// object storage that isn't safe.
func (c *Client) unlessForbidden(response *http.Response, err error) (*http.Response, error) {
	if err != nil {
		return nil, err
	}
	c.heard(response)
	if c.redirectsToHTTPS(response) {
		_ = response.Body.Close()
		return nil, redirectedToHTTPS(response)
	}
	if err := c.forbiddenStorage(response); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	return response, nil
}

// roundTrip sends a request, bounds the wait for the answer's head, and tells what came of it about the server.
func (c *Client) roundTrip(transport http.RoundTripper, request *http.Request, timeout time.Duration) (*http.Response, evidence, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	timer := time.AfterFunc(timeout, func() { cancel(errHeaderTimeout) })
	var wait connectionWait
	response, err := transport.RoundTrip(request.WithContext(wait.traced(ctx)))
	if !timer.Stop() && err == nil {
		_ = response.Body.Close()
		err = errHeaderTimeout
	}
	shown := evidenceOf(ctx, response, err)
	if err != nil {
		if errors.Is(context.Cause(ctx), errHeaderTimeout) {
			err = errHeaderTimeout
			if wait.isInVain() {
				err = errNoConnection
			}
		}
		cancel(nil)
		return nil, shown, err
	}
	response.Body = &cancelingBody{ReadCloser: response.Body, cancel: cancel, stall: c.cfg.StallTimeout}
	return response, shown, nil
}
