package upstream

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"time"
)

// StartAnswer is how GitLab answered the question that the edge asks at its start. It is for people: no breaker, grant or file
// depends on it.
type StartAnswer struct {
	// Sent is when it was asked, and Took how long the head of the answer took, or the failure.
	Sent time.Time
	Took time.Duration
	// Status is the answer's, 0 if there was none, and ContentType its media type without parameters.
	Status      int
	ContentType string
	// Location is where a redirect leads, without its query; empty if it is none.
	Location string
	// Err says why GitLab can't be asked: nobody answered, or with a server error, or by a redirect to https
	// (ErrRedirectsToHTTPS). It is free of URLs and credentials.
	Err error
}

// startTimeout bounds the start's question. It is longer than a probe's, since a slow answer is worth knowing too.
const startTimeout = 10 * time.Second

// AskAtStart asks GitLab what the probe asks, without a credential, on a new connection, and waits for 10 s at most. It ends with
// ctx. What comes of it neither opens nor closes a breaker.
func (c *Client) AskAtStart(ctx context.Context) StartAnswer {
	answer := StartAnswer{Sent: time.Now()}
	target, err := c.target(probePath, "")
	if err != nil {
		answer.Err = err
		return answer
	}
	response, err := c.sendProbe(ctx, c.cfg.ProbeTransport, target, startTimeout) //nolint:bodyclose // sendProbe has closed it
	answer.Took = time.Since(answer.Sent)
	if err != nil {
		answer.Err = err
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			answer.Err = wrapped.Err // without the URL, which a proxy's error would have
		}
		return answer
	}
	answer.Status = response.StatusCode
	answer.ContentType, _, _ = mime.ParseMediaType(response.Header.Get("Content-Type"))
	if location, ok := redirectLocation(response); ok {
		answer.Location = location.Scheme + "://" + (&redirectTarget{location}).String()
	}
	switch c.heard(response); {
	case response.StatusCode >= http.StatusInternalServerError:
		answer.Err = statusUnreachable(response).Err
	case c.redirectsToHTTPS(response):
		answer.Err = ErrRedirectsToHTTPS
	}
	return answer
}

// LooksLikeGitLab reports whether the answer is one that GitLab gives to who asks without a credential for a project that can't
// exist: a refusal in JSON (contract, section 6). Something in front of GitLab that answers in its place doesn't look like it,
// and neither does another server.
func (a StartAnswer) LooksLikeGitLab() bool {
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return a.ContentType == "application/json"
	}
	return false
}
