package buildinfo

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

func TestABuildNamesTheEdgesOwnCommitAndNoOthers(t *testing.T) {
	const commit = "2f0bd4d1a7b94ad5b2c9f9d3c0a8ad8e0e6e4a11"
	settings := []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "true"}}
	used := func(module debug.Module) *debug.BuildInfo {
		module.Path = ModulePath
		// What xcaddy makes around it may be in a checkout of its own.
		return &debug.BuildInfo{Main: debug.Module{Path: "caddy"}, Deps: []*debug.Module{{Path: "example.com/other", Version: "v9.9.9"}, &module}, Settings: settings}
	}
	for name, test := range map[string]struct {
		info *debug.BuildInfo
		want adminapi.Build
	}{
		"a checkout": {
			&debug.BuildInfo{Main: debug.Module{Path: ModulePath, Version: "v0.0.0-20261129080000-2f0bd4d1a7b9+dirty"}, Settings: settings},
			adminapi.Build{Version: "v0.0.0-20261129080000-2f0bd4d1a7b9+dirty", Commit: commit, Modified: true},
		},
		"a checkout without its history": {&debug.BuildInfo{Main: debug.Module{Path: ModulePath}}, adminapi.Build{Version: "(devel)"}},
		"xcaddy with a tag":              {used(debug.Module{Version: "v1.2.3"}), adminapi.Build{Version: "v1.2.3"}},
		"xcaddy with a commit":           {used(debug.Module{Version: "v1.2.4-0.20261129080000-2f0bd4d1a7b9"}), adminapi.Build{Version: "v1.2.4-0.20261129080000-2f0bd4d1a7b9", Commit: "2f0bd4d1a7b9"}},
		"xcaddy with a directory":        {used(debug.Module{Version: "v1.2.3", Replace: &debug.Module{Path: "/somewhere"}}), adminapi.Build{Version: "(devel)"}},
		"xcaddy with a fork":             {used(debug.Module{Version: "v1.2.3", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.9.0"}}), adminapi.Build{Version: "v1.9.0"}},
		"a build that says nothing":      {&debug.BuildInfo{}, adminapi.Build{Version: "(devel)"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.info.GoVersion, test.want.Go = "go1.26.0", "go1.26.0"
			if got := edgeIn(test.info); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTheRunningProgramTellsOfItself(t *testing.T) {
	if got := Read(); got.Version == "" || got.Caddy == "" || got.Go != runtime.Version() {
		t.Errorf("%+v", got)
	}
}
