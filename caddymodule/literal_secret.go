package caddymodule

import (
	"regexp"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// placeholder is what Caddy resolves when a config is loaded, such as {env.GITLAB_EDGE_TOKEN}. A {$VARIABLE} isn't one:
// the adapter puts its value in before a directive is read.
var placeholder = regexp.MustCompile(`\{[^{}$ ]+\}`)

// literalSecretOption reads a secret, and warns of one that is written out: whoever sees the adapted config, or asks the admin
// API for /config/, sees it.
func literalSecretOption(variable string, target *string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		option := d.Val()
		if err := secretOption(func(value string) { *target = value })(d); err != nil {
			return err
		}
		if !placeholder.MatchString(*target) {
			process.adapterLog().Warn(
				option+" stands in the config itself, which caddy adapt and the admin API's /config/ show; "+
					"write {env."+variable+"} and put it into that environment variable (a {$VARIABLE} is replaced before, and shows too)",
				zap.String("file", d.File()), zap.Int("line", d.Line()))
		}
		return nil
	}
}
