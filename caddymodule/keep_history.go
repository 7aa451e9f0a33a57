package caddymodule

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/history"
)

// historyName is the history's name in a cache directory. Package cache knows it, since it lies among a store's own files.
const historyName = "history"

// historyKeeper keeps the history of what the process counts: it reads the metrics once a minute, and decides where the history
// lies. That is beside the index of the first cache directory, by name, of the config in force, and only while this process holds
// the directory:
//
//   - While it can't be used, or is lost, the history goes on in memory. What was counted meanwhile is added to the file that is found
//     when it can be used again.
//   - A config with the same first directory goes on in it, without a gap. One with another first directory takes the history there, or
//     goes on with the one that it finds.
//   - While two configs are in use the newer one counts. If it ends first, since its start failed, the history goes back.
//   - When the last config ends, the history is written and let go of, before the directory is given to others.
type historyKeeper struct {
	process *processWide
	logger  *zap.Logger

	// mu guards all below. Under it the file is read and written, for which a config's start and end may wait; no request takes it.
	mu sync.Mutex
	// places are where each config in use would have the history, the newest last.
	places []*attachment
	// counted are the totals when the last config ended.
	counted history.Counts
	// failing says that the disk failed last time, so that it is told once.
	failing bool
	// cancel ends the goroutine that runs while there are places, and ended is closed by it.
	cancel context.CancelFunc
	ended  chan struct{}

	// present is the history while a config is in use, for those who read it.
	present atomic.Pointer[history.History]
}

func newHistoryKeeper(p *processWide) *historyKeeper {
	return &historyKeeper{process: p, logger: lastingLogger("gitlab_packages")}
}

// begin has a config's first directory be where the history lies. The config holds the directory's state.
func (k *historyKeeper) begin(place *attachment) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.places) == 0 {
		k.present.Store(history.New(history.Config{
			Bounds: firstByteBuckets, Before: k.counted, Logger: k.logger, Now: k.process.clock, Disk: k.process.historyDisk,
		}))
	} else {
		k.recordLocked() // what was counted so far belongs where the history has been
	}
	k.places = append(k.places, place)
	k.writeLocked()
	if len(k.places) == 1 {
		var ctx context.Context
		ctx, k.cancel = context.WithCancel(context.Background())
		k.ended = make(chan struct{})
		// Ends with the last config.
		go k.keep(ctx, k.ended)
	}
}

// leave takes a config out again, if it has come to begin. What was counted is written where the history lies until then; afterwards
// the config may let go of the directory.
func (k *historyKeeper) leave(place *attachment) {
	k.mu.Lock()
	if !slices.Contains(k.places, place) {
		k.mu.Unlock()
		return
	}
	k.recordLocked()
	if len(k.places) > 1 && k.places[len(k.places)-1] == place {
		k.present.Load().Release() // so that what was counted since it began belongs where the history goes back to
	} else {
		k.writeLocked()
	}
	k.places = slices.DeleteFunc(k.places, func(other *attachment) bool { return other == place })
	if len(k.places) > 0 {
		k.writeLocked()
		k.mu.Unlock()
		return
	}
	k.present.Swap(nil).Release()
	k.cancel()
	ended := k.ended
	k.mu.Unlock()
	<-ended
}

// keep looks at each turn of a minute, until ctx ends. In between it looks whether the clock has jumped, and whether the directory
// can be used again.
func (k *historyKeeper) keep(ctx context.Context, ended chan<- struct{}) {
	defer close(ended)
	for ctx.Err() == nil {
		_ = pause(ctx, k.look(ctx)) // it fails when ctx has ended
	}
}

// look records and writes what is due, and returns how long there is nothing to do. It does nothing when ctx has ended.
func (k *historyKeeper) look(ctx context.Context) (wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() != nil {
		return 0
	}
	h := k.present.Load()
	if h.UntilDue() <= 0 {
		k.recordLocked()
	}
	k.writeLocked()
	// A clock that stands still at the end of a minute must not keep a processor busy.
	return max(time.Millisecond, min(h.UntilDue(), k.process.historyPause))
}

func (k *historyKeeper) recordLocked() {
	k.counted = k.process.metrics.totals()
	k.present.Load().Record(k.counted)
}

// writeLocked writes what isn't written yet, where the history is to lie now.
func (k *historyKeeper) writeLocked() {
	h, place := k.present.Load(), k.places[len(k.places)-1]
	if !place.state.isUsable() {
		h.Release() // which others tell of
		return
	}
	err := h.KeepIn(filepath.Join(place.directory, historyName))
	if err != nil && !k.failing {
		k.process.tellTrouble(k.logger, trouble{
			what:        "the edge's history can't be written",
			consequence: "it goes on in memory until it can, and a restart before that loses what came since",
			where:       zap.String("directory", place.directory), err: err, passing: true,
		})
	}
	if err == nil && k.failing {
		k.logger.Info("the edge's history is written again", zap.String("directory", place.directory))
	}
	k.failing = err != nil
}
