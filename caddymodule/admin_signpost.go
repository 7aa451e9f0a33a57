package caddymodule

import (
	"net/http"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// wherePagesAre is for people who look for the page here.
const wherePagesAre = "the page about this edge is where a site of the Caddyfile has the directive gitlab_packages_page, " +
	"by example at http://localhost:2020; this is the API, for programs"

// adminSignpost answers GET of the admin API's path itself.
func (a *App) adminSignpost(r *http.Request) (any, error) {
	if err := readQuery(r, nil); err != nil {
		return nil, err
	}
	return adminapi.Signpost{Page: wherePagesAre}, nil
}
