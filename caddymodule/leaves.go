package caddymodule

import (
	// The command line, the log encoder and the page are no part of the handler, but belong into each build that has it. xcaddy is
	// told of this package alone.
	_ "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/command"
	_ "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/page"
	_ "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/redactlog"
)
