package caddymodule

import (
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestEachBuildWithTheHandlerHasTheEncoderAndTheCommand looks for all that the edge registers with Caddy: xcaddy is told of this
// package alone.
func TestEachBuildWithTheHandlerHasTheEncoderAndTheCommand(t *testing.T) {
	for _, id := range []string{
		"http.handlers.gitlab_packages", "gitlab_packages", "admin.api.gitlab_packages", "caddy.logging.encoders.gitlab_redacted",
	} {
		if _, err := caddy.GetModule(id); err != nil {
			t.Error(err)
		}
	}
	var verbs []string
	for _, verb := range commandLine().Commands() {
		verbs = append(verbs, verb.Name())
	}
	if want := []string{"demo", "disable", "enable", "entries", "projects", "purge", "reset", "status", "verify", "warm"}; !slices.Equal(verbs, want) {
		t.Errorf("the verbs are %v", verbs)
	}
}
