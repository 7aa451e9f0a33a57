package caddymodule

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/gitlab-edge/caddy-gitlab-packages/bucket"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// state is what all configs that use one cache directory share, one after another or at once: the store, the grants,
// and the work under way. It outlives reloads; nothing in it belongs to a handler.
type state struct {
	process   *processWide
	directory string
	logger    *zap.Logger
	// now is the clock of everything that compares ages.
	now func() time.Time

	// ctx ends when the last config lets go. Fills and checks run on it, never on a request's or a handler's.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// workMu guards closing, and that work isn't added to while it is waited for.
	workMu  sync.Mutex
	closing bool
	// work counts the checks and fills that run on ctx and end by themselves, chores what runs until ctx ends.
	work, chores sync.WaitGroup

	// counted are the store's numbers that the metrics have taken in; the collector's.
	counted cache.Stats

	// store is nil while the directory can't be used.
	store atomic.Pointer[cache.Store]
	times storeTimes

	grants        *upstream.Grants
	fingerprinter *upstream.Fingerprinter
	flights       flights
	asks          asks
	rests         *rests
	formers       formers
	publishedSums publishedSums
	uncompared    *uncompared
	publishers    *publishers
	uploads       passingUploads
	answerWaits   answerWaits
	turns         turns
	// inForce are the settings of the newest config that holds the state.
	inForce atomic.Pointer[storeSettings]
	// changed receives when there are other settings, or the store is open at last.
	changed chan struct{}
	// adopted receives when another config's handlers are the newest, whose shared store counts from then on.
	adopted chan struct{}
	// notices are what is to be told (later).
	notices chan func()

	// breakersMu guards breakers: those of each way to a GitLab. Nothing is waited for under it.
	breakersMu sync.Mutex
	breakers   map[access]*upstream.Breakers

	// sharedMu guards what is known of the shared store, and of which that is.
	sharedMu    sync.Mutex
	sharedKnown *bucket.Memory
	sharedOf    sharedSettings

	verification verification
	warmings     warmings

	// fullTrouble keeps a disk that fills up again and again from filling the log.
	fullTrouble rate.Sometimes

	// holdersMu guards holders: the configs that hold the state, the newest last.
	holdersMu sync.Mutex
	holders   []*attachment
	// newest is the app of the last of them.
	newest atomic.Pointer[App]
}

// storeSettings are what a config says about the store in a directory. All handlers of a config must agree on them.
type storeSettings struct {
	limits cache.Limits
	// verifyEvery is 0 for never, verifyRate in bytes per second.
	verifyEvery time.Duration
	verifyRate  int64
	// shared is which bucket the bytes are shared by.
	shared sharedSettings
}

// newState opens a directory's store. It never fails: without a store the edge streams uncached.
func newState(p *processWide, directory string, settings storeSettings) *state {
	s := &state{
		process:       p,
		directory:     directory,
		logger:        lastingLogger("gitlab_packages"),
		now:           p.clock,
		grants:        upstream.NewGrants(p.maxGrants),
		fingerprinter: upstream.NewFingerprinter(),
		rests:         newRests(),
		formers:       newFormers(),
		publishedSums: newPublishedSums(),
		uncompared:    newUncompared(),
		publishers:    newPublishers(),
		changed:       make(chan struct{}, 1),
		adopted:       make(chan struct{}, 1),
		notices:       make(chan func(), maxNotices),
		fullTrouble:   rate.Sometimes{First: 1, Interval: 10 * time.Minute},
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.inForce.Store(&settings)
	_ = s.openStore() // which has told, and is tried again
	// These end with ctx.
	s.chores.Go(s.keepStore)
	s.chores.Go(s.keepVerifying)
	s.chores.Go(s.keepTelling)
	s.chores.Go(s.keepSharing)
	s.chores.Go(s.keepRefreshing)
	return s
}

// breakersOf returns the breakers of one way to a GitLab: what one config has found out by it, the next needn't learn anew.
func (s *state) breakersOf(way access) *upstream.Breakers {
	s.breakersMu.Lock()
	defer s.breakersMu.Unlock()
	breakers := s.breakers[way]
	if breakers == nil {
		breakers = upstream.NewBreakers(upstream.BreakerConfig{
			Pause:      s.process.breakerPause,
			OnChange:   func(server string, up bool) { s.later(func() { s.tellUpstream(way.upstream, server, up) }) },
			Background: s.beside,
		})
		if s.breakers == nil {
			s.breakers = make(map[access]*upstream.Breakers)
		}
		s.breakers[way] = breakers
	}
	return breakers
}

// beside runs a function beside the requests, on the state's context, which must end it. False means that the state is
// closing and the function doesn't run.
func (s *state) beside(run func(context.Context)) bool {
	s.workMu.Lock()
	defer s.workMu.Unlock()
	if s.closing {
		return false
	}
	// Ends with ctx at the latest.
	s.chores.Go(func() { run(s.ctx) })
	return true
}

// allBreakers returns the breakers of all ways to all GitLabs.
func (s *state) allBreakers() map[access]*upstream.Breakers {
	s.breakersMu.Lock()
	defer s.breakersMu.Unlock()
	return maps.Clone(s.breakers)
}

// serverNews is what is told of each server, whole so that the texts of the log are found here.
var serverNews = map[string]struct{ down, up string }{
	upstream.ServerGitLab:  {"GitLab doesn't answer", "GitLab answers again"},
	upstream.ServerStorage: {"the object storage doesn't answer", "the object storage answers again"},
}

// tellUpstream tells that a server isn't asked any more, or answers again.
func (s *state) tellUpstream(gitlab, server string, up bool) {
	about := map[string]any{"upstream": gitlab, "server": server}
	if up {
		s.tell(eventUpstreamUp, about)
		s.logger.Info(serverNews[server].up, zap.String("server", server), zap.String("upstream", gitlab))
		return
	}
	s.tell(eventUpstreamDown, about)
	s.tellTrouble(trouble{
		what:        serverNews[server].down,
		consequence: "it is asked again every few seconds until it does, and those whom GitLab allowed lately are served what is stored",
		where:       zap.String("upstream", gitlab),
		further:     []zap.Field{zap.String("server", server), zap.Duration("next_try_in", s.process.breakerPause)},
	})
}

// maxNotices bounds what waits to be told; more is dropped.
const maxNotices = 64

// later has something told soon, in order, by somebody else: who notices it holds a lock that requests take, and a log
// can be slow.
func (s *state) later(tell func()) {
	select {
	case s.notices <- tell:
	default:
	}
}

// keepTelling tells what was noticed, until ctx ends.
func (s *state) keepTelling() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case tell := <-s.notices:
			tell()
		}
	}
}

