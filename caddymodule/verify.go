package caddymodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// verification is the reading of all stored files, by verify_every or on demand: one at a time for each directory.
type verification struct {
	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	// over is closed when the present one ends; nil before the first.
	over         chan struct{}
	cancel       context.CancelFunc
	running      bool
	begun, ended time.Time
	progress     cache.VerifyProgress
	result       cache.VerifyResult
	err          error
}

// beginVerification begins to verify the store, or returns when the running one is over. started tells which. It ends by
// itself, with the state, or when it is stopped.
func (s *state) beginVerification(store *cache.Store, rate int64) (over <-chan struct{}, started bool) {
	v := &s.verification
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.running {
		return v.over, false
	}
	if !s.enter() {
		return s.ctx.Done(), false // closing
	}
	ctx, cancel := context.WithCancel(s.ctx)
	v.over, v.cancel, v.running, v.begun, v.ended = make(chan struct{}), cancel, true, s.now(), time.Time{}
	v.progress, v.result, v.err = cache.VerifyProgress{}, cache.VerifyResult{}, nil
	// Ends with the verification, or with ctx.
	go func() {
		defer s.leave()
		// What came in during the last second counts too. A disk that keeps it from the index is told of elsewhere.
		_ = store.Sync(ctx)
		result, err := store.Verify(ctx, rate, v.note)
		cancel()
		v.mu.Lock()
		defer v.mu.Unlock()
		v.running, v.ended, v.result, v.err = false, s.now(), result, err
		close(v.over)
	}()
	return v.over, true
}

func (v *verification) note(progress cache.VerifyProgress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.progress = progress
}

// stop ends a running verification, and waits until it has.
func (v *verification) stop() {
	v.mu.Lock()
	running, over := v.running, v.over
	if running {
		v.cancel()
	}
	v.mu.Unlock()
	if running {
		<-over
	}
}

func (v *verification) lastError() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// keepVerifying verifies the store whenever verify_every has passed since the last time. Other settings take effect at
// once, also for a verification under way, which then begins anew when it is due.
func (s *state) keepVerifying() {
	for {
		settings := *s.inForce.Load()
		due, stop := s.nextVerification(settings)
		select {
		case <-s.ctx.Done():
			stop()
			return
		case <-s.changed:
			stop()
		case <-due:
			s.verifyRegularly(settings)
		}
	}
}

// verifyRetryPause is the wait after a verification that could not be finished.
const verifyRetryPause = 10 * time.Minute

// nextVerification returns a channel that receives when the store is to be verified; nil for never.
func (s *state) nextVerification(settings storeSettings) (due <-chan time.Time, stop func()) {
	store := s.store.Load()
	if store == nil || settings.verifyEvery == 0 {
		return nil, func() {}
	}
	wait := verifyRetryPause
	last, err := store.LastVerified()
	if err == nil {
		wait = max(0, settings.verifyEvery-s.now().Sub(last))
	} else {
		s.logger.Error("the time of the last verification can't be read", zap.Duration("next_try_in", wait), zap.Error(err))
	}
	timer := time.NewTimer(wait)
	return timer.C, func() { timer.Stop() }
}

// verifyRegularly runs one verification, until it is over or there are other settings. One that an admin has begun does
// as well, and isn't stopped by other settings.
func (s *state) verifyRegularly(settings storeSettings) {
	store := s.store.Load()
	if store == nil {
		return // its directory is gone; the next one is verified in its time
	}
	over, started := s.beginVerification(store, settings.verifyRate)
	select {
	case <-over:
	case <-s.changed:
		if started {
			s.verification.stop()
		}
		return
	}
	err := s.verification.lastError()
	if err == nil || s.ctx.Err() != nil || errors.Is(err, cache.ErrClosed) {
		return
	}
	s.logger.Error("the verification of the stored files failed", zap.Duration("next_try_in", verifyRetryPause), zap.Error(err))
	timer := time.NewTimer(verifyRetryPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.changed:
	case <-s.ctx.Done():
	}
}
