package caddymodule

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

const (
	// maxRefusedProjects bounds the projects of which refusals are remembered, and maxKindsOfProject the kinds of each.
	maxRefusedProjects, maxKindsOfProject = 200, 16
)

// refusals are the last ones, by project and kind: in memory, and lost with the process. Whoever is refused chooses which project the
// request is about. So projects to which nobody held a yes (knownProjects) are counted together, whatever they are called, and
// who refuses itself often for a project that is known pushes out kinds of that project alone. Safe for concurrent use.
type refusals struct {
	// mu guards all below; nothing is waited for under it. Hits don't take it.
	mu sync.Mutex
	// ofProjects are the kinds of each project, the newest last.
	ofProjects *simplelru.LRU[knownProject, []adminapi.Refusal]
	others     adminapi.RefusalsOfOthers
}

func newRefusals() *refusals {
	return &refusals{ofProjects: newLRU[knownProject, []adminapi.Refusal](maxRefusedProjects)}
}

// note remembers what became of a request, if it was refused. named says that the project may be named; else the refusal counts as
// one of others.
func (r *refusals) note(of knownProject, report *report, named bool, now time.Time) {
	now = now.UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !named {
		r.others.Time = &now
		r.others.Times++
		return
	}
	kinds, ok := r.ofProjects.Get(of)
	if !ok {
		of.project = strings.Clone(of.project) // or all of a request's first line would stay in memory
	}
	latest := adminapi.Refusal{
		Time: now, Upstream: of.upstream, Project: of.project, Outcome: string(report.outcome), Status: report.status, Why: report.why, Times: 1,
	}
	at := slices.IndexFunc(kinds, func(known adminapi.Refusal) bool {
		return known.Outcome == latest.Outcome && known.Status == latest.Status && known.Why == latest.Why
	})
	switch {
	case at >= 0:
		latest.Project, latest.Times = kinds[at].Project, kinds[at].Times+1
		kinds = slices.Delete(kinds, at, at+1)
	case len(kinds) == maxKindsOfProject:
		kinds = slices.Delete(kinds, 0, 1)
	}
	r.ofProjects.Add(of, append(kinds, latest))
}

// list returns what is remembered, the newest first. Where that is more than an answer has room for, the newest kinds of each project
// come before the next ones of any: one that is refused in many ways hides no other.
func (r *refusals) list() adminapi.RefusalList {
	type ranked struct {
		adminapi.Refusal
		rank int
	}
	var all []ranked
	r.mu.Lock()
	list := adminapi.RefusalList{Refusals: []adminapi.Refusal{}, Others: r.others}
	for _, kinds := range r.ofProjects.Values() {
		for at, kind := range kinds {
			all = append(all, ranked{kind, len(kinds) - at})
		}
	}
	r.mu.Unlock()
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), b.Time.Compare(a.Time)) })
	for _, one := range all[:min(len(all), adminapi.MaxRefusals)] {
		list.Refusals = append(list.Refusals, one.Refusal)
	}
	slices.SortStableFunc(list.Refusals, func(a, b adminapi.Refusal) int { return b.Time.Compare(a.Time) })
	return list
}

// noteRefusal remembers the request among the refusals, if it is one.
func (x *exchange) noteRefusal() {
	switch x.report.outcome {
	case outcomeRefused, outcomeRateLimited:
		x.report.why = saidByGitLab(x.report.status)
	case outcomeInvalid, outcomeSwitchedOff, outcomeUnreachable, outcomeLimited:
	default:
		return
	}
	p, of := x.h.process, knownProject{x.key.Upstream, x.ref.Project}
	p.refusals.note(of, &x.report, p.knownProjects.has(of.upstream, of.project), p.clock())
}
