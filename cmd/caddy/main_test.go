package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	caddyPath   = "github.com/caddyserver/caddy/v2"
	projectRoot = "../.."
)

// xcaddyBuilder has the JSON fields of xcaddy v0.4.5's type Builder (its
// builder.go and platforms.go). It is written out here so that a command which
// people run once need not be among our dependencies.
type xcaddyBuilder struct {
	OS           string              `json:"os"`
	Arch         string              `json:"arch"`
	ARM          string              `json:"arm"`
	Cgo          bool                `json:"cgo"`
	CaddyVersion string              `json:"caddy_version"`
	Plugins      []xcaddyDependency  `json:"plugins"`
	Replacements []xcaddyReplacement `json:"replacements"`
	TimeoutGet   time.Duration       `json:"timeout_get"`
	TimeoutBuild time.Duration       `json:"timeout_build"`
	RaceDetector bool                `json:"race_detector"`
	SkipCleanup  bool                `json:"skip_cleanup"`
	SkipBuild    bool                `json:"skip_build"`
	Debug        bool                `json:"debug"`
	BuildFlags   string              `json:"build_flags"`
	ModFlags     string              `json:"mod_flags"`
	EmbedDirs    []xcaddyEmbedDir    `json:"embed_dir"`
}

type xcaddyDependency struct {
	PackagePath string `json:"module_path"`
	Version     string `json:"version"`
}

type xcaddyReplacement struct {
	Old string `json:"old"`
	New string `json:"new"`
}

type xcaddyEmbedDir struct {
	Dir  string `json:"dir"`
	Name string `json:"name"`
}

// goMod is what `go mod edit -json` prints of a go.mod, as far as it matters here.
type goMod struct {
	Module  struct{ Path string }
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

func TestXcaddyBuildsTheCaddyVersionOfGoMod(t *testing.T) {
	got := readXcaddyJSON(t).CaddyVersion
	for _, required := range readGoMod(t).Require {
		if required.Path == caddyPath {
			if got != required.Version {
				t.Errorf("xcaddy.json builds Caddy %q, go.mod requires %s", got, required.Version)
			}
			return
		}
	}
	t.Errorf("go.mod does not require %s", caddyPath)
}

func TestXcaddyPlugsInAPackageOfThisModule(t *testing.T) {
	plugins := readXcaddyJSON(t).Plugins
	if len(plugins) != 1 {
		t.Fatalf("xcaddy.json names %d plugins, want this module's alone: %+v", len(plugins), plugins)
	}

	module := readGoMod(t).Module.Path
	dir, below := strings.CutPrefix(plugins[0].PackagePath, module+"/")
	if !below {
		t.Fatalf("xcaddy.json plugs in %q, which is no package of %s", plugins[0].PackagePath, module)
	}
	sources, err := filepath.Glob(filepath.Join(projectRoot, filepath.FromSlash(dir), "*.go"))
	if err != nil || len(sources) == 0 {
		t.Errorf("xcaddy.json plugs in %q, but %s holds no Go files (%v)", plugins[0].PackagePath, dir, err)
	}
}

// xcaddy generates a main package like ours: Caddy's command, its standard
// modules, and the plugins.
func TestMainImportsWhatXcaddyWould(t *testing.T) {
	plugins := readXcaddyJSON(t).Plugins
	want := make([]string, 0, 2+len(plugins))
	want = append(want, path.Join(caddyPath, "cmd"), path.Join(caddyPath, "modules/standard"))
	for _, plugin := range plugins {
		want = append(want, plugin.PackagePath)
	}

	file, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]string, 0, len(file.Imports))
	for _, imported := range file.Imports {
		importPath, err := strconv.Unquote(imported.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, importPath)
	}

	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("main.go imports\n\t%v\nxcaddy would import\n\t%v", got, want)
	}
}

// Go ignores the replacements of a module that isn't the main one, so xcaddy
// must repeat ours, or its build would take other code than ours does.
func TestXcaddyRepeatsTheReplacementsOfGoMod(t *testing.T) {
	want := make(map[string]string)
	for _, replaced := range readGoMod(t).Replace {
		want[pathAtVersion(replaced.Old.Path, replaced.Old.Version)] = pathAtVersion(replaced.New.Path, replaced.New.Version)
	}
	got := make(map[string]string)
	for _, replaced := range readXcaddyJSON(t).Replacements {
		got[replaced.Old] = replaced.New
	}
	if !maps.Equal(got, want) {
		t.Errorf("xcaddy.json replaces %v, go.mod %v", got, want)
	}
}

// readXcaddyJSON decodes xcaddy.json, and fails on a field that xcaddy does not know:
// xcaddy itself would skip it in silence.
func readXcaddyJSON(t *testing.T) xcaddyBuilder {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(projectRoot, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var builder xcaddyBuilder
	if err := decoder.Decode(&builder); err != nil {
		t.Fatalf("decoding xcaddy.json: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("xcaddy.json goes on after its object: %v", err)
	}
	return builder
}

func readGoMod(t *testing.T) goMod {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	command.Dir = projectRoot
	command.Stderr = t.Output()
	text, err := command.Output()
	if err != nil {
		t.Fatalf("reading go.mod: %v", err)
	}
	var mod goMod
	if err := json.Unmarshal(text, &mod); err != nil {
		t.Fatalf("decoding go.mod: %v", err)
	}
	return mod
}

// pathAtVersion writes one side of a replacement as xcaddy does.
func pathAtVersion(modulePath, version string) string {
	if version == "" {
		return modulePath
	}
	return modulePath + "@" + version
}
