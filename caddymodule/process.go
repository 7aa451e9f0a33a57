package caddymodule

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/history"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// processWide is what outlives a reload: all that one config learns and the next must know, and what the process counts. Only
// switches lie elsewhere too, in Caddy's storage. An App and a Handler get it when they are provisioned, and everything below
// them from there.
type processWide struct {
	environment

	// states holds the state of each cache directory in use, by its path. A state ends with the last config that uses it.
	states *caddy.UsagePool
	// aliasMemories holds what each GitLab has told of its projects' names, by aliasSource: a reload while GitLab can't be
	// asked must not serve a project by a name whose switch is known by another. Each is bounded, and ends with the last
	// handler that uses it.
	aliasMemories *caddy.UsagePool
	// tokens makes keyed hashes of the tokens by which GitLab was asked for names.
	tokens *upstream.Fingerprinter
	// lastSwitches is what any config read last of the run-time switches, nil before the first: a reload while the storage
	// can't be read must not switch projects on again that are off.
	lastSwitches atomic.Pointer[storedSwitches]

	// beginningWarmings makes one step of looking for a warming to join and beginning one, on all directories that a call is about
	// and whichever config it came to. It is taken before the locks of states and their warmings; nothing is waited for under it.
	beginningWarmings sync.Mutex
	// memory is what the memory tiers of all cache directories may take.
	memory memoryShares
	// partServers are the servers that parts of files are asked of.
	partServers *partServers
	// workers answer requests by HTTP/2 and 3.
	workers workers
	// failures are the last ones, of any config.
	failures failures
	// knownProjects are those whose names admins are shown.
	knownProjects *knownProjects
	refusals      *refusals
	metrics       *metrics
	// stateNumbers collects the numbers of states, and keeps those of states that have ended.
	stateNumbers *stateCollector
	// history is that of what the metrics count.
	history *historyKeeper
	// started is when the process began to count.
	started time.Time
}

// environment is what the edge finds in the world, and how long it waits for that. Tests change it, before they start an edge.
type environment struct {
	// clock is the edge's time. Tests put it forward.
	clock func() time.Time
	// fileSystem is that of all stores, nil for the operating system's. Tests break it.
	fileSystem cache.FS
	// historyDisk is that of the history, nil for the operating system's. Tests break it.
	historyDisk history.Disk
	// adapterLog is where warnings about a Caddyfile go. Caddy lets no directive add to the adapter's own warnings
	// (httpcaddyfile.Helper keeps them to itself), so that they are logged, as Caddy's server type does.
	adapterLog func() *zap.Logger

	// asksAtStart says that each GitLab is asked whether it is there when a config comes into force (start_answers.go). Tests that
	// count what GitLab is asked do without.
	asksAtStart bool
	// maxGrants bounds the grants that are remembered for one cache directory. Past it, or past a 16th of it for one address,
	// the least recently used is forgotten, which costs its owner a check.
	maxGrants int

	// breakerPause is how long a server that has failed the edge's own probe isn't asked at first.
	breakerPause time.Duration
	// checkTimeout is how long a check waits for GitLab where check_timeout isn't set.
	checkTimeout time.Duration
	// startPatience is how long a request waits for the app to start. When another app of the config fails to, this one may
	// never: then the config that stays in force waits for the requests of the one that failed.
	startPatience time.Duration
	// closePatience is how long fills under way may go on when the edge stops. Caddy stops apps in no fixed order, so
	// downloads may still run; service managers wait for five seconds and more before they kill.
	closePatience time.Duration
	// bodyPatience is how long the body of a request that is no upload may take to arrive.
	bodyPatience time.Duration
	// turnPatience is how long a fetch waits its turn. Then the download goes to GitLab by itself, uncached: a caller with
	// many long fetches under way is slowed down and not refused.
	turnPatience time.Duration
	// rangePatience is how long a range that GitLab isn't asked for waits for the fill to come to it. Downloaders give up a
	// connection that is silent for a minute or so.
	rangePatience time.Duration
	// storeRetryPause is the wait between tries to open a store that could not be opened.
	storeRetryPause time.Duration
	// storeLookPause is the wait between looks whether the store's directory is still there.
	storeLookPause time.Duration
	// historyPause is the longest wait between looks whether the clock has jumped, and whether the history can be written again.
	historyPause time.Duration
	// namesPatience is how long a list of projects waits for GitLab to tell which names belong together: all questions
	// of the list together, of which a few are asked at a time.
	namesPatience time.Duration
	// pause waits, or returns the context's error: how a warming waits while GitLab limits requests. Tests put the clock forward
	// instead.
	pause func(ctx context.Context, wait time.Duration) error
	// storagePart is how large the parts are that object storage is asked for, and gitLabPart those of GitLab itself at least, each of
	// which is a request that its limits count.
	storagePart, gitLabPart int64
	// soonOver is how long a file may still take to be left to one connection.
	soonOver time.Duration
	// trialPause is how long GitLab is watched before a further connection is tried, and then how long that is tried.
	trialPause time.Duration
	// partPatience is how long a part that is waited for may take to bring its first byte.
	partPatience time.Duration
	// sharedSpread is how long a fetched file of that size waits before it is written to the shared store.
	sharedSpread func(size int64) time.Duration
	// sharedPause is the longest pause of writing to the shared store, after trouble.
	sharedPause time.Duration
	// sharedWalksPause is how long it is from one look for what the shared store should have to the next.
	sharedWalksPause time.Duration
	// switchesPoll is how often Caddy's storage is looked at for what other instances switched.
	switchesPoll time.Duration
}

