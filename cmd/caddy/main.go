// Command caddy is Caddy with its standard modules and the GitLab packages edge.
// It is what `xcaddy build` makes from xcaddy.json; package caddymodule brings the
// edge's own verbs, so that every such build has them.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	// Plugged in by their init functions: Caddy's standard modules.
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	// The edge.
	_ "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule"
)

func main() {
	caddycmd.Main()
}
