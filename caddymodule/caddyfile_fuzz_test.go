package caddymodule

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/goldentest"
)

// FuzzCaddyfile reads anything as the directive. What is taken means the same when it is written as JSON and read again;
// what isn't is refused with its place.
func FuzzCaddyfile(f *testing.F) {
	for _, input := range goldentest.Inputs(f, "testdata/caddyfile") {
		_, directive, ok := strings.Cut(input, "gitlab_packages")
		if end := strings.LastIndex(directive, "}"); ok && end >= 0 {
			f.Add("gitlab_packages" + directive[:end])
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		var taken Handler
		if err := taken.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			if !strings.Contains(err.Error(), "Caddyfile:") {
				t.Errorf("the error names no place: %v", err)
			}
			return
		}
		written, err := json.Marshal(&taken) //nolint:gosec // there is no secret in it
		if err != nil {
			t.Fatalf("what was taken can't be written: %v", err)
		}
		var again Handler
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		rewritten, err := json.Marshal(&again) //nolint:gosec // nor here
		if err != nil || !bytes.Equal(written, rewritten) {
			t.Errorf("%s became %s, %v", written, rewritten, err)
		}
	})
}
