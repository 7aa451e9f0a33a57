package upstream

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Breakers are those of one GitLab, reached by one kind of transport, and of its object storage: one for GitLab and one for
// each host of the storage. They are safe for concurrent use and outlive the clients that use them.
type Breakers struct {
	config BreakerConfig
	gitlab *breaker

	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	// retired says that further breakers are made retired.
	retired bool
	// storage holds the breakers of the storage's hosts, at most maxStorageHosts. GitLab names them, and nobody else.
	storage map[string]*breaker
}

// BreakerConfig says how breakers behave.
type BreakerConfig struct {
	// Pause is how long a server that is down isn't asked at first. DefaultBreakerPause if it isn't positive.
	Pause time.Duration

	// OnChange, if set, is told when a server (ServerGitLab, ServerStorage) isn't asked any more, and when it answers again.
	// It must not wait for anything: requests do.
	OnChange func(server string, up bool)

	// Background runs a function beside the requests, with a context that ends with the edge; false if the edge is closing
	// and the function doesn't run. A goroutine without an end by default.
	Background func(run func(context.Context)) bool
}

// Names of the servers that breakers watch.
const (
	ServerGitLab  = "gitlab"
	ServerStorage = "object storage"
)

// maxStorageHosts bounds the hosts of object storage that are told apart; those beyond it share one breaker.
const maxStorageHosts = 64

// NewBreakers returns breakers that let everything through until something fails.
func NewBreakers(config BreakerConfig) *Breakers {
	if config.Pause <= 0 {
		config.Pause = DefaultBreakerPause
	}
	if config.Background == nil {
		config.Background = func(run func(context.Context)) bool {
			go run(context.Background()) // ends with the probe, or when its breaker closes
			return true
		}
	}
	b := &Breakers{config: config, storage: make(map[string]*breaker)}
	b.gitlab = b.newBreaker(ServerGitLab)
	return b
}

func (b *Breakers) newBreaker(name string) *breaker {
	return &breaker{name: name, pause: b.config.Pause, onChange: b.config.OnChange, background: b.config.Background, opened: make(chan struct{})}
}

// storageAt returns the breaker of a host of the object storage.
func (b *Breakers) storageAt(host string) *breaker {
	host = strings.ToLower(host)
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.storage[host]; known != nil {
		return known
	}
	if len(b.storage) >= maxStorageHosts {
		host = ""
		if known := b.storage[host]; known != nil {
			return known
		}
	}
	fresh := b.newBreaker(ServerStorage)
	fresh.retired = b.retired
	b.storage[strings.Clone(host)] = fresh
	return fresh
}

// Retire closes the breakers for good: nobody begins to ask by this way any more. Fetches that go on are let through.
func (b *Breakers) Retire() {
	b.gitlab.retire()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retired = true
	for _, host := range b.storage {
		host.retire()
	}
}

// Down returns the kinds of servers of which one isn't asked, or only to see whether it is back.
func (b *Breakers) Down() (servers []string) {
	if b.gitlab.isOpen() {
		servers = append(servers, ServerGitLab)
	}
	if slices.ContainsFunc(b.storageHosts(), (*breaker).isOpen) {
		servers = append(servers, ServerStorage)
	}
	return servers
}

// storageHosts are the breakers of the storage's hosts, in no order.
func (b *Breakers) storageHosts() []*breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.storage))
}

// DownSince is since when GitLab (ServerGitLab), or the host of its object storage (ServerStorage) that is down longest, isn't asked;
// zero where Down doesn't name it.
func (b *Breakers) DownSince(server string) (since time.Time) {
	if server == ServerGitLab {
		return b.gitlab.openedAt()
	}
	for _, host := range b.storageHosts() {
		if at := host.openedAt(); since.IsZero() || !at.IsZero() && at.Before(since) {
			since = at
		}
	}
	return since
}

// ProbeAnswered reports whether GitLab has answered the probe. Until then its breaker can't open: perhaps nothing lets the probe
// through, ever.
func (b *Breakers) ProbeAnswered() bool {
	b.gitlab.mu.Lock()
	defer b.gitlab.mu.Unlock()
	return b.gitlab.believed
}
