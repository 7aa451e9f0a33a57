package fakeedge

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// The world's GitLab and directory.
const (
	Upstream  = "https://gitlab.example.com"
	Directory = "/var/cache/gitlab-packages"
)

// Sample is the world of an edge on a busy morning, as of now.
func Sample(now time.Time) World {
	now = now.UTC().Truncate(time.Second)
	entries := sampleEntries(now)
	return World{
		Status: sampleStatus(now), Activity: sampleActivity(now), Usage: sampleUsage(now, entries), Refusals: sampleRefusals(now),
		Projects: sampleProjects(now), Entries: entries,
		Histories: map[string]adminapi.History{
			adminapi.SpanHour: sampleHistory(now, adminapi.SpanHour, time.Minute, 60), adminapi.SpanDay: sampleHistory(now, adminapi.SpanDay, 5*time.Minute, 288),
			adminapi.SpanWeek:    sampleHistory(now, adminapi.SpanWeek, time.Hour, 168),
			adminapi.SpanQuarter: sampleHistory(now, adminapi.SpanQuarter, time.Hour, 2160),
		},
	}
}

// Empty is the world of an edge that was started just now.
func Empty(now time.Time) World {
	world := Sample(now)
	store := adminapi.StoreStatus{Directory: Directory, Usable: true, Since: &now, Read: &now, MaxSize: 200 << 30}
	world.Status.Stores, world.Status.RecentFailures, world.Status.UptimeSeconds = []adminapi.StoreStatus{store}, nil, 3
	world.Activity, world.Usage, world.Refusals, world.Entries = adminapi.Activity{}, adminapi.Usage{At: now}, adminapi.RefusalList{}, nil
	world.Projects.Projects = nil
	for span, history := range world.Histories {
		for i := range history.Points {
			history.Points[i] = adminapi.HistoryPoint{Time: history.Points[i].Time}
		}
		history.Total = adminapi.HistoryPoint{}
		world.Histories[span] = history
	}
	return world
}

// Down is the world of an edge whose GitLab went down ten minutes ago.
func Down(now time.Time) World {
	world := Sample(now)
	world.Status.Working = false
	since := now.Add(-10 * time.Minute)
	world.Status.Upstreams[0].GitLab, world.Status.Upstreams[0].GitLabSince = adminapi.Down, &since
	world.Status.RecentFailures = append([]adminapi.Failure{{Time: since, What: "GitLab doesn't answer: " + Upstream, Times: 1}}, world.Status.RecentFailures...)
	return world
}

func sampleStatus(now time.Time) adminapi.Status {
	since, started, answered := now.Add(-3*time.Hour), now.Add(-52*time.Hour), now.Add(-20*time.Second)
	return adminapi.Status{
		Build:   adminapi.Build{Version: "v0.9.0", Commit: "0283433a1b2c3d4e5f60718293a4b5c6d7e8f901", Caddy: "v2.11.9", Go: "go1.26.8"},
		Started: started, UptimeSeconds: int64((52 * time.Hour).Seconds()), Working: true, Switches: adminapi.SwitchesRead,
		Stores: []adminapi.StoreStatus{{
			Directory: Directory, Usable: true, Since: &started, Read: &started, Bytes: 61 << 30, MaxSize: 200 << 30, PinnedBytes: 4 << 30, MemoryBytes: 180 << 20, Entries: 1843, Files: 1791, Fills: 3, FoundFiles: 1702,
			Grants: 412, Evictions: 0,
			SharedStore: &adminapi.SharedStoreStatus{Store: "s3://packages-edge/berlin", Endpoint: "https://minio.example.com", Reads: true, Writes: true, State: adminapi.SharedUp, Since: &since, OwedFiles: 2, OwedBytes: 310 << 20},
		}},
		Upstreams: []adminapi.UpstreamStatus{{
			Upstream: Upstream, GitLab: adminapi.Up, ObjectStorage: adminapi.Up, GitLabAnswered: &answered, ObjectStorageAnswered: &answered, Rules: []string{"13.5"}, ProbeAnswered: true, Switched: "on", From: "config's default",
			AtStart: &adminapi.StartAnswer{Asked: now.Add(-52 * time.Hour), Seconds: 0.085, Status: 401, Text: "answered in 85 ms", LooksLikeGitLab: true},
		}},
		RecentFailures: []adminapi.Failure{
			{Time: now.Add(-25 * time.Minute), What: "a fetch broke off for good", File: "24/toolchain/14.2.0/gcc-linux-arm64.tar.xz", Error: "the storage closed the connection after 812 MiB", Times: 3},
			{Time: now.Add(-5 * time.Hour), What: "a download broke off", File: "group/app/edge/1.9.1/caddy.bin", Error: "GitLab said 403 Forbidden midway", Times: 1},
		},
	}
}

