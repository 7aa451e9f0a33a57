package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// printedBuilds are the pages that may tell how to build with xcaddy.
func printedBuilds(t *testing.T) (lines []string) {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(projectRoot, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(projectRoot, "README.md"), filepath.Join(projectRoot, "CONTRIBUTING.md")) {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, regexp.MustCompile("(?m)(?:^|`)xcaddy build [^`\n]*").FindAllString(string(content), -1)...)
	}
	return lines
}

// TestThePrintedXcaddyLinesAreRight reads each line as xcaddy would: --with names a package, --replace a module and the folder
// that is compiled instead (its cmd/commands.go). One at least works from a checkout, also while the module isn't published.
func TestThePrintedXcaddyLinesAreRight(t *testing.T) {
	builder := readXcaddyJSON(t)
	module := readGoMod(t).Module.Path
	fromCheckout := false
	for _, line := range printedBuilds(t) {
		words := strings.Fields(strings.Trim(line, "`"))
		if len(words) < 3 || words[2] != builder.CaddyVersion {
			t.Errorf("%q builds another Caddy than %s", line, builder.CaddyVersion)
		}
		var plugins []string
		for at := 3; at < len(words); at += 2 {
			value := ""
			if at+1 < len(words) {
				value = words[at+1]
			}
			switch words[at] {
			case "--with":
				plugins = append(plugins, value)
			case "--replace":
				replaced, folder, _ := strings.Cut(value, "=")
				if replaced != module {
					t.Errorf("%q replaces %q, and the module is %s", line, replaced, module)
				}
				// xcaddy takes a folder for one only if it begins with a dot or a slash.
				if _, err := os.Stat(filepath.Join(projectRoot, folder, "go.mod")); err != nil || !strings.HasPrefix(folder, ".") {
					t.Errorf("%q takes the code from %q, where no module is", line, folder)
				}
				fromCheckout = true
			default:
				t.Errorf("%q has the word %q", line, words[at])
			}
		}
		if !slices.Contains(plugins, builder.Plugins[0].PackagePath) {
			t.Errorf("%q doesn't plug in %s, as xcaddy.json does", line, builder.Plugins[0].PackagePath)
		}
		for _, plugin := range plugins {
			folder, isOwn := strings.CutPrefix(plugin, module+"/")
			if sources, err := filepath.Glob(filepath.Join(projectRoot, folder, "*.go")); isOwn && (err != nil || len(sources) == 0) {
				t.Errorf("%q plugs in %s, where no Go code is; %v", line, plugin, err)
			}
		}
	}
	if !fromCheckout {
		t.Error("no page prints a line that works from a checkout, with --replace")
	}
}
