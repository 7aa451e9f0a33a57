package caddymodule

import (
	"net/http"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// publishEnd is what was seen of a request that may have changed a file: a method other than GET, HEAD and OPTIONS (design,
// "One PUT"; contract, section 10).
type publishEnd int

const (
	// publishUnsent: GitLab can't have taken it, or the caller was told so: a body that wasn't sent or not finished, or that an
	// open breaker or a failed dial kept from GitLab; an answer of 3xx or 4xx. The zero value.
	publishUnsent publishEnd = iota
	// publishTaken: GitLab has said 2xx, whatever was seen of the body.
	publishTaken
	// publishUnanswered: GitLab has got the whole body, and answered 5xx or not at all. It may have taken it, and nobody was told
	// so.
	publishUnanswered
)

// publishEndOf reads it off GitLab's status, 0 if there was no answer.
func publishEndOf(status int, delivery *upstream.Delivery) publishEnd {
	switch {
	case status >= http.StatusOK && status < http.StatusMultipleChoices:
		return publishTaken
	case (status == 0 || status >= http.StatusInternalServerError) && delivery.IsWhole():
		return publishUnanswered
	}
	return publishUnsent
}

// change is the door through which publishes change what others get (docs/who-may-change-what.md). It returns the
// generation of the first key afterwards.
//
// Taken: the names begin a new generation under this spelling of the project and all that are known to be the same. Under
// other spellings, which may be the same project's, GitLab is asked. Unanswered: GitLab is asked. All else changes nothing.
func (h *Handler) change(s *state, store *cache.Store, end publishEnd, keys []cache.Key) (after cache.Generation) {
	for i, key := range keys {
		switch end {
		case publishTaken:
			for _, alias := range h.aliasesOf(key) {
				h.raise(s, store, alias)
			}
			generation := h.raise(s, store, key)
			store.Question(key, s.now(), cache.PublishedElsewhere)
			if i == 0 {
				after = generation
			}
			// A store that took the place of a lost one meanwhile may have begun to fetch what is published over.
			if present := s.store.Load(); present != nil && present != store {
				for _, alias := range append(h.aliasesOf(key), key) {
					h.raise(s, present, alias)
				}
				present.Question(key, s.now(), cache.PublishedElsewhere)
			}
		case publishUnanswered:
			store.Question(key, s.now(), cache.UploadUnanswered)
		case publishUnsent:
		}
	}
	return after
}

// raise begins a new generation of a key that was published, and remembers how GitLab named what is published over.
func (h *Handler) raise(s *state, store *cache.Store, key cache.Key) cache.Generation {
	if entry, err := store.Lookup(key); err == nil {
		s.formers.note(key, identityOf(entry), s.now())
	}
	return store.Raise(key, cache.Published)
}

// aliasesOf are the keys of the same file by all other names of the project that the edge knows.
func (h *Handler) aliasesOf(key cache.Key) (keys []cache.Key) {
	for _, name := range h.knownNames(key.Project) {
		if name != key.Project {
			alias := key
			alias.Project = name
			keys = append(keys, alias)
		}
	}
	return keys
}
