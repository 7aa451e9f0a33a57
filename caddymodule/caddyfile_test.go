package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var updateGoldens = flag.Bool("update", false, "write what the adapter says into testdata/caddyfile")

const goldenSeparator = "\n----------\n"

// TestCaddyfileGoldens adapts each Caddyfile of testdata/caddyfile and compares with the JSON, or the error, below it.
func TestCaddyfileGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(golden), goldenSeparator)
			got := adaptForGolden(t, input)
			if *updateGoldens {
				if err := os.WriteFile(file, []byte(input+goldenSeparator+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			refused := strings.HasPrefix(filepath.Base(file), "refuse_")
			if isError := strings.HasPrefix(got, "error: "); isError != refused {
				t.Errorf("a file named refuse_* must be refused, and no other; got %s", got)
			}
			if refused && !strings.Contains(got, "Caddyfile:") {
				t.Errorf("the error names no line: %s", got)
			}
		})
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
		got := adaptForGolden(t, "localhost {\n gitlab_packages https://gitlab.example.com {\n"+option+"\n }\n}\n")
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
		got := adaptForGolden(t, "localhost {\n gitlab_packages https://gitlab.example.com {\nidentity_headers "+name+"\n }\n}\n")
		if refused := strings.HasPrefix(got, "error: ") && strings.Contains(got, "identity_headers: "+name); refused == passes {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// adaptForGolden returns the handler's part of the adapted JSON, or the error.
func adaptForGolden(t *testing.T, caddyfile string) string {
	t.Helper()
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	for _, warning := range warnings {
		if !strings.Contains(warning.Message, "not formatted") {
			t.Errorf("warning: %s", warning.Message)
		}
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, adapted, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return indented.String() + "\n"
}
