package caddymodule

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/buildinfo"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// stateCollector reads the numbers of all states in use when a registry is gathered, and adds them up: cache directories
// are the admin's to name, and no closed set.
type stateCollector struct {
	// states returns those in use.
	states func() []*state

	gauges, counters []stateMetric
	breakersOpen     *prometheus.Desc
	unusable         *prometheus.Desc
	sharedDown       *prometheus.Desc

	// mu guards totals. Under it stores are asked for their numbers, which waits for nothing.
	mu sync.Mutex
	// totals is what the counters of all stores have come to, those that are closed included: a sum over those in use
	// would fall when one of them goes.
	totals cache.Stats
}

// stateMetric is one number of the stores.
type stateMetric struct {
	desc  *prometheus.Desc
	value func(cache.Stats) int64
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
}

// descGrants is apart, since grants aren't the stores'.
var descGrants = describe("grants", "Callers whom GitLab's yes is remembered for.")

func indexesFailing(s cache.Stats) int64 {
	if s.IndexFailing {
		return 1
	}
	return 0
}

// descBuild is for joins, such as of an error rate with the version that it came with.
var descBuild = describe("build_info", "What the program was built from; its value is 1.", "version", "commit", "caddy", "go")

func newStateCollector(states func() []*state) *stateCollector {
	return &stateCollector{
		states: states,
		gauges: []stateMetric{
			{describe("store_bytes", "Bytes that count towards max_size."), func(s cache.Stats) int64 { return s.Bytes }},
			{describe("store_max_bytes", "What max_size allows, in bytes."), func(s cache.Stats) int64 { return s.MaxSize }},
			{describe("store_pinned_bytes", "Bytes of files that are pinned."), func(s cache.Stats) int64 { return s.Pinned }},
			{describe("shared_store_owed_files", "Files that the shared store is still to get."), func(s cache.Stats) int64 { return int64(s.Owed) }},
			{describe("shared_store_owed_bytes", "Bytes of files that the shared store is still to get."), func(s cache.Stats) int64 { return s.OwedBytes }},
			{describe("memory_bytes", "Bytes in the memory tier."), func(s cache.Stats) int64 { return s.MemoryBytes }},
			{describe("entries", "Files by name."), func(s cache.Stats) int64 { return int64(s.Entries) }},
			{describe("fills", "Files on their way in."), func(s cache.Stats) int64 { return s.Fills }},
			{describe("indexes_failing", "Cache directories whose index could not be written last time, so that what came in since isn't durable."), indexesFailing},
		},
		counters: []stateMetric{
			{describe("evictions_total", "Entries evicted to make room."), func(s cache.Stats) int64 { return s.Evictions }},
			{describe("stored_bytes_total", "Bytes of files that were stored."), func(s cache.Stats) int64 { return s.StoredBytes }},
			{describe("no_room_total", "Files that were not stored for want of room."), func(s cache.Stats) int64 { return s.NoRoom }},
			{describe("checksum_failures_total", "Bodies and stored files whose checksum was wrong."), func(s cache.Stats) int64 { return s.ChecksumFailures }},
			{describe("damaged_files_total", "Stored files that were found wrong, short or gone."), func(s cache.Stats) int64 { return s.Damaged }},
			{describe("shared_store_owed_evictions_total", "Files evicted although the shared store was still to get them."), func(s cache.Stats) int64 { return s.OwedEvicted }},
			{describe("disk_errors_total", "Errors of the disk."), func(s cache.Stats) int64 { return s.DiskErrors }},
		},
		unusable:     describe("directories_unusable", "Cache directories that can't be used, so that downloads stream uncached."),
		sharedDown:   describe("shared_stores_down", "Shared stores that can't be used."),
		breakersOpen: describe("breakers_open", "Servers that aren't asked, since they failed the edge's own probe.", "server"),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- descBuild
	for _, list := range [][]stateMetric{c.gauges, c.counters} {
		for _, metric := range list {
			descriptions <- metric.desc
		}
	}
	descriptions <- descGrants
	descriptions <- c.unusable
	descriptions <- c.sharedDown
	descriptions <- c.breakersOpen
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(collected chan<- prometheus.Metric) {
	now, grants, unusable, sharedDown, open := make([]int64, len(c.gauges)), 0, 0, 0, make(map[string]int)
	for _, state := range c.states() {
		stats := c.take(state)
		for i, metric := range c.gauges {
			now[i] += metric.value(stats)
		}
		grants += state.grants.Len()
		if !state.isUsable() {
			unusable++
		}
		if shared := state.sharedStatus(stats); shared != nil && shared.State == adminapi.SharedDown {
			sharedDown++
		}
		for _, breakers := range state.allBreakers() {
			for _, server := range breakers.Down() {
				open[server]++
			}
		}
	}
	c.mu.Lock()
	totals := c.totals
	c.mu.Unlock()
	for i, metric := range c.gauges {
		collected <- prometheus.MustNewConstMetric(metric.desc, prometheus.GaugeValue, float64(now[i]))
	}
	for _, metric := range c.counters {
		collected <- prometheus.MustNewConstMetric(metric.desc, prometheus.CounterValue, float64(metric.value(totals)))
	}
	build := buildinfo.Read()
	collected <- prometheus.MustNewConstMetric(descBuild, prometheus.GaugeValue, 1, build.Version, build.Commit, build.Caddy, build.Go)
	collected <- prometheus.MustNewConstMetric(descGrants, prometheus.GaugeValue, float64(grants))
	collected <- prometheus.MustNewConstMetric(c.unusable, prometheus.GaugeValue, float64(unusable))
	collected <- prometheus.MustNewConstMetric(c.sharedDown, prometheus.GaugeValue, float64(sharedDown))
	for _, server := range []string{upstream.ServerGitLab, upstream.ServerStorage} {
		collected <- prometheus.MustNewConstMetric(c.breakersOpen, prometheus.GaugeValue, float64(open[server]), server)
	}
}

// take reads a state's numbers and adds to the totals what has come since they were last read. A state that ends calls
// it a last time.
func (c *stateCollector) take(state *state) cache.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takeLocked(state)
}

// takeStore takes the store from a state that goes on without it, with its numbers.
func (c *stateCollector) takeStore(state *state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takeLocked(state)
	state.store.Store(nil)
	state.counted = cache.Stats{}
}

func (c *stateCollector) takeLocked(state *state) cache.Stats {
	store := state.store.Load()
	if store == nil {
		return cache.Stats{}
	}
	stats := store.Stats()
	c.totals = c.totals.Plus(stats.Since(state.counted))
	state.counted = stats
	return stats
}
