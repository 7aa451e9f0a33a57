package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

const (
	// limitedPause is how long a warming waits where GitLab limits requests and doesn't say for how long, maxLimitedPause how
	// long it waits at most at a time.
	limitedPause, maxLimitedPause = 30 * time.Second, time.Hour
	// maxWarmWaits is how often in a row a warming waits for a GitLab that limits requests, and maxFrontWaits for one that is
	// out of service and says for how long.
	maxWarmWaits, maxFrontWaits = 100, 5
)

// wait waits as long as GitLab's refusal to be asked says, and returns nil where asking again makes sense then; else why not,
// which is the refusal itself where there is nothing to wait for.
func (w *warming) wait(ctx context.Context, s *state, refusal error) error {
	wait, most := waitOf(refusal, s.now())
	if wait <= 0 {
		return refusal
	}
	w.mu.Lock()
	w.waits++
	tooOften := w.waits > most
	if until := s.now().Add(wait); until.After(w.waitsUntil) {
		w.waitsUntil = until
	}
	w.mu.Unlock()
	if tooOften {
		return fmt.Errorf("after waiting %d times: %w", most, refusal)
	}
	if err := w.await(ctx, s); err != nil {
		return err
	}
	if w.isSwitchedOff(s) {
		w.cancel(errWarmingSwitchedOff)
		return errWarmingSwitchedOff
	}
	return nil
}

// await waits until GitLab may be asked. Its error is the cause of the context's end.
func (w *warming) await(ctx context.Context, s *state) error {
	for {
		w.mu.Lock()
		wait := w.waitsUntil.Sub(s.now())
		w.mu.Unlock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if wait <= 0 {
			return nil
		}
		if err := s.process.pause(ctx, wait); err != nil {
			return err
		}
	}
}

// waitOf is how long to wait before GitLab is asked again, and how often in a row; 0 where asking again doesn't help.
func waitOf(refusal error, now time.Time) (wait time.Duration, most int) {
	if refused, ok := errors.AsType[*upstream.RefusedError](refusal); ok && refused.RateLimited() {
		return waitAsked(refused, now), maxWarmWaits
	}
	if refused, ok := errors.AsType[*upstream.ListRefusedError](refusal); ok && refused.Status == http.StatusTooManyRequests {
		return waitAsked(refused, now), maxWarmWaits
	}
	if unreachable, ok := errors.AsType[*upstream.UnreachableError](refusal); ok && unreachable.RetryAfter != "" {
		return waitAsked(unreachable, now), maxFrontWaits
	}
	return 0, 0
}

// waitAsked is how long to wait after an answer that says that there are too many requests.
func waitAsked(err error, now time.Time) time.Duration {
	wait, ok := upstream.RetryAfter(err, now)
	if !ok {
		wait = limitedPause
	}
	return min(max(wait, time.Second), maxLimitedPause)
}
