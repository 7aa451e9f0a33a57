// Package buildinfo tells what this very program was built from: for the verb version, for the status, and for the metric
// build_info.
package buildinfo

import (
	"regexp"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// ModulePath is the edge's module.
const ModulePath = "github.com/gitlab-edge/caddy-gitlab-packages"

// unknownVersion is Go's own word for a module whose version the build doesn't say.
const unknownVersion = "(devel)"

// Read returns what the running program was built from. Anybody may call it at any time.
func Read() adminapi.Build { return read() }

// read looks once, since a program doesn't change while it runs.
var read = sync.OnceValue(func() adminapi.Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()} // a build without modules
	}
	build := edgeIn(info)
	build.Caddy, _ = caddy.Version()
	return build
})

// edgeIn reads what the build says of the edge, which is the main module or, in a build by xcaddy, one that another uses.
func edgeIn(info *debug.BuildInfo) adminapi.Build {
	build := adminapi.Build{Version: unknownVersion, Go: info.GoVersion}
	if info.Main.Path != ModulePath {
		for _, used := range info.Deps {
			if used.Path == ModulePath {
				build.Version = versionOf(used)
			}
		}
		// The settings are about the checkout of the main module, which is another's.
		build.Commit = commitIn(build.Version)
		return build
	}
	build.Version = versionOf(&info.Main)
	build.Commit = commitIn(build.Version)
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			build.Commit = setting.Value
		case "vcs.modified":
			build.Modified = setting.Value == "true"
		}
	}
	return build
}

// versionOf is the version of the code that was compiled: a directory in the module's place has none.
func versionOf(module *debug.Module) string {
	if module.Replace != nil {
		module = module.Replace
	}
	if module.Version == "" {
		return unknownVersion
	}
	return module.Version
}

// pseudoVersion matches the version of a commit that has no tag: its time and the first 12 digits of its hash
// (https://go.dev/ref/mod#pseudo-versions).
var pseudoVersion = regexp.MustCompile(`[-.]\d{14}-([0-9a-f]{12})(?:\+|\z)`)

// commitIn is the commit that a version names; empty if it names none.
func commitIn(version string) string {
	if match := pseudoVersion.FindStringSubmatch(version); match != nil {
		return match[1]
	}
	return ""
}
