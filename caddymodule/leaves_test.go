package caddymodule

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestEachBuildWithTheHandlerHasTheEncoderTheCommandAndThePage looks for all that the edge registers with Caddy: xcaddy is told of this
// package alone.
func TestEachBuildWithTheHandlerHasTheEncoderTheCommandAndThePage(t *testing.T) {
	for _, id := range []string{
		"http.handlers.gitlab_packages", "gitlab_packages", "admin.api.gitlab_packages", "caddy.logging.encoders.gitlab_redacted",
		"http.handlers.gitlab_packages_page",
	} {
		if _, err := caddy.GetModule(id); err != nil {
			t.Error(err)
		}
	}
	verbs := ""
	for _, verb := range commandLine().Commands() {
		verbs += " " + verb.Name()
	}
	if verbs != " activity demo disable enable entries projects purge refusals reset status unpin usage verify version warm" {
		t.Errorf("the verbs are%s", verbs)
	}
}
