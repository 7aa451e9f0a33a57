package page

import (
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/goldentest"
)

// TestCaddyfileGoldens adapts each Caddyfile of testdata/caddyfile and compares with the JSON, or the error, below it.
func TestCaddyfileGoldens(t *testing.T) { goldentest.Run(t, "testdata/caddyfile") }
