package caddymodule

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// aliasSource is who told: what GitLab shows depends on the token, which is here as a keyed hash only.
type aliasSource struct {
	upstream string
	token    upstream.Fingerprint
}

// aliasMemory is a memory that needs nothing to end.
type aliasMemory struct{ *upstream.AliasMemory }

func (aliasMemory) Destruct() error { return nil }

func (h *Handler) aliasSource() aliasSource {
	return aliasSource{h.client.Upstream(), h.process.tokens.Of(upstream.TokenCredential(h.APIToken))}
}

// provisionAliases makes the finder of other names, with what former handlers have learnt.
func (h *Handler) provisionAliases() {
	fresh := aliasMemory{upstream.NewAliasMemory()}
	memory, _ := h.process.aliasMemories.LoadOrStore(h.aliasSource(), fresh)
	h.aliases = upstream.NewAliases(h.client, h.APIToken, memory.(aliasMemory).AliasMemory)
	h.aliasTrouble = &rate.Sometimes{Interval: time.Minute}
}

// releaseAliases gives the memory back. Requests that are still served use it to their end.
func (h *Handler) releaseAliases() error {
	if h.aliases == nil {
		return nil
	}
	if _, err := h.process.aliasMemories.Delete(h.aliasSource()); err != nil {
		return fmt.Errorf("giving back the names of projects: %w", err)
	}
	return nil
}
