package caddymodule

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEachStateThatOthersFeelHasOneDoor holds the code against docs/who-may-change-what.md: what changes such a state is
// called in the files that judge the evidence, and nowhere else.
func TestEachStateThatOthersFeelHasOneDoor(t *testing.T) {
	doors := map[string][]string{
		`\.Raise\(`:             {"change.go", "admin_purge.go"},
		`\.Question\(`:          {"change.go", "hear.go"},
		`\.Doubt\(`:             {"fetch.go", "serve.go"},
		`grants\.Allow\(`:       {"hear.go"},
		`grants\.Refuse\(`:      {"hear.go"},
		`grants\.Forget\(`:      {"admin_purge.go"},
		`rests\.note\(`:         {"rest.go"},
		`formers\.note\(`:       {"change.go"},
		`publishers\.note\(`:    {"publish.go"},
		`publishedSums\.note\(`: {"publish.go"},
		`UnprovenUpload\(`:      {"publish.go"},
		`\.Leave\(`:             {"beginning.go"},
		`\.Owe\(`:               {"publish.go", "shared_read.go"},
		`\.OweUnshared\(`:       {"shared_write.go"},
		`\.OweInPlaceOfWrong\(`: {"shared_read.go"},
		`\.Distrust\(`:          {"shared_read.go", "shared_write.go"}, // by whom the entry says so that was stored since
		`uncompared\.note\(`:    {"uncompared.go"},
		`\.TakeFrom\(`:          {"shared_read.go"},
		`TakeBeginning\(`:       {"beginning.go"},
		`outcomeOffline\)`:      {"serve.go"},
		`\.aliases\.Ask\(`:      {"admission.go", "admin_projects.go", "names.go"},
		`\.aliases\.Renewal\(`:  {"admission.go"},
		`NewYes\(|NewRefusal\(`: nil, // upstream makes them of answers
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for call, allowed := range doors {
		pattern, called := regexp.MustCompile(call), []string(nil)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if pattern.Match(source) {
				called = append(called, file)
			}
		}
		for _, file := range called {
			if !slices.Contains(allowed, file) {
				t.Errorf("%s is called in %s", call, file)
			}
		}
		if len(called) < len(allowed) {
			t.Errorf("%s is called in %v only, and should be in %v", call, called, allowed)
		}
	}
}
