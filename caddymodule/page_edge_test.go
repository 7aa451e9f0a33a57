package caddymodule

import "github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/page"

// The page makes the admin API's calls of the app of its config.
var _ page.Edge = (*App)(nil)
