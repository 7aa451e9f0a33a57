// Command caddy is Caddy with the handler of package ceiling and without the edge. bench/run builds it.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	// Plugged in by their init functions: Caddy's standard modules.
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	// The handler.
	_ "github.com/gitlab-edge/caddy-gitlab-packages/bench/ceiling"
)

func main() {
	caddycmd.Main()
}
