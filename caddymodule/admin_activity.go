package caddymodule

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// adminActivity answers GET activity. All that it tells is counted by who fetches and who uploads, whether anybody asks or not.
func (a *App) adminActivity(r *http.Request) (any, error) {
	if err := readQuery(r, nil); err != nil {
		return nil, err
	}
	handlers, err := a.handlersOf("")
	if err != nil {
		return nil, err
	}
	activity := adminapi.Activity{Fills: []adminapi.FillStatus{}, Uploads: []adminapi.UploadStatus{}}
	for _, state := range statesOf(handlers) {
		activity.Fills = append(activity.Fills, state.fillStatuses()...)
		named, total := state.uploadStatuses()
		activity.Uploads = append(activity.Uploads, named...)
		activity.UploadsTotal += total
		activity.Verifications = append(activity.Verifications, state.verificationStatus())
	}
	activity.FillsTotal = len(activity.Fills)
	slices.SortFunc(activity.Fills, func(a, b adminapi.FillStatus) int {
		return cmp.Or(a.Begun.Compare(b.Begun), slices.Compare(namesOfFill(a), namesOfFill(b)))
	})
	slices.SortFunc(activity.Uploads, func(a, b adminapi.UploadStatus) int {
		return cmp.Or(a.Begun.Compare(b.Begun), slices.Compare(namesOfUpload(a), namesOfUpload(b)))
	})
	activity.Warmings = a.warmingStatuses(handlers)
	activity.Fills, activity.Uploads = firstOf(activity.Fills), firstOf(activity.Uploads)
	activity.Warmings, activity.Verifications = firstOf(activity.Warmings), firstOf(activity.Verifications)
	return activity, nil
}

// firstOf are the first few of a list, as many as Activity may have.
func firstOf[T any](list []T) []T { return list[:min(len(list), adminapi.MaxActivity)] }

func namesOfFill(f adminapi.FillStatus) []string {
	return []string{f.Directory, f.Upstream, f.Project, f.Package, f.Version, f.File}
}

func namesOfUpload(u adminapi.UploadStatus) []string {
	return []string{u.Upstream, u.Project, u.Package, u.Version, u.File}
}

// fillStatuses are the files on their way in, in no order.
func (s *state) fillStatuses() (found []adminapi.FillStatus) {
	for _, fl := range s.flights.all() {
		if status, ok := fl.fillStatus(); ok {
			found = append(found, status)
		}
	}
	return found
}

// fillStatus is how far a flight's file has come. False means that GitLab hasn't said yes to anybody, that nothing is stored, or that
// it has come to nothing.
func (f *flight) fillStatus() (status adminapi.FillStatus, ok bool) {
	if !f.isHeaded() || f.err != nil || f.answer.Verdict != upstream.Allowed || f.fill == nil || f.fill.Err() != nil {
		return status, false
	}
	return adminapi.FillStatus{
		Directory: f.state.directory, Upstream: f.key.Upstream,
		Project: f.ref.Project, Package: f.ref.Package, Version: f.ref.Version, File: f.ref.File,
		Bytes: f.fill.Written(), Size: sizeOrNil(f.fill.Size()), From: f.from(), Connections: max(int(f.connections.Load()), 1), Callers: int(f.served.Load()), Begun: f.begun.UTC(),
	}, true
}

// from is where a flight's bytes come from now. Its head must be known.
func (f *flight) from() string {
	switch {
	case f.readsShared.Load():
		return adminapi.FromSharedStore
	case f.identity.Location != "":
		return adminapi.FromObjectStorage
	}
	return adminapi.FromGitLab
}

// sizeOrNil is a size for JSON; nil where it isn't known.
func sizeOrNil(size int64) *int64 {
	if size < 0 {
		return nil
	}
	return &size
}

// uploadStatuses are the uploads that pass, in no order: those whose names may be shown, and how many there are in all.
func (s *state) uploadStatuses() (named []adminapi.UploadStatus, total int) {
	passing := s.uploads.all()
	for _, u := range passing {
		if !s.process.knownProjects.has(u.upstream, u.ref.Project) {
			continue
		}
		named = append(named, adminapi.UploadStatus{
			Upstream: u.upstream, Project: strings.Clone(u.ref.Project), Package: strings.Clone(u.ref.Package),
			Version: strings.Clone(u.ref.Version), File: strings.Clone(u.ref.File),
			Bytes: u.passed.Load(), Size: sizeOrNil(u.size), Begun: u.begun.UTC(),
		})
	}
	return named, len(passing)
}
