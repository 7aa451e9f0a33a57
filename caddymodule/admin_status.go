package caddymodule

import (
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metric "github.com/prometheus/client_model/go"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// processStarted is when this process began to count.
var processStarted = time.Now()

// edgeStatus is the answer to GET status. Counts are of this process, also over reloads.
type edgeStatus struct {
	Started       time.Time `json:"started"`
	UptimeSeconds int64     `json:"uptime_seconds"`
	// Working says that every cache directory can be used, every GitLab is being asked, and the run-time switches can be read.
	Working bool `json:"working"`
	// Switches is "read"; "recalled" while those in Caddy's storage can't be read and those known last count; "unknown" while
	// none are known, and all requests get 503.
	Switches string `json:"switches"`
	// Requests are counted by outcome; those that were never met are left out.
	Requests map[outcome]int64 `json:"requests"`
	// HitRatio is the part of downloads that were served from the store or from a fetch of somebody else's; null before
	// the first.
	HitRatio *float64 `json:"hit_ratio"`
	// BytesSent are bodies sent to callers, by where they came from; BytesUpstream what GitLab and its storage sent, and
	// BytesSaved what they didn't have to.
	BytesSent     map[string]int64 `json:"bytes_sent"`
	BytesUpstream int64            `json:"bytes_upstream"`
	BytesSaved    int64            `json:"bytes_saved"`

	Stores    []storeStatus    `json:"stores"`
	Upstreams []upstreamStatus `json:"upstreams"`
	// RecentFailures are the last few, the newest first.
	RecentFailures []failure `json:"recent_failures"`
}

// storeStatus is how one cache directory does. Sizes are in bytes.
type storeStatus struct {
	Directory string `json:"directory"`
	// Usable is false while the directory can't be used, and the edge streams uncached.
	Usable bool `json:"usable"`
	// Loading is true while the start's work goes on.
	Loading          bool  `json:"loading"`
	Bytes            int64 `json:"bytes"`
	MaxSize          int64 `json:"max_size"`
	PinnedBytes      int64 `json:"pinned_bytes"`
	MemoryBytes      int64 `json:"memory_bytes"`
	Entries          int   `json:"entries"`
	Files            int   `json:"files"`
	Fills            int64 `json:"fills"`
	Grants           int   `json:"grants"`
	Evictions        int64 `json:"evictions"`
	NoRoom           int64 `json:"no_room"`
	DiskErrors       int64 `json:"disk_errors"`
	ChecksumFailures int64 `json:"checksum_failures"`
	Damaged          int64 `json:"damaged_files"`
}

// upstreamStatus is how one GitLab does.
type upstreamStatus struct {
	Upstream string `json:"upstream"`
	// GitLab and ObjectStorage are "up" or "down". Down means that it isn't asked, since it failed the edge's own probe.
	GitLab        string `json:"gitlab"`
	ObjectStorage string `json:"object_storage"`
	// ProbeAnswered is true once GitLab has answered the probe, which the first answer to anything else starts. Until then
	// GitLab is asked by each caller, also while it is down.
	ProbeAnswered bool `json:"probe_answered"`
	// Switched is the state of projects of which nothing was said, and From where that comes from.
	Switched string     `json:"switched"`
	From     string     `json:"from"`
	Since    *time.Time `json:"since,omitempty"`
}

// adminStatus answers GET status.
func (a *App) adminStatus(r *http.Request) (any, error) {
	if err := readQuery(r, nil); err != nil {
		return nil, err
	}
	handlers, err := a.handlersOf("")
	if err != nil {
		return nil, err
	}
	status := processMetrics.status()
	status.Switches = a.switches.reading().String()
	status.Working = a.switches.reading() == switchesRead
	for _, state := range statesOf(handlers) {
		store := state.status()
		status.Working = status.Working && store.Usable
		status.Stores = append(status.Stores, store)
	}
	for _, known := range upstreamsOf(handlers) {
		shown := upstreamStatusOf(handlers, known)
		status.Working = status.Working && shown.GitLab == "up" && shown.ObjectStorage == "up"
		status.Upstreams = append(status.Upstreams, shown)
	}
	return status, nil
}

// status is what the process has counted.
func (m *metrics) status() edgeStatus {
	status := edgeStatus{
		Started: processStarted.UTC(), UptimeSeconds: int64(time.Since(processStarted).Seconds()), Working: true,
		Requests: make(map[outcome]int64), BytesSent: make(map[string]int64), RecentFailures: processFailures.recent(),
	}
	var served, downloads int64
	for outcome, counters := range m.requests {
		var count int64
		for _, counter := range counters {
			count += countOf(counter)
		}
		if count == 0 {
			continue
		}
		status.Requests[outcome] = count
		switch outcome {
		case outcomeHit, outcomeRevalidated, outcomeOffline, outcomeJoined:
			served += count
			downloads += count
		case outcomeMiss, outcomeStreamed:
			downloads += count
		default:
		}
	}
	if downloads > 0 {
		ratio := float64(served) / float64(downloads)
		status.HitRatio = &ratio
	}
	var sent int64
	for source, counter := range m.sent {
		status.BytesSent[sourceNames[source]] = countOf(counter)
		sent += countOf(counter)
	}
	status.BytesUpstream = countOf(m.upstreamBytes)
	// A fetch that nobody waited for until its end has cost more than it gave.
	status.BytesSaved = max(0, sent-status.BytesUpstream)
	return status
}

// countOf reads a counter.
func countOf(counter prometheus.Counter) int64 {
	var read metric.Metric
	if err := counter.Write(&read); err != nil {
		return 0 // a counter can always be read
	}
	return int64(read.GetCounter().GetValue())
}

func (s *state) status() storeStatus {
	status := storeStatus{Directory: s.directory, Grants: s.grants.Len(), MaxSize: s.inForce.Load().limits.MaxSize}
	store := s.store.Load()
	if store == nil {
		return status
	}
	stats := store.Stats()
	status.Usable, status.Loading = !store.IsLost(), stats.Loading
	status.Bytes, status.MaxSize, status.PinnedBytes, status.MemoryBytes = stats.Bytes, stats.MaxSize, stats.Pinned, stats.MemoryBytes
	status.Entries, status.Files, status.Fills = stats.Entries, stats.Blobs, stats.Fills
	status.Evictions, status.NoRoom, status.DiskErrors = stats.Evictions, stats.NoRoom, stats.DiskErrors
	status.ChecksumFailures, status.Damaged = stats.ChecksumFailures, stats.Damaged
	return status
}

func upstreamStatusOf(handlers []*Handler, known string) upstreamStatus {
	shown := upstreamStatus{Upstream: known, GitLab: "up", ObjectStorage: "up"}
	for _, h := range handlers {
		if h.client.Upstream() != known {
			continue
		}
		breakers := h.attachment.state.breakersOf(h.access)
		shown.ProbeAnswered = shown.ProbeAnswered || breakers.ProbeAnswered()
		down := breakers.Down()
		if slices.Contains(down, upstream.ServerGitLab) {
			shown.GitLab = "down"
		}
		if slices.Contains(down, upstream.ServerStorage) {
			shown.ObjectStorage = "down"
		}
		unnamed := h.stateOfOthers()
		shown.Switched, shown.From, shown.Since = unnamed.decision(), unnamed.from, unnamed.sinceOrNil()
	}
	return shown
}