// process is the one variable of what outlives a reload: Caddy makes modules itself, so nobody else could hand it to them.
// Only Provision reads it, and the parser of api_token, which no config is there for yet.
var process = newProcessWide()

func newProcessWide() *processWide {
	p := &processWide{
		environment: environment{
			clock:            time.Now,
			adapterLog:       func() *zap.Logger { return caddy.Log().Named("adapter.caddyfile") },
			asksAtStart:      true,
			maxGrants:        100_000,
			historyPause:     10 * time.Second,
			breakerPause:     upstream.DefaultBreakerPause,
			checkTimeout:     upstream.DefaultCheckTimeout,
			startPatience:    10 * time.Second,
			closePatience:    3 * time.Second,
			bodyPatience:     10 * time.Second,
			turnPatience:     30 * time.Second,
			rangePatience:    20 * time.Second,
			storeRetryPause:  10 * time.Second,
			storeLookPause:   2 * time.Second,
			namesPatience:    3 * time.Second,
			pause:            pause,
			sharedSpread:     sharedSpread,
			storagePart:      8 << 20,
			gitLabPart:       64 << 20,
			soonOver:         time.Second,
			trialPause:       2 * time.Second,
			partPatience:     2 * time.Second,
			sharedPause:      maxSharedPause,
			switchesPoll:     5 * time.Second,
			sharedWalksPause: walksPause,
		},
		states:        caddy.NewUsagePool(),
		aliasMemories: caddy.NewUsagePool(),
		tokens:        upstream.NewFingerprinter(),
		knownProjects: newKnownProjects(),
		refusals:      newRefusals(),
		started:       time.Now(),
	}
	p.partServers = newPartServers(&p.environment)
	p.stateNumbers = newStateCollector(p.statesInUse)
	p.metrics = newMetrics(p.stateNumbers)
	p.history = newHistoryKeeper(p)
	return p
}

// pause waits, or returns the cause of the context's end.
func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// statesInUse returns the states of all cache directories in use.
func (p *processWide) statesInUse() (inUse []*state) {
	p.states.Range(func(_, value any) bool {
		inUse = append(inUse, value.(*state))
		return true
	})
	return inUse
}
