package caddymodule

import (
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// maxKnownProjects bounds the projects that are remembered, and maxKnownLength the names, in bytes.
	maxKnownProjects, maxKnownLength = 10_000, 1 << 10
)

// knownProjects are the projects of which GitLab has said yes to somebody since the start: to who wanted to read a file, or to an
// upload. Admins are shown the names of these alone where others could have made a name up, or use one that is another's secret. Only
// GitLab's word adds to them, never a caller's; no request depends on them, and no hit looks here. Safe for concurrent use.
type knownProjects struct {
	// mu guards names; nothing is waited for under it.
	mu    sync.Mutex
	names *simplelru.LRU[knownProject, struct{}]
}

// knownProject is a project as GitLab was asked about it.
type knownProject struct{ upstream, project string }

func newKnownProjects() *knownProjects {
	return &knownProjects{names: newLRU[knownProject, struct{}](maxKnownProjects)}
}

// note remembers a project to which GitLab has said yes just now. The one whose last yes is the oldest goes for it.
func (k *knownProjects) note(upstream, project string) {
	if len(project) > maxKnownLength {
		return
	}
	known := knownProject{upstream, project}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.names.Get(known); ok {
		return
	}
	known.project = strings.Clone(project) // or all of a request's first line would stay in memory
	k.names.Add(known, struct{}{})
}

// has reports whether GitLab has said yes to the project. Asking keeps no project from being forgotten.
func (k *knownProjects) has(upstream, project string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.names.Contains(knownProject{upstream, project})
}