func sampleActivity(now time.Time) adminapi.Activity {
	large, image := int64(3<<30), int64(640<<20)
	begun := now.Add(-9 * time.Minute)
	ended := now.Add(-40 * time.Minute)
	return adminapi.Activity{
		FillsTotal: 3, UploadsTotal: 2,
		Fills: []adminapi.FillStatus{
			{Directory: Directory, Upstream: Upstream, Project: "24", Package: "toolchain", Version: "14.2.0", File: "gcc-linux-amd64.tar.xz", Bytes: 2170 << 20, Size: &large, From: adminapi.FromObjectStorage, Connections: 4, Callers: 14, Begun: now.Add(-48 * time.Second)},
			{Directory: Directory, Upstream: Upstream, Project: "group/app", Package: "images", Version: "2026.11.30", File: "rootfs.ext4", Bytes: 96 << 20, Size: &image, From: adminapi.FromSharedStore, Callers: 1, Begun: now.Add(-4 * time.Second)},
			{Directory: Directory, Upstream: Upstream, Project: "310", Package: "models", Version: "3.0.1", File: "weights.bin", Bytes: 11 << 20, From: adminapi.FromGitLab, Callers: 2, Begun: now.Add(-2 * time.Second)},
		},
		Uploads: []adminapi.UploadStatus{
			{Upstream: Upstream, Project: "24", Package: "edge", Version: "1.9.2", File: "caddy.bin", Bytes: 30 << 20, Size: &image, Begun: now.Add(-3 * time.Second)},
		},
		Warmings: []adminapi.WarmingStatus{
			{ID: "w7", Running: true, Upstream: Upstream, Project: "24", Package: "toolchain", Directories: []string{Directory}, Listed: true, Files: 32, Bytes: 40 << 30, Already: 11, Fetched: 6, Pinned: 17, DoneBytes: 19 << 30, Begun: begun},
			{ID: "w6", Upstream: Upstream, Project: "group/app", Package: "images", Version: "2026.11.29", Directories: []string{Directory}, Listed: true, Files: 4, Bytes: 2 << 30, Already: 1, Fetched: 3, DoneBytes: 2 << 30, Begun: ended.Add(-time.Minute), Ended: &ended},
		},
		Verifications: []adminapi.VerificationStatus{{Directory: Directory, Running: true, Begun: &begun, Entries: 620, Total: 1843, Bytes: 22 << 30, TotalBytes: 61 << 30}},
	}
}

// The sample's packages, the largest project first.
var samplePackages = []struct {
	project, name string
	files         int
	size          int64
	hits          uint32
}{
	{"24", "toolchain", 11, 1900 << 20, 940},
	{"24", "edge", 9, 130 << 20, 2210},
	{"24", "sdk", 4, 700 << 20, 120},
	{"group/app", "images", 7, 1700 << 20, 310},
	{"group/app", "firmware", 12, 48 << 20, 83},
	{"310", "models", 3, 3 << 30, 44},
	{"310", "datasets", 2, 1400 << 20, 9},
	{"tools/linters", "shellcheck", 6, 9 << 20, 5120},
	{"tools/linters", "hadolint", 5, 12 << 20, 1830},
	{"77", "docs", 4, 2 << 20, 12},
}

func sampleEntries(now time.Time) (entries []adminapi.EntryStatus) {
	for _, stored := range samplePackages {
		for i := range stored.files {
			version := fmt.Sprintf("%d.%d.0", 1+i/4, i%4)
			sum := sha256.Sum256([]byte(stored.project + stored.name + version))
			entry := adminapi.EntryStatus{
				Directory: Directory, Upstream: Upstream, Project: stored.project, Package: stored.name, Version: version, File: stored.name + "-linux-amd64.tar.xz", Size: stored.size + int64(i)*4321,
				SHA256: hex.EncodeToString(sum[:]), Stored: now.Add(-time.Duration(i*7+3) * time.Hour), LastUsed: now.Add(-time.Duration(i*11+1) * time.Minute), Hits: stored.hits / uint32(i+1), //nolint:gosec // a small number
			}
			if i%3 != 2 {
				confirmed := now.Add(-time.Duration(i+1) * time.Minute)
				entry.Confirmed = &confirmed
			}
			if stored.name == "toolchain" && i%2 == 0 {
				pinned := now.Add(20 * 24 * time.Hour)
				entry.PinnedUntil = &pinned
			}
			entries = append(entries, entry)
		}
	}
	return entries
}

func sampleUsage(now time.Time, entries []adminapi.EntryStatus) adminapi.Usage {
	usage := adminapi.Usage{At: now.Add(-8 * time.Second), Entries: len(entries)}
	for _, stored := range samplePackages {
		if last := len(usage.Projects) - 1; last < 0 || usage.Projects[last].Project != stored.project {
			usage.Projects = append(usage.Projects, adminapi.ProjectUsage{Upstream: Upstream, Project: stored.project})
		}
		project := &usage.Projects[len(usage.Projects)-1]
		inner := adminapi.PackageUsage{Package: stored.name, Bytes: stored.size * int64(stored.files), Entries: stored.files, Hits: int64(stored.hits)}
		project.Packages = append(project.Packages, inner)
		project.Bytes, project.Entries, project.Hits = project.Bytes+inner.Bytes, project.Entries+inner.Entries, project.Hits+inner.Hits
		usage.Bytes += inner.Bytes
	}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b adminapi.EntryStatus) int { return cmp.Compare(b.Hits, a.Hits) })
	usage.MostUsed = slices.Clone(sorted[:adminapi.MaxUsageFiles])
	slices.SortStableFunc(sorted, func(a, b adminapi.EntryStatus) int { return cmp.Compare(b.Size, a.Size) })
	usage.Largest = sorted[:adminapi.MaxUsageFiles]
	usage.OtherProjects, usage.OtherBytes = 3, 1<<30
	return usage
}

