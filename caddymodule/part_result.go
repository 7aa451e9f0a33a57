package caddymodule

import (
	"errors"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// partResult is how a part ended: one closed set for the metrics.
type partResult string

const (
	partArrived partResult = "arrived"
	// partFailed: it broke off for good, nothing of it came, or it was refused.
	partFailed partResult = "failed"
	// partLimited: the server wants fewer requests.
	partLimited partResult = "limited"
	// partWhole: the server gives no parts.
	partWhole partResult = "whole"
	// partChanged: the file is another one now.
	partChanged partResult = "changed"
	// partNoGain: the connection has made nothing faster, and was given up.
	partNoGain partResult = "no_gain"
	// partStopped: the fetch had ended.
	partStopped partResult = "stopped"
)

var (
	allPartResults = []partResult{partArrived, partFailed, partLimited, partWhole, partChanged, partNoGain, partStopped}
	// fallBacks are those after which a file goes on by one connection.
	fallBacks = []partResult{partFailed, partLimited, partWhole, partNoGain}
)

func partResultOf(err error) partResult {
	switch {
	case err == nil:
		return partArrived
	case errors.Is(err, errNoGain):
		return partNoGain
	case errors.Is(err, upstream.ErrChanged):
		return partChanged
	case givesNoParts(err):
		return partWhole
	case upstream.EndsParts(err), isSlowDown(err):
		return partLimited
	case errors.Is(err, errPartStopped), errors.Is(err, errClosing), errors.Is(err, cache.ErrDisk), errors.Is(err, cache.ErrFillsEnded):
		return partStopped
	}
	return partFailed
}

// givesNoParts reports whether a server has shown that it gives no parts.
func givesNoParts(err error) bool {
	return errors.Is(err, upstream.ErrNoParts) || errors.Is(err, bucket.ErrNoParts)
}

// isSlowDown reports whether the shared store has said that there are too many requests.
func isSlowDown(err error) bool {
	trouble, ok := errors.AsType[*bucket.TroubleError](err)
	return (ok && trouble.SlowDown) || errors.Is(err, bucket.ErrResting)
}
