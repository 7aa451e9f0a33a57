package caddymodule

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// namedFile is a file of Go code in a package's overview, or several by a pattern, such as redact*.go.
var namedFile = regexp.MustCompile(`[\w*]+\.go\b`)

// TestEachFileIsNamedInItsPackagesOverview reads the doc.go of the three packages in which there are many files: who looks for
// where something is done begins there.
func TestEachFileIsNamedInItsPackagesOverview(t *testing.T) {
	for _, folder := range []string{"cache", "upstream", "caddymodule"} {
		patterns := namedFile.FindAllString(readText(t, filepath.Join("..", folder, "doc.go")), -1)
		files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
		if err != nil || len(files) < 50 {
			t.Fatalf("%s has %d files, %v", folder, len(files), err)
		}
		names := make(map[string]bool, len(files))
		for _, file := range files {
			names[filepath.Base(file)] = true
		}
		for name := range names {
			if name == "doc.go" || strings.HasSuffix(name, "_test.go") {
				continue
			}
			if !matchesAny(t, patterns, name) {
				t.Errorf("%s/doc.go doesn't name %s", folder, name)
			}
		}
		for _, pattern := range patterns {
			if !strings.Contains(pattern, "*") && !names[pattern] {
				t.Errorf("%s/doc.go names %s, which isn't there", folder, pattern)
			}
		}
	}
}

func matchesAny(t *testing.T, patterns []string, name string) bool {
	t.Helper()
	for _, pattern := range patterns {
		if matches, err := filepath.Match(pattern, name); err != nil {
			t.Fatal(err)
		} else if matches {
			return true
		}
	}
	return false
}
