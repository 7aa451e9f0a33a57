package caddymodule

import (
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// target is a file as GitLab's URLs name it, and as the store does.
type target struct {
	ref upstream.Ref
	key cache.Key
}

// targetOf is a file of the handler's GitLab. Entries and fetches belong to the spelling of the project that was asked for
// (design, "Keys and aliases").
func (h *Handler) targetOf(ref upstream.Ref) target {
	return target{ref, cache.Key{
		Upstream: h.client.Upstream(), Project: ref.Project, Package: ref.Package, Version: ref.Version, File: ref.File,
	}}
}
