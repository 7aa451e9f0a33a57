package caddymodule

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metric "github.com/prometheus/client_model/go"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/buildinfo"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// adminStatus answers GET status.
func (a *App) adminStatus(r *http.Request) (any, error) {
	if err := readQuery(r, nil); err != nil {
		return nil, err
	}
	handlers, err := a.handlersOf("")
	if err != nil {
		return nil, err
	}
	status := a.process.status()
	status.Switches = a.switches.reading().String()
	status.Working = a.switches.reading() == switchesRead
	for _, state := range statesOf(handlers) {
		store := state.status()
		status.Working = status.Working && store.Usable
		status.Stores = append(status.Stores, store)
	}
	for _, known := range upstreamsOf(handlers) {
		shown := upstreamStatusOf(handlers, known)
		status.Working = status.Working && !isTrouble(shown.GitLab) && !isTrouble(shown.ObjectStorage)
		status.Upstreams = append(status.Upstreams, shown)
	}
	return status, nil
}

// status is what the process has counted.
func (p *processWide) status() adminapi.Status {
	status := adminapi.Status{
		Build:   buildinfo.Read(),
		Started: p.started.UTC(), UptimeSeconds: int64(time.Since(p.started).Seconds()), Working: true,
		Requests: make(map[string]int64), BytesSent: make(map[string]int64), RecentFailures: p.failures.recent(),
	}
	var served, downloads int64
	for outcome, count := range p.metrics.countRequests() {
		if count == 0 {
			continue
		}
		status.Requests[string(outcome)] = count
		switch outcome.class() {
		case classHit:
			served += count
			downloads += count
		case classFetched:
			downloads += count
		default:
		}
	}
	if downloads > 0 {
		ratio := float64(served) / float64(downloads)
		status.HitRatio = &ratio
	}
	var sent int64
	for source, counter := range p.metrics.sent {
		status.BytesSent[sourceNames[source]] = countOf(counter)
		sent += countOf(counter)
	}
	status.BytesUpstream = countOf(p.metrics.upstreamBytes)
	status.BytesWarmed = countOf(p.metrics.warmedBytes)
	// What was warmed is no loss: it was fetched in quiet hours for those who come. A fetch that nobody waited for until its end has
	// cost more than it gave.
	status.BytesSaved = max(0, sent-(status.BytesUpstream-status.BytesWarmed))
	return status
}

// countRequests reads how many requests had each outcome.
func (m *metrics) countRequests() map[outcome]int64 {
	counts := make(map[outcome]int64, len(m.requests))
	for outcome, counters := range m.requests {
		for _, counter := range counters {
			counts[outcome] += countOf(counter)
		}
	}
	return counts
}

// countOf reads a counter.
func countOf(counter prometheus.Counter) int64 {
	var read metric.Metric
	if err := counter.Write(&read); err != nil {
		return 0 // a counter can always be read
	}
	return int64(read.GetCounter().GetValue())
}

func (s *state) status() adminapi.StoreStatus {
	status := adminapi.StoreStatus{Directory: s.directory, Grants: s.grants.Len(), MaxSize: s.inForce.Load().limits.MaxSize}
	store := s.store.Load()
	if store == nil {
		status.Since = s.times.unusable(s.now())
		return status
	}
	stats := store.Stats()
	status.Usable, status.Loading = !store.IsLost(), stats.Loading
	if status.Usable {
		status.Since, status.Read = s.times.usable()
	} else {
		status.Since = s.times.unusable(s.now())
	}
	status.Bytes, status.MaxSize, status.PinnedBytes, status.MemoryBytes = stats.Bytes, stats.MaxSize, stats.Pinned, stats.MemoryBytes
	status.Entries, status.Files, status.Fills = stats.Entries, stats.Blobs, stats.Fills
	if !stats.Loading {
		status.FoundFiles, status.FoundBytes = stats.FoundBlobs, stats.FoundBytes
	}
	status.Evictions, status.NoRoom, status.DiskErrors = stats.Evictions, stats.NoRoom, stats.DiskErrors
	status.ChecksumFailures, status.Damaged = stats.ChecksumFailures, stats.Damaged
	status.SharedStore = s.sharedStatus(stats)
	return status
}

