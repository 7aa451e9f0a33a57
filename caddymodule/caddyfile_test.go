package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/internal/goldentest"
)

// TestCaddyfileGoldens adapts each Caddyfile of testdata/caddyfile and compares with the JSON, or the error, below it.
func TestCaddyfileGoldens(t *testing.T) { goldentest.Run(t, "testdata/caddyfile") }

// TestAWordInAnotherBlockIsToldWhereItBelongs puts each word of each block into all others.
func TestAWordInAnotherBlockIsToldWhereItBelongs(t *testing.T) {
	blocks := map[string]struct {
		words []string
		place string
		lines string // around a word, which takes the place of the %s
	}{
		"gitlab_packages": {slices.Collect(maps.Keys(new(Handler).options(nil))), "the block of gitlab_packages", "%s"},
		"cache":           {slices.Collect(maps.Keys(cacheOptions(new(Cache)))), "cache { }", "cache {\n%s\n}"},
		"rules":           {slices.Collect(maps.Keys(rulesOptions(new(Rules)))), "rules { }", "rules {\n%s\n}"},
		"projects":        {[]string{"on", "off"}, "projects { }", "projects {\n%s\n}"},
	}
	for of, belongs := range blocks {
		for in, block := range blocks {
			for _, word := range belongs.words {
				if of == in {
					continue
				}
				got := goldentest.Adapt(t, "localhost {\n gitlab_packages https://gitlab.example.com {\n"+fmt.Sprintf(block.lines, word+" 1")+"\n }\n}\n")
				if !strings.HasPrefix(got, "error: ") || !strings.Contains(got, fmt.Sprintf("%s has no option %q", in, word)) ||
					!strings.Contains(got, word+" belongs into "+belongs.place) {
					t.Errorf("%s in %s: %s", word, in, got)
				}
			}
		}
	}
}

func TestNoErrorOfTheCaddyfileRepeatsTheToken(t *testing.T) {
	for _, option := range []string{
		"api_token glpat-secret extra",
		"api_token Bearer glpat-secret",
		"api_token Bearer glpat-secret extra",
		"api_token {\n glpat-secret\n}",
		"api_token glpat-secret {\n extra\n}",
		"api_token glpat-secret {\n glpat-secret\n}",
		"api_token glpat-secret\napi_token glpat-secret",
	} {
		got := goldentest.Adapt(t, "localhost {\n gitlab_packages https://gitlab.example.com {\n"+option+"\n }\n}\n")
		if !strings.HasPrefix(got, "error: ") || strings.Contains(got, "secret") {
			t.Errorf("%q: %s", option, got)
		}
	}
}

func TestIdentityHeadersAreOnlyThoseThatReachGitLab(t *testing.T) {
	for name, passes := range map[string]bool{
		"X-Company-User": true, "Ssl-Client-Cert": true,
		"Client-Ip": false, "x-real-ip": false, "Forwarded": false, "X-Original-URL": false, "Gitlab-Bypass-Rate-Limiting": false,
		"True-Client-IP": false, "X-Forwarded-For": false, "Proxy-Authorization": false,
	} {
		got := goldentest.Adapt(t, "localhost {\n gitlab_packages https://gitlab.example.com {\nidentity_headers "+name+"\n }\n}\n")
		if refused := strings.HasPrefix(got, "error: ") && strings.Contains(got, "identity_headers: "+name); refused == passes {
			t.Errorf("%s: %s", name, got)
		}
	}
}
