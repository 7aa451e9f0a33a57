package caddymodule

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// aliasMemories holds what each GitLab has told of its projects' names, across reloads: a reload while GitLab can't be
// asked must not serve a project by a name whose switch is known by another. Each is bounded, and ends with the last
// handler that uses it.
var aliasMemories = caddy.NewUsagePool()

// aliasSource is who told: what GitLab shows depends on the token, which is here as a keyed hash only.
type aliasSource struct {
	upstream string
	token    upstream.Fingerprint
}

var aliasTokens = upstream.NewFingerprinter()

// aliasMemory is a memory that needs nothing to end.
type aliasMemory struct{ *upstream.AliasMemory }

func (aliasMemory) Destruct() error { return nil }

func (h *Handler) aliasSource() aliasSource {
	return aliasSource{h.client.Upstream(), aliasTokens.Of(upstream.TokenCredential(h.APIToken))}
}

// provisionAliases makes the finder of other names, with what former handlers have learnt.
func (h *Handler) provisionAliases() {
	fresh := aliasMemory{upstream.NewAliasMemory()}
	memory, _ := aliasMemories.LoadOrStore(h.aliasSource(), fresh)
	h.aliases = upstream.NewAliases(h.client, h.APIToken, memory.(aliasMemory).AliasMemory)
	h.aliasTrouble = &rate.Sometimes{Interval: time.Minute}
}

// releaseAliases gives the memory back. Requests that are still served use it to their end.
func (h *Handler) releaseAliases() error {
	if h.aliases == nil {
		return nil
	}
	if _, err := aliasMemories.Delete(h.aliasSource()); err != nil {
		return fmt.Errorf("giving back the names of projects: %w", err)
	}
	return nil
}
