package upstream

import "time"

// Use is what a grant is used for. Each has a life of its own (Life).
type Use int

const (
	// UseFresh is to serve without asking GitLab.
	UseFresh Use = iota
	// UseRateLimited is to serve when GitLab has answered 429 and not looked at the credential.
	UseRateLimited
	// UseOffline is to serve while GitLab is unreachable.
	UseOffline
)

// Life is how long a grant counts for each use, from when GitLab was asked. Zero is not at all.
type Life struct {
	Fresh, RateLimited, Offline time.Duration
}

func (l Life) of(use Use) time.Duration {
	switch use {
	case UseFresh:
		return l.Fresh
	case UseRateLimited:
		return l.RateLimited
	case UseOffline:
		return l.Offline
	}
	return 0
}

func (l Life) longest() time.Duration { return max(l.Fresh, l.RateLimited, l.Offline) }

// with returns, for each use, the longer of a life and what is left of an earlier one after that time. Handlers with
// different settings give grants to one caller, and a later yes takes nothing away.
func (l Life) with(earlier Life, after time.Duration) Life {
	return Life{
		Fresh:       max(l.Fresh, earlier.Fresh-after),
		RateLimited: max(l.RateLimited, earlier.RateLimited-after),
		Offline:     max(l.Offline, earlier.Offline-after),
	}
}

// Grant is GitLab's yes, as it is remembered.
type Grant struct {
	// Sent is when the request was sent to which GitLab said yes.
	Sent time.Time
	// Life was fixed when the grant was given.
	Life Life
}

// Covers reports whether the grant is good for that use now. Both count, the life that it was given and the present
// settings: longer settings revive nothing that has ended, and shorter ones take effect at once.
func (g Grant) Covers(use Use, settings Life, now time.Time) bool {
	return now.Sub(g.Sent) < min(g.Life.of(use), settings.of(use))
}