func sampleRefusals(now time.Time) adminapi.RefusalList {
	last := now.Add(-90 * time.Second)
	return adminapi.RefusalList{
		Refusals: []adminapi.Refusal{
			{Time: now.Add(-4 * time.Minute), Upstream: Upstream, Project: "24", Outcome: "invalid", Status: 400, Why: "the version's name is against the rules", Times: 17},
			{Time: now.Add(-31 * time.Minute), Upstream: Upstream, Project: "group/app", Outcome: "refused", Status: 403, Why: "GitLab said 403 Forbidden", Times: 4},
			{Time: now.Add(-2 * time.Hour), Upstream: Upstream, Project: "25", Outcome: "switched_off", Status: 404, Why: "the project is switched off", Times: 120},
			{Time: now.Add(-3 * time.Hour), Upstream: Upstream, Project: "310", Outcome: "rate_limited", Status: 429, Why: "GitLab said 429 Too Many Requests", Times: 2},
		},
		Others: adminapi.RefusalsOfOthers{Time: &last, Times: 58},
	}
}

func sampleProjects(now time.Time) adminapi.ProjectList {
	since := now.Add(-26 * time.Hour)
	return adminapi.ProjectList{
		Others: []adminapi.ProjectStatus{{Upstream: Upstream, State: "on", From: "config's default"}},
		Projects: []adminapi.ProjectStatus{
			{Upstream: Upstream, Project: "24", State: "on", From: "config's default"},
			{Upstream: Upstream, Project: "25", Names: []string{"group/closed"}, State: "off", From: "run time", Since: &since},
			{Upstream: Upstream, Project: "310", State: "on", From: "config's default"},
			{Upstream: Upstream, Project: "group/app", State: "on", From: "config"},
		},
	}
}

// sampleHistory is a span in which the day's work comes and goes.
func sampleHistory(now time.Time, span string, step time.Duration, number int) adminapi.History {
	history := adminapi.History{Span: span, Step: int(step.Seconds()), Kept: true}
	begin := now.Truncate(step).Add(-time.Duration(number-1) * step)
	for i := range number {
		at := begin.Add(time.Duration(i) * step)
		if number > 100 && i > number/4 && i < number/4+6 {
			history.Points = append(history.Points, adminapi.HistoryPoint{Time: at}) // the edge was off
			continue
		}
		busy := samplePace(at, i) * step.Minutes()
		point := adminapi.HistoryPoint{Time: at, Known: true, Downloads: int64(busy * 40)}
		point.Hits = point.Downloads * int64(88+i%9) / 100
		point.Requests, point.Uploads, point.Refused = point.Downloads+point.Downloads/20, point.Downloads/60, point.Downloads/90
		point.BytesSent = int64(busy * 900 * float64(1<<20))
		point.BytesUpstream = point.BytesSent * int64(3+(i*7)%13) / 100
		point.Asked, point.Spared = point.Downloads*2/10, point.Downloads*8/10
		if point.Downloads > 0 {
			median, slow := 0.0004+0.0003*float64(i%5), 0.08+0.05*float64((i*3)%11)
			point.FirstByteMedian, point.FirstByte99th = &median, &slow
		}
		history.Points = append(history.Points, point)
		add(&history.Total, point)
	}
	history.Total.Time, history.Total.Known = begin, true
	median, slow := 0.0009, 0.41
	history.Total.FirstByteMedian, history.Total.FirstByte99th = &median, &slow
	return history
}

// samplePace is how much is going on at a time of the day: little at night, most in the afternoon.
func samplePace(at time.Time, i int) float64 {
	day := 0.5 - 0.5*math.Cos(float64(at.Hour()*60+at.Minute())/1440*2*math.Pi)
	weekday := 1.0
	if at.Weekday() == time.Saturday || at.Weekday() == time.Sunday {
		weekday = 0.15
	}
	return (0.15 + day*day*weekday) * (1 + 0.35*math.Sin(float64(i)*1.7) + 0.2*math.Sin(float64(i)*0.31))
}

func add(total *adminapi.HistoryPoint, point adminapi.HistoryPoint) {
	total.Requests += point.Requests
	total.Downloads += point.Downloads
	total.Hits += point.Hits
	total.Uploads += point.Uploads
	total.Refused += point.Refused
	total.BytesSent += point.BytesSent
	total.BytesUpstream += point.BytesUpstream
	total.Asked += point.Asked
	total.Spared += point.Spared
}
