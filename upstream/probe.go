package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// probePath is the URL path that GitLab is probed by: a generic package of a project that can't exist (contract, section 6).
// GitLab's own code answers it, behind all that stands before GitLab, and it costs GitLab next to nothing.
const probePath = "/api/v4/projects/0/packages/generic/probe/0.0.0/probe"

// probeTimeout bounds a probe.
const probeTimeout = 3 * time.Second

// probeGitLab asks GitLab about nothing, without a credential. GitLab answers below 500; nil if something did.
func (c *Client) probeGitLab(ctx context.Context) error {
	target, err := c.target(probePath, "")
	if err != nil {
		return err
	}
	return c.probe(ctx, c.cfg.ProbeTransport, target)
}

// probeStorage asks the origin of a host of the object storage, unsigned. A 403 is life.
func (c *Client) probeStorage(origin *url.URL) func(context.Context) error {
	target := &url.URL{Scheme: origin.Scheme, Host: origin.Host, Path: "/"}
	return func(ctx context.Context) error { return c.probe(ctx, c.cfg.StorageProbeTransport, target) }
}

// probe sends one request of the edge's own and looks at the answer's status alone.
func (c *Client) probe(ctx context.Context, transport http.RoundTripper, target *url.URL) error {
	response, err := c.sendProbe(ctx, transport, target, probeTimeout) //nolint:bodyclose // sendProbe has closed it
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusInternalServerError {
		return errors.New("the probe was answered " + response.Status)
	}
	return nil
}

// sendProbe sends one request of the edge's own, on a new connection if the transport is one of Connections, and returns the
// head of the answer, whose body is closed.
func (c *Client) sendProbe(ctx context.Context, transport http.RoundTripper, target *url.URL, timeout time.Duration) (*http.Response, error) {
	defer c.cfg.Hold()()
	ctx, cancel := context.WithTimeout(requestedBy(ctx, aProbe), timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://probe.invalid/", nil)
	if err != nil {
		return nil, err
	}
	request.URL, request.Host = target, ""
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept-Encoding", "identity")
	response, err := neverUpgraded{transport}.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	return response, nil
}
