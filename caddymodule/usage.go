package caddymodule

import (
	"cmp"
	"context"
	"slices"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// usageSums add up whose files take the room, of entries that come in the order of their keys. So the entries of a project come one
// after another, and within it those of a package: what is held is the sums of one project and one package, and the largest so
// far, however many there are of any.
type usageSums struct {
	usage adminapi.Usage
	// project and its packages are those that entries belong to now; pkg is the package.
	project  adminapi.ProjectUsage
	pkg      adminapi.PackageUsage
	packages firstFew[adminapi.PackageUsage]
	// projects, mostUsed and largest are the first of all so far.
	projects          firstFew[adminapi.ProjectUsage]
	mostUsed, largest firstFew[usedFile]
}

// usedFile is an entry in one directory.
type usedFile struct {
	source *usageSource
	cache.Taken
}

func newUsageSums() *usageSums {
	return &usageSums{
		packages: firstFew[adminapi.PackageUsage]{most: adminapi.MaxUsagePackages, compare: comparePackages},
		projects: firstFew[adminapi.ProjectUsage]{most: adminapi.MaxUsageProjects, compare: compareProjects},
		mostUsed: firstFew[usedFile]{most: adminapi.MaxUsageFiles, compare: compareUses},
		largest:  firstFew[usedFile]{most: adminapi.MaxUsageFiles, compare: compareSizes},
	}
}

// The largest first, and what is as large by its name, so that the order is always the same.
func compareProjects(a, b adminapi.ProjectUsage) int {
	return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Entries, a.Entries), cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Project, b.Project))
}

func comparePackages(a, b adminapi.PackageUsage) int {
	return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Entries, a.Entries), cmp.Compare(a.Package, b.Package))
}

func compareSizes(a, b usedFile) int {
	return cmp.Or(cmp.Compare(b.Size, a.Size), a.Key.Compare(b.Key), cmp.Compare(a.source.directory, b.source.directory))
}

func compareUses(a, b usedFile) int {
	return cmp.Or(cmp.Compare(b.Hits, a.Hits), compareSizes(a, b))
}

// add takes in the next entry.
func (u *usageSums) add(file usedFile) {
	if file.Key.Upstream != u.project.Upstream || file.Key.Project != u.project.Project {
		u.endProject()
		u.project = adminapi.ProjectUsage{Upstream: file.Key.Upstream, Project: file.Key.Project}
	}
	if file.Key.Package != u.pkg.Package {
		u.endPackage()
		u.pkg = adminapi.PackageUsage{Package: file.Key.Package}
	}
	u.pkg.Bytes += file.Size
	u.pkg.Hits += int64(file.Hits)
	u.pkg.Entries++
	u.largest.add(file)
	if file.Hits > 0 {
		u.mostUsed.add(file)
	}
}

// endPackage adds the package's sums to those of its project.
func (u *usageSums) endPackage() {
	if u.pkg.Entries == 0 {
		return
	}
	u.project.Bytes += u.pkg.Bytes
	u.project.Hits += u.pkg.Hits
	u.project.Entries += u.pkg.Entries
	if left, ok := u.packages.add(u.pkg); ok {
		u.project.OtherPackages++
		u.project.OtherBytes += left.Bytes
	}
	u.pkg = adminapi.PackageUsage{}
}

// endProject adds the project's sums to those of all.
func (u *usageSums) endProject() {
	u.endPackage()
	if u.project.Entries == 0 {
		return
	}
	u.usage.Bytes += u.project.Bytes
	u.usage.Entries += u.project.Entries
	u.project.Packages = u.packages.list
	u.packages.list = nil
	if left, ok := u.projects.add(u.project); ok {
		u.usage.OtherProjects++
		u.usage.OtherBytes += left.Bytes
	}
	u.project = adminapi.ProjectUsage{}
}

// end returns the sums of all that was added. Of the files that are told one by one it reads what else there is to tell.
func (u *usageSums) end(ctx context.Context) (usage adminapi.Usage, err error) {
	u.endProject()
	usage = u.usage
	usage.Projects = append([]adminapi.ProjectUsage{}, u.projects.list...)
	if usage.MostUsed, err = statusesOf(ctx, u.mostUsed.list); err != nil {
		return usage, err
	}
	usage.Largest, err = statusesOf(ctx, u.largest.list)
	return usage, err
}

// statusesOf are those of the files that are still there.
func statusesOf(ctx context.Context, files []usedFile) ([]adminapi.EntryStatus, error) {
	statuses := make([]adminapi.EntryStatus, 0, len(files))
	for _, file := range files {
		listed, err := file.source.store.Entries(ctx, cache.Selector(file.Key), nil, 1)
		if err != nil {
			return nil, err
		}
		for _, entry := range listed {
			statuses = append(statuses, newEntryStatus(file.source.directory, entry))
		}
	}
	return statuses, nil
}

// firstFew keeps the first of many, in an order by which no two are the same.
type firstFew[T any] struct {
	most    int
	compare func(a, b T) int
	list    []T
}

// add takes one in, and returns the one for which there is no room, if that is so.
func (f *firstFew[T]) add(one T) (left T, ok bool) {
	if len(f.list) == f.most && f.compare(one, f.list[f.most-1]) > 0 {
		return one, true // nearly always, of many
	}
	at, _ := slices.BinarySearchFunc(f.list, one, f.compare)
	f.list = slices.Insert(f.list, at, one)
	if len(f.list) <= f.most {
		return left, false
	}
	left = f.list[f.most]
	f.list = f.list[:f.most]
	return left, true
}
