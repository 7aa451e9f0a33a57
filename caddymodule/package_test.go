package caddymodule

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReleasesHaveTheDebianPackageThatIsTried: nfpm.yaml is what .ci/run builds and installs, .goreleaser.yaml what a release has.
func TestReleasesHaveTheDebianPackageThatIsTried(t *testing.T) {
	tried, err := os.ReadFile("../deploy/debian/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	released, err := os.ReadFile("../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The program itself is goreleaser's own matter.
	_, contents, ok := strings.Cut(regexp.MustCompile(`(?m)^ *#.*\n`).ReplaceAllString(string(tried), ""), "dst: /usr/bin/caddy\n")
	if !ok {
		t.Fatal("the package has no /usr/bin/caddy")
	}
	contents, scripts, ok := strings.Cut(contents, "scripts:\n")
	if !ok {
		t.Fatal("the package has no scripts")
	}
	_, contents, _ = strings.Cut(contents, "  - ")
	parts := strings.Split(contents, "  - ")
	if len(parts) < 7 {
		t.Fatalf("found only %d files", len(parts))
	}
	for i := range parts {
		parts[i] = "  - " + parts[i]
	}
	for script := range strings.Lines(scripts) {
		parts = append(parts, script)
	}
	for _, part := range parts {
		indented := strings.TrimRight(strings.ReplaceAll("    "+part, "\n", "\n    "), " \n") + "\n"
		if !strings.Contains(string(released), indented) {
			t.Errorf(".goreleaser.yaml doesn't have\n%s", indented)
		}
	}
}
