package adminapi

import "time"

// Usage is the answer to GET usage: whose files take the room, and which are used, of all directories. It is of At, since it is put
// together only when somebody asks, and at most once in UsagePause. What is stored under several names, or in several directories,
// counts for each of them.
type Usage struct {
	At      time.Time `json:"at"`
	Bytes   int64     `json:"bytes"`
	Entries int       `json:"entries"`
	// Projects are the largest, at most MaxUsageProjects; OtherProjects is how many more there are, and OtherBytes theirs.
	Projects      []ProjectUsage `json:"projects"`
	OtherProjects int            `json:"other_projects,omitempty"`
	OtherBytes    int64          `json:"other_bytes,omitempty"`
	// MostUsed and Largest are files, at most MaxUsageFiles each. Those that were served from the store since the start alone are used.
	MostUsed []EntryStatus `json:"most_used"`
	Largest  []EntryStatus `json:"largest"`
}

// Bounds of Usage.
const (
	UsagePause       = 30 * time.Second
	MaxUsageProjects = 50
	MaxUsagePackages = 20
	MaxUsageFiles    = 20
)

// ProjectUsage is what the files of a project take, by one spelling of it.
type ProjectUsage struct {
	Upstream string `json:"upstream"`
	Project  string `json:"project"`
	Bytes    int64  `json:"bytes"`
	Entries  int    `json:"entries"`
	// Hits is how often its files were served from the store since the start.
	Hits int64 `json:"hits"`
	// Packages are the largest, at most MaxUsagePackages; OtherPackages is how many more there are, and OtherBytes theirs.
	Packages      []PackageUsage `json:"packages"`
	OtherPackages int            `json:"other_packages,omitempty"`
	OtherBytes    int64          `json:"other_bytes,omitempty"`
}

// PackageUsage is what the files of one package take.
type PackageUsage struct {
	Package string `json:"package"`
	Bytes   int64  `json:"bytes"`
	Entries int    `json:"entries"`
	Hits    int64  `json:"hits"`
}