// tell tells Caddy's events app of the newest config. It waits for nothing.
func (s *state) tell(name string, data map[string]any) {
	if app := s.newest.Load(); app != nil {
		app.events.tell(name, data)
	}
}

// tellFull is told by the store when the file system has no room, and when it has again. It waits for nothing.
func (s *state) tellFull(full bool) {
	if !full {
		return
	}
	s.fullTrouble.Do(func() { s.later(s.tellFullNow) })
}

func (s *state) tellFullNow() {
	s.tellTrouble(trouble{
		what:        "the disk has no room",
		consequence: "files that don't fit stream through and aren't kept. Told every ten minutes at most",
		where:       zap.String("directory", s.directory),
	})
	s.tell(eventDiskFull, map[string]any{"directory": s.directory})
}

// adopt puts a config's settings into force.
func (s *state) adopt(at *attachment) {
	s.holdersMu.Lock()
	defer s.holdersMu.Unlock()
	s.holders = append(s.holders, at)
	s.applySettingsLocked()
}

// disown takes a config's settings out of force; those of the newest config that still holds the state count again.
func (s *state) disown(at *attachment) {
	s.holdersMu.Lock()
	defer s.holdersMu.Unlock()
	s.holders = slices.DeleteFunc(s.holders, func(other *attachment) bool { return other == at })
	s.applySettingsLocked()
	s.retireBreakersLocked()
}

// handlerOf returns a handler in front of a GitLab, of the newest config that holds the state and has one; nil for none.
func (s *state) handlerOf(upstream string) *Handler {
	s.holdersMu.Lock()
	defer s.holdersMu.Unlock()
	for _, holder := range slices.Backward(s.holders) {
		for _, h := range holder.handlers {
			if h.client.Upstream() == upstream {
				return h
			}
		}
	}
	return nil
}

// retireBreakersLocked forgets the breakers of ways to GitLab that no config goes any more. An open one would count as an
// outage, and probe a server that is gone, until the process ends.
func (s *state) retireBreakersLocked() {
	used := make(map[access]bool)
	for _, holder := range s.holders {
		for _, h := range holder.handlers {
			used[h.access] = true
		}
	}
	s.breakersMu.Lock()
	defer s.breakersMu.Unlock()
	for way, breakers := range s.breakers {
		if !used[way] {
			delete(s.breakers, way)
			breakers.Retire()
		}
	}
}

func (s *state) applySettingsLocked() {
	if len(s.holders) == 0 {
		return
	}
	newest := s.holders[len(s.holders)-1]
	s.newest.Store(newest.app)
	wake(s.adopted)
	settings := newest.settings
	before := s.inForce.Swap(&settings)
	s.process.memory.take(s, settings.limits.Memory)
	if *before == settings {
		return
	}
	if store := s.store.Load(); store != nil && before.limits != settings.limits {
		store.SetLimits(settings.limits)
	}
	s.announceChange()
}

// announceChange wakes who waits for other settings.
func (s *state) announceChange() { wake(s.changed) }

// wake tells who waits. One note is as good as two.
func wake(waiting chan<- struct{}) {
	select {
	case waiting <- struct{}{}:
	default:
	}
}

// Destruct lets the fills end, or ends them, closes the store and lets go of the directory. The last config to stop
// calls it. Downloads that follow a fill which is ended go on from GitLab, each by itself: Caddy waits for them longer.
func (s *state) Destruct() error {
	defer s.process.memory.take(s, 0)
	s.workMu.Lock()
	s.closing = true
	s.workMu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the work, which ends with ctx
		s.work.Wait()
		close(ended)
	}()
	timer := time.NewTimer(s.process.closePatience)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	if store := s.store.Load(); store != nil {
		store.EndFills()
	}
	s.cancel(cache.ErrFillsEnded)
	<-ended
	s.chores.Wait()
	if store := s.store.Load(); store != nil {
		err := store.Close()
		s.process.stateNumbers.take(s)
		return err
	}
	return nil
}

// enter announces a goroutine that runs on ctx and calls leave when it ends. False means that the state is closing
// and the goroutine must not start.
func (s *state) enter() bool {
	s.workMu.Lock()
	defer s.workMu.Unlock()
	if s.closing {
		return false
	}
	s.work.Add(1)
	return true
}

func (s *state) leave() { s.work.Done() }
