package caddymodule

import (
	"context"
	"crypto/rand"
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

// warming is the fetching of a package's files before anybody asks for them.
type warming struct {
	id                     string
	handler                *Handler
	project, name, version string
	pinUntil               time.Time // zero for not at all
	anonymous              bool      // GitLab is asked without a token
	cancel                 context.CancelFunc
	over                   chan struct{}
	begun                  time.Time

	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	warmed
}

// warmed is how far a warming has come.
type warmed struct {
	listed bool
	// files is how many GitLab listed, already how many of them were here, fetched how many came, pinned how many were
	// pinned, and failed how many came to nothing. bytes and fetchedBytes are sizes.
	files, already, fetched, pinned, failed int
	bytes, doneBytes                        int64
	errors                                  []string
	ended                                   time.Time
	err                                     error
}

// warmings are those of one cache directory, the newest last.
type warmings struct {
	// mu guards list; nothing is waited for under it.
	mu   sync.Mutex
	list []*warming
}

// errTooManyWarmings says that no further warming is begun.
var errTooManyWarmings = errors.New("too many packages are being warmed at once; wait for one to end, or stop it")

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
	ctx, cancel := context.WithCancel(s.ctx)
	w.id, w.cancel, w.over, w.begun = rand.Text()[:8], cancel, make(chan struct{}), s.now()
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
		defer cancel()
		err := w.run(ctx, s, store, caller)
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

// find returns a warming; nil if it isn't known, or not any more.
func (l *warmings) find(id string) *warming {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.list {
		if w.id == id {
			return w
		}
	}
	return nil
}

// run asks GitLab for the files and fetches those that aren't here.
func (w *warming) run(ctx context.Context, s *state, store *cache.Store, caller upstream.Caller) error {
	files, err := w.handler.client.PackageFiles(ctx, caller, w.project, w.name, w.version)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.listed, w.files = true, len(files)
	for _, file := range files {
		w.bytes += file.Size
	}
	w.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(warmAtOnce)
	for _, file := range files {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			w.note(file, w.warm(ctx, s, store, caller, file))
			return nil
		})
	}
	_ = group.Wait() // failures are noted by file
	return context.Cause(ctx)
}

// note counts a file that failed, and tells the first few in words.
func (w *warming) note(file upstream.PackageFile, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doneBytes += file.Size
	if err == nil {
		return
	}
	w.failed++
	if len(w.errors) < maxToldErrors {
		w.errors = append(w.errors, fmt.Sprintf("%s: %v", file.Ref, err))
	}
}

// warm sees to it that one file is here, and pinned if that is wanted.
func (w *warming) warm(ctx context.Context, s *state, store *cache.Store, caller upstream.Caller, file upstream.PackageFile) error {
	h := w.handler
	if err := h.rules.Check(file.Ref); err != nil {
		return fmt.Errorf("nobody could download it: %w", err)
	}
	target := h.targetOf(file.Ref)
	entry, err := store.Lookup(target.key)
	switch {
	case err == nil && file.SHA256 != "" && entry.Digest.String() == file.SHA256:
		w.count(&w.already)
	case err == nil || errors.Is(err, cache.ErrMiss):
		if err := w.fetch(ctx, s, store, caller, target); err != nil {
			return err
		}
		w.count(&w.fetched)
	default:
		return err
	}
	if w.pinUntil.IsZero() {
		return nil
	}
	switch err := store.Pin(ctx, target.key, w.pinUntil); {
	case errors.Is(err, cache.ErrNoRoom):
		return errors.New("it is here and not pinned: max_pinned allows no more")
	case err != nil:
		return err
	}
	w.count(&w.pinned)
	return nil
}

func (w *warming) count(counter *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*counter++
}

// fetch leads a flight for a file, or waits for the one that somebody else leads, until the file is stored.
func (w *warming) fetch(ctx context.Context, s *state, store *cache.Store, caller upstream.Caller, target target) error {
	h, key := w.handler, target.key
	who := reader{caller, upstream.GrantKey{
		Upstream: key.Upstream, Fingerprint: s.fingerprinter.Of(caller.Credential), Project: key.Project, File: upstream.FileOf(target.ref),
	}}
	// Nobody waits to be handed what can't be stored.
	nobody, leave := context.WithCancel(ctx)
	leave()
	for range maxAttempts {
		generation := store.Generation(key)
		fl := h.newFlight(s, store, target, generation, leader{
			reader: who, askKey: askKey{access: h.access, grantKey: who.grantKey, key: key, generation: generation},
			standing: upstream.Trusted, insists: true, ctx: nobody,
		})
		switch err := fl.begin(nil, nil); {
		case errors.Is(err, errOvertaken):
			if err := w.await(ctx, s.flights.running(key, generation, nil)); err != nil {
				return err
			}
			if _, err := store.Lookup(key); err == nil {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		<-fl.over // a warming that is stopped ends with the files that it fetches
		switch {
		case fl.err != nil:
			return fl.err
		case fl.fill == nil:
			return nil // its bytes were here, under another name
		}
		_, err := fl.fill.Result()
		if errors.Is(err, cache.ErrSuperseded) && ctx.Err() == nil {
			continue // published over meanwhile
		}
		return err
	}
	return errors.New("the file changes faster than it can be fetched")
}

// await waits for somebody else's flight to end; nil for one that has already.
func (w *warming) await(ctx context.Context, fl *flight) error {
	if fl == nil {
		return nil
	}
	if !fl.waitHead(ctx) {
		return context.Cause(ctx)
	}
	if fl.fill == nil {
		return nil
	}
	select {
	case <-fl.fill.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newWarming makes a warming of what an admin asks for.
func (h *Handler) newWarming(project, name, version string, pinUntil time.Time) *warming {
	return &warming{handler: h, project: project, name: name, version: version, pinUntil: pinUntil}
}

// logEnd tells the log how a warming ended. w.mu is held.
func (w *warming) logEnd(logger *zap.Logger) {
	logger.Info("a package was warmed", zap.String("project", w.project), zap.String("package", w.name), zap.Int("files", w.files),
		zap.Int("fetched", w.fetched), zap.Int("failed", w.failed), zap.Error(w.err))
}