// sharedStatus is how the shared store does, of the newest config; nil for none.
func (s *state) sharedStatus(stats cache.Stats) *adminapi.SharedStoreStatus {
	h := s.shares()
	if h == nil {
		return nil
	}
	state := h.shared.State()
	status := &adminapi.SharedStoreStatus{
		Store: h.shared.String(), Endpoint: h.shared.Endpoint(), Reads: h.shared.reads, Writes: h.shared.writes,
		State: string(state.Condition), Reason: state.Reason,
		OwedFiles: stats.Owed, OwedBytes: stats.OwedBytes, OwedEvictions: stats.OwedEvicted,
	}
	if !state.Since.IsZero() {
		since := state.Since.UTC()
		status.Since = &since
	}
	return status
}

func upstreamStatusOf(handlers []*Handler, known string) adminapi.UpstreamStatus {
	shown := adminapi.UpstreamStatus{Upstream: known, GitLab: adminapi.Unasked, ObjectStorage: adminapi.Unasked}
	for _, h := range handlers {
		if h.client.Upstream() != known {
			continue
		}
		breakers := h.attachment.state.breakersOf(h.access)
		shown.ProbeAnswered = shown.ProbeAnswered || breakers.ProbeAnswered()
		answer := h.app.startAnswers.of(h.access)
		if answer != nil && (shown.AtStart == nil || answer.Err != nil) {
			shown.AtStart = shownStartAnswer(answer)
		}
		shown.GitLab = worse(shown.GitLab, serverStatus(breakers, upstream.ServerGitLab, answer))
		shown.ObjectStorage = worse(shown.ObjectStorage, serverStatus(breakers, upstream.ServerStorage, nil))
		shown.GitLabSince = earlier(shown.GitLabSince, breakers.DownSince(upstream.ServerGitLab))
		shown.ObjectStorageSince = earlier(shown.ObjectStorageSince, breakers.DownSince(upstream.ServerStorage))
		shown.GitLabAnswered = later(shown.GitLabAnswered, breakers.Heard(upstream.ServerGitLab).At)
		shown.ObjectStorageAnswered = later(shown.ObjectStorageAnswered, breakers.Heard(upstream.ServerStorage).At)
		if rules := h.rules.String(); !slices.Contains(shown.Rules, rules) {
			shown.Rules = append(shown.Rules, rules)
		}
		unnamed := h.switchOfOthers()
		shown.Switched, shown.From, shown.Since = unnamed.decision(), unnamed.from, unnamed.sinceOrNil()
	}
	return shown
}

// earlier is the earlier of two times, of which either may be missing.
func earlier(known *time.Time, at time.Time) *time.Time {
	if at.IsZero() || known != nil && known.Before(at) {
		return known
	}
	at = at.UTC()
	return &at
}

// later is the later of two times, of which either may be missing.
func later(known *time.Time, at time.Time) *time.Time {
	if at.IsZero() || known != nil && known.After(at) {
		return known
	}
	at = at.UTC()
	return &at
}

// serverStatus says how one server does by one way to it. atStart is how the start's question was answered, nil if it wasn't
// asked, or isn't answered yet.
func serverStatus(breakers *upstream.Breakers, server string, atStart *upstream.StartAnswer) string {
	heard := breakers.Heard(server)
	switch {
	case slices.Contains(breakers.Down(), server):
		return adminapi.Down
	case atStart != nil && atStart.Err != nil && !errors.Is(atStart.Err, upstream.ErrRedirectsToHTTPS) && !heard.At.After(atStart.Sent):
		return adminapi.Unanswered
	case heard.RedirectsToHTTPS:
		return adminapi.Redirects
	case heard.At.IsZero():
		return adminapi.Unasked
	}
	return adminapi.Up
}

// byTrouble are the words for a server's status, the worst last.
var byTrouble = []string{adminapi.Unasked, adminapi.Up, adminapi.Unanswered, adminapi.Redirects, adminapi.Down}

// worse returns the worse of what two ways to a server show.
func worse(a, b string) string {
	return byTrouble[max(slices.Index(byTrouble, a), slices.Index(byTrouble, b))]
}

// isTrouble reports whether a server's status is no good one.
func isTrouble(status string) bool { return status != adminapi.Up && status != adminapi.Unasked }
