package caddymodule

import (
	// The log encoder is no part of the handler, and belongs into each build that has it: xcaddy is told of this package alone.
	_ "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/redactlog"
)
