package caddymodule

import (
	"fmt"
	"regexp"

	"github.com/caddyserver/caddy/v2"
)

// patternPlaceholder is a placeholder in a pattern, where braces and backslashes have another meaning too: a{2,3} and \{ aren't
// for Caddy. The names are those of the placeholders that Caddy knows when it loads a config.
var patternPlaceholder = regexp.MustCompile(`\{(?:env|file|system|time)\.[^{}]*\}`)

// replaceInPatterns resolves the placeholders of own patterns. What a variable holds is a part of the pattern, not a literal.
func (r *Rules) replaceInPatterns(replacer *caddy.Replacer) (err error) {
	for _, pattern := range []*string{&r.PackageName, &r.PackageVersion, &r.FileName} {
		*pattern = patternPlaceholder.ReplaceAllStringFunc(*pattern, func(placeholder string) string {
			replaced, failed := replacer.ReplaceOrErr(placeholder, true, true)
			if failed != nil {
				err = fmt.Errorf("rules: resolving placeholders: %w", failed)
			}
			return replaced
		})
	}
	return err
}
