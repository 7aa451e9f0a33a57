package caddymodule

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ownModule is how import paths of this module begin.
const ownModule = "github.com/gitlab-edge/caddy-gitlab-packages/"

// What only some packages may import, besides each other. A path that begins so counts.
const (
	caddyPackages      = "github.com/caddyserver/"
	prometheusPackages = "github.com/prometheus/"
	httpPackages       = "net/http"
)

// borders says for each folder with Go code which packages of this module, and which of the three above, its code may import.
// Tests may import anything. A new folder needs a line here: one with as little as the code needs.
var borders = map[string][]string{
	// The store knows bytes, and neither HTTP nor GitLab.
	"cache":           {},
	"cache/cachetest": {"cache"},
	"cache/shardtest": {},
	// What speaks GitLab knows neither the store nor Caddy.
	"upstream":            {httpPackages},
	"upstream/gitlabtest": {httpPackages},
	// What speaks S3 knows neither of them, nor GitLab, nor Caddy.
	"bucket":            {httpPackages},
	"bucket/buckettest": {httpPackages},
	// Caddy's face brings them together.
	"caddymodule":           {"bucket", "cache", "upstream", "caddymodule/adminapi", "caddymodule/buildinfo", "caddymodule/command", "caddymodule/history", "caddymodule/page", "caddymodule/redactlog", caddyPackages, prometheusPackages, httpPackages},
	"caddymodule/adminapi":  {},
	"caddymodule/buildinfo": {"caddymodule/adminapi", caddyPackages},
	"caddymodule/command":   {"caddymodule/adminapi", "caddymodule/buildinfo", "upstream/gitlabtest", caddyPackages, httpPackages},
	// The history knows neither what it counts nor who reads it.
	"caddymodule/history":   {},
	"caddymodule/redactlog": {"upstream", caddyPackages},
	// The page knows the edge as its admin API, and so does the edge that its tests make up.
	"caddymodule/page":                {"caddymodule/adminapi", caddyPackages, httpPackages},
	"caddymodule/internal/fakeedge":   {"caddymodule/adminapi", caddyPackages, httpPackages},
	"caddymodule/internal/goldentest": {caddyPackages},
	"cmd/caddy":                       {"caddymodule", caddyPackages},
	// Benchmarks know the edge as callers do: by HTTP.
	"bench": {"upstream/gitlabtest", httpPackages},
	// What a handler costs at least, in a Caddy of its own.
	"bench/ceiling":       {caddyPackages, httpPackages},
	"bench/ceiling/caddy": {"bench/ceiling", caddyPackages},
	// What changes the code to see whether a test notices knows code alone.
	"mutate": {},
}

// TestEachPackageImportsOnlyWhatItsBorderAllows holds the borders between the packages: all folders of the module, those too
// that are new.
func TestEachPackageImportsOnlyWhatItsBorderAllows(t *testing.T) {
	folders := goFolders(t)
	for _, folder := range folders {
		allowed, ok := borders[folder]
		if !ok {
			t.Errorf("the folder %s has no border; say in borders what it may import", folder)
		}
		for file, paths := range importsOf(t, folder) {
			for _, path := range paths {
				name, isOwn := strings.CutPrefix(path, ownModule)
				if isOwn && !slices.Contains(allowed, name) {
					t.Errorf("%s imports %s", file, path)
				}
				for _, outside := range []string{caddyPackages, prometheusPackages, httpPackages} {
					if strings.HasPrefix(path, outside) && !slices.Contains(allowed, outside) {
						t.Errorf("%s imports %s", file, path)
					}
				}
			}
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(borders)) {
		if !slices.Contains(folders, folder) {
			t.Errorf("there is a border for %s, where no Go code is", folder)
		}
	}
}

// goFolders are the folders of this module in which there is Go code, from the module's root. Modules of their own don't count.
func goFolders(t *testing.T) (folders []string) {
	t.Helper()
	const root = ".."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			if folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), root+string(filepath.Separator))); filepath.Ext(path) == ".go" && !slices.Contains(folders, folder) {
				folders = append(folders, folder)
			}
			return nil
		}
		if path == root {
			return nil
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil || len(folders) < 5 {
		t.Fatalf("found Go code only in %v, %v", folders, err)
	}
	return folders
}

// importsOf returns what the code of a folder imports, by file. Files for other systems count too, tests don't.
func importsOf(t *testing.T, folder string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	imports := make(map[string][]string)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range parsed.Imports {
			path, err := strconv.Unquote(imported.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imports[file] = append(imports[file], path)
		}
	}
	return imports
}
