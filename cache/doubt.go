package cache

import (
	"fmt"
	"time"
)

// DoubtReason says how the upstream contradicted what is stored. The zero value is none.
type DoubtReason uint8

// OtherContentNamed says that the upstream has said yes to somebody and named other content than what is stored. Nothing less is a
// reason: a refusal says something about who asks, and a stranger must not end what others are served in an outage.
const OtherContentNamed DoubtReason = 1

// String names the reason.
func (r DoubtReason) String() string {
	if r == OtherContentNamed {
		return "other content named"
	}
	return fmt.Sprintf("doubt reason %d", uint8(r))
}

// Doubt notes that the upstream, asked at `at`, named other content than the key's. Whatever it said of the key when it
// was asked at that time or before counts no more: what is stored is unconfirmed, also for callers who come while the
// upstream can't be asked, and what arrives late is not confirmed by it.
//
// Anybody may call it at any time. Within seconds of a publish the other content may be what a replica of the upstream
// still has, which the caller must rule out first: the upstream may name it in a way that the store can't compare
// (caddymodule/former.go). Doubt panics without a reason: that is an error in the program, and to go on would serve a
// file that is known to be old.
func (s *Store) Doubt(k Key, at time.Time, why DoubtReason) {
	if why != OtherContentNamed {
		panic("cache: a doubt without a reason: " + why.String())
	}
	since := at.Sub(s.started)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers.doubt(k, since)
	if n := s.entries.peek(k.hash()); n != nil && n.confirmed <= since {
		n.confirmed = unconfirmed
	}
}

// IsDoubted reports whether it is known (Doubt) that what the upstream said of the key, asked at `at`, is out of date.
func (s *Store) IsDoubted(k Key, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers.isDoubted(k, at.Sub(s.started))
}
