package caddymodule

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/goldentest"
)

func TestATokenThatIsWrittenOutIsWarnedOfAndNotRepeated(t *testing.T) {
	t.Setenv("GITLAB_PACKAGES_TEST_TOKEN", "glpat-literal")
	for token, want := range map[string]bool{
		"glpat-literal": true, `"glpat-literal"`: true, "{$GITLAB_PACKAGES_TEST_TOKEN}": true, "glpat-literal{": true,
		"{env.GITLAB_EDGE_TOKEN}": false, "{file./run/secrets/token}": false, `"{env.GITLAB_EDGE_TOKEN}"`: false,
	} {
		logged := new(bytes.Buffer)
		core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(logged), zapcore.InfoLevel)
		setForTest(t, &process.adapterLog, func() *zap.Logger { return zap.New(core) })
		adapted := goldentest.Adapt(t, "localhost {\n\tgitlab_packages https://gitlab.example.com {\n\t\tapi_token "+token+"\n\t}\n}\n")
		if strings.HasPrefix(adapted, "error: ") {
			t.Fatalf("%s: %s", token, adapted)
		}
		warned := strings.Contains(logged.String(), `"level":"warn"`) && strings.Contains(logged.String(), `"line":3`) &&
			strings.Contains(logged.String(), `"file":"Caddyfile"`) && strings.Contains(logged.String(), "{env.GITLAB_EDGE_TOKEN}")
		if warned != want || (!want && logged.Len() > 0) || strings.Contains(logged.String(), "literal") {
			t.Errorf("%s: logged %q", token, logged)
		}
	}
}
