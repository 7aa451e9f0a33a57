// Package goldentest compares what Caddy's adapter makes of Caddyfiles with golden files, for the tests of all packages that
// read a part of a Caddyfile.
//
// A golden file is named *.caddyfiletest and has a Caddyfile, a line of ten hyphens, and the JSON or the error that the adapter
// makes of it. A file whose name begins with refuse_ must be refused, and no other. The flag -update writes the golden files
// anew:
//
//	go test ./caddymodule -run Goldens -update
package goldentest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	// The adapter for Caddyfiles, and the directives and encoders that golden files name.
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what the adapter says into the golden files")

const separator = "\n----------\n"

// Run adapts each Caddyfile of a folder and compares with the JSON, or the error, below it. Each is a test of its own.
func Run(t *testing.T, folder string) {
	t.Helper()
	for _, file := range files(t, folder) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) { compare(t, file) })
	}
}

func compare(t *testing.T, file string) {
	t.Helper()
	golden, err := os.ReadFile(file) //nolint:gosec // a file of the tests'
	if err != nil {
		t.Fatal(err)
	}
	input, want, _ := strings.Cut(string(golden), separator)
	got := Adapt(t, input)
	if *update {
		if err := os.WriteFile(file, []byte(input+separator+got), 0o600); err != nil { //nolint:gosec // the same file
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
}

// Inputs returns the Caddyfiles of a folder's golden files.
func Inputs(t testing.TB, folder string) (inputs []string) {
	t.Helper()
	for _, file := range files(t, folder) {
		golden, err := os.ReadFile(file) //nolint:gosec // a file of the tests'
		if err != nil {
			t.Fatal(err)
		}
		input, _, _ := strings.Cut(string(golden), separator)
		inputs = append(inputs, input)
	}
	return inputs
}

// files are the golden files of a folder. None is an error: a folder that was moved would else test nothing.
func files(t testing.TB, folder string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*.caddyfiletest"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no golden files in %s: %v", folder, err)
	}
	return found
}

// Adapt returns a Caddyfile as indented JSON; or, if it is refused, the error in one line that begins with "error: ".
// Warnings fail the test, but for those about layout.
func Adapt(t testing.TB, caddyfile string) string {
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
