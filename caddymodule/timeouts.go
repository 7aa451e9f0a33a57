package caddymodule

import (
	"cmp"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// checkTimeouts refuses time-outs that aren't positive: 0 would be taken for "at once" by one reader, for "never" by another,
// and for the default by a third. So is a check_timeout of more than header_timeout, which holds for all questions.
func (h *Handler) checkTimeouts() error {
	for _, timeout := range []struct {
		name    string
		setting *caddy.Duration
	}{
		{"header_timeout", h.HeaderTimeout}, {"check_timeout", h.CheckTimeout}, {"publish_timeout", h.PublishTimeout}, {"stall_timeout", h.StallTimeout},
	} {
		if timeout.setting != nil && *timeout.setting <= 0 {
			return fmt.Errorf("%s must be more than 0; leave it out for the default", timeout.name)
		}
	}
	if header := cmp.Or(orDefault(h.HeaderTimeout), upstream.DefaultHeaderTimeout); orDefault(h.CheckTimeout) > header {
		return fmt.Errorf("check_timeout (%s) is more than header_timeout (%s)", orDefault(h.CheckTimeout), header)
	}
	return nil
}

// orDefault is a duration that is set; 0, which stands for the default, where it isn't.
func orDefault(setting *caddy.Duration) time.Duration {
	if setting == nil {
		return 0
	}
	return time.Duration(*setting)
}
