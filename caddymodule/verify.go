package caddymodule

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

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
			s.verify(settings)
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
		s.logger.Error("it isn't known when the stored files were last verified", zap.Duration("next_try_in", wait), zap.Error(err))
	}
	timer := time.NewTimer(wait)
	return timer.C, func() { timer.Stop() }
}

// verify runs one verification, until it is over or there are other settings.
func (s *state) verify(settings storeSettings) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	store := s.store.Load()
	var err error
	over := make(chan struct{})
	// Ends with the verification, or with ctx.
	s.work.Go(func() {
		defer close(over)
		_, err = store.Verify(ctx, settings.verifyRate, nil)
	})
	select {
	case <-over:
	case <-s.changed:
		cancel()
		<-over
		return
	}
	if err == nil || s.ctx.Err() != nil || errors.Is(err, cache.ErrClosed) {
		return
	}
	s.logger.Error("verifying the stored files failed", zap.Duration("next_try_in", verifyRetryPause), zap.Error(err))
	timer := time.NewTimer(verifyRetryPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.changed:
	case <-s.ctx.Done():
	}
}
