package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

const (
	// warmAtOnce is how many files one warming fetches at a time: GitLab has others to serve.
	warmAtOnce = 4
	// maxWarmings is how many may run at once on one cache directory, keptWarmings how many that are over are remembered.
	maxWarmings, keptWarmings = 4, 20
	// maxToldErrors is how many failures a warming tells in words; it counts the others.
	maxToldErrors = 20
)

// warming is the fetching of a package's files into one cache directory before anybody asks for them. Those that one call
// begins for several directories have one id.
type warming struct {
	id                     string
	handler                *Handler
	project, name, version string
	pin                    string    // as the admin wrote it
	pinUntil               time.Time // zero for not at all
	anonymous              bool      // GitLab is asked without a token
	cancel                 context.CancelCauseFunc
	stopped                <-chan struct{} // closed when it begins no further file
	over                   chan struct{}
	begun                  time.Time
	// since is the moment of its beginning, in the store that it fills: what was used later isn't evicted for it.
	since *cache.Moment

	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	warmed
}

// warmed is how far a warming has come.
type warmed struct {
	listed bool
	// files is how many GitLab listed, already how many of them were here, fetched how many came, pinned how many were
	// pinned, failed how many came to nothing, and left how many weren't begun or found no room. bytes and doneBytes are sizes.
	files, already, fetched, pinned, failed, left int
	bytes, doneBytes                              int64
	// full says that there is no more room but that of files that were used since its beginning.
	full bool
	// waitsUntil is when GitLab, which limits requests, may be asked again, and waits how often in a row it was waited for.
	waitsUntil time.Time
	waits      int
	errors     []string
	ended      time.Time
	err        error
}

// warmings are those of one cache directory, the newest last.
type warmings struct {
	// mu guards list; nothing is waited for under it.
	mu   sync.Mutex
	list []*warming
}

var (
	// errTooManyWarmings says that no further warming is begun.
	errTooManyWarmings = errors.New("too many packages are being warmed at once; wait for one to end, or stop it")
	// errWarmingStopped and errWarmingSwitchedOff are why a warming ends before its last file.
	errWarmingStopped     = errors.New("it was stopped")
	errWarmingSwitchedOff = errors.New("the project was switched off")
	// errStoreGone is why a warming ends before its first file.
	errStoreGone = errors.New("the cache directory was given up before all of it was read; warm the package again")
)

// beginWarming begins a warming, in the caller's name. It ends by itself, with the state, or when it is stopped. The caller's
// token isn't kept in it: it is remembered for long after it is over.
func (s *state) beginWarming(store *cache.Store, w *warming, caller upstream.Caller) error {
	s.warmings.mu.Lock()
	defer s.warmings.mu.Unlock()
	running := 0
	for _, other := range s.warmings.list {
		if other.isRunning() {
			running++
		}
	}
	if running >= maxWarmings {
		return errTooManyWarmings
	}
	if !s.enter() {
		return errClosing
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	w.cancel, w.stopped, w.over, w.begun = cancel, ctx.Done(), make(chan struct{}), s.now()
	for len(s.warmings.list) >= keptWarmings+maxWarmings {
		oldest := slices.IndexFunc(s.warmings.list, func(other *warming) bool { return !other.isRunning() })
		s.warmings.list = slices.Delete(s.warmings.list, oldest, oldest+1)
	}
	s.warmings.list = append(s.warmings.list, w)
	w.handler.transports.hold()
	// Ends with the last file, or with ctx.
	go func() {
		defer s.leave()
		defer w.handler.transports.release()
		err := w.run(ctx, s, store, caller)
		cancel(nil)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended, w.err = s.now(), err
		w.logEnd(s.logger)
		close(w.over)
	}()
	return nil
}

func (w *warming) isRunning() bool {
	select {
	case <-w.over:
		return false
	default:
		return true
	}
}

// all are the warmings that are remembered, the newest last.
func (l *warmings) all() []*warming {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// find returns a warming; nil if it isn't known, or not any more.
func (l *warmings) find(id string) *warming {
	all := l.all()
	if at := slices.IndexFunc(all, func(w *warming) bool { return w.id == id }); at >= 0 {
		return all[at]
	}
	return nil
}

// run asks GitLab for the files and fetches those that aren't here.
func (w *warming) run(ctx context.Context, s *state, store *cache.Store, caller upstream.Caller) error {
	select {
	case <-store.Ready(): // what is used least isn't known before
	case <-store.Done():
		return errStoreGone
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.since = store.Moment()
	defer store.EndMoment(w.since)
	files, err := w.handler.client.PackageFiles(ctx, caller, w.project, w.name, w.version, func(err error) error { return w.wait(ctx, s, err) })
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.listed, w.files, w.waits = true, len(files), 0
	for _, file := range files {
		w.bytes += file.Size
	}
	w.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(warmAtOnce)
	for _, file := range files {
		group.Go(func() error {
			if w.goesOn(ctx, s) {
				w.note(file, w.warm(ctx, s, store, caller, file))
			}
			return nil
		})
	}
	_ = group.Wait() // failures are noted by file
	return context.Cause(ctx)
}

// goesOn reports whether a further file is to be begun, when GitLab may be asked, and counts one that isn't: not when the
// warming is stopped, when its project is switched off, or when there is no room any more.
func (w *warming) goesOn(ctx context.Context, s *state) bool {
	stopped := w.await(ctx, s) != nil
	if !stopped && w.isSwitchedOff(s) {
		w.cancel(errWarmingSwitchedOff)
		stopped = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if stopped || w.full {
		w.left++
		return false
	}
	return true
}

// note counts a file that failed, and tells the first few in words.
func (w *warming) note(file upstream.PackageFile, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(err, cache.ErrNoSpareRoom) {
		w.full = true
		w.left++
		return
	}
	w.doneBytes += file.Size
	if err == nil {
		return
	}
	w.failed++
	if len(w.errors) < maxToldErrors {
		w.errors = append(w.errors, fmt.Sprintf("%s: %v", file.Ref, err))
	}
}

// newWarming makes a warming of what an admin asks for.
func (h *Handler) newWarming(id, project, name, version string) *warming {
	return &warming{id: id, handler: h, project: project, name: name, version: version}
}

// logEnd tells the log how a warming ended. w.mu is held.
func (w *warming) logEnd(logger *zap.Logger) {
	logger.Info("a package was warmed", zap.String("project", w.project), zap.String("package", w.name), zap.Int("files", w.files),
		zap.Int("fetched", w.fetched), zap.Int("failed", w.failed), zap.Int("left", w.left), zap.Bool("no_room", w.full), zap.Error(w.err))
}

// isSwitchedOff reports whether the config in force, which may not be the one that began the warming, has the project off, or
// stands in front of its GitLab no more.
func (w *warming) isSwitchedOff(s *state) bool {
	h := s.handlerOf(w.handler.client.Upstream())
	return h == nil || h.switchOf(w.project).isOff()
}
