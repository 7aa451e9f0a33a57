package caddymodule

import (
	"net/http"
	"time"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// adminVerify answers POST verify: it begins to verify all stores, where that isn't going on already.
func (a *App) adminVerify(r *http.Request) (any, error) {
	return a.withVerifications(r, func(state *state) error {
		store, err := storeOf(state)
		if err == nil {
			state.beginVerification(store, state.inForce.Load().verifyRate)
		}
		return err
	})
}

// adminVerification answers GET verify.
func (a *App) adminVerification(r *http.Request) (any, error) {
	return a.withVerifications(r, func(*state) error { return nil })
}

// adminStopVerifying answers DELETE verify.
func (a *App) adminStopVerifying(r *http.Request) (any, error) {
	return a.withVerifications(r, func(state *state) error {
		state.verification.stop()
		return nil
	})
}

// withVerifications does something for each directory and tells how it is then.
func (a *App) withVerifications(r *http.Request, do func(*state) error) (any, error) {
	if err := readJSON(r, &struct{}{}); err != nil {
		return nil, err
	}
	handlers, err := a.handlersOf("")
	if err != nil {
		return nil, err
	}
	list := adminapi.VerificationList{Verifications: []adminapi.VerificationStatus{}}
	for _, state := range statesOf(handlers) {
		if err := do(state); err != nil {
			return nil, err
		}
		list.Verifications = append(list.Verifications, state.verificationStatus())
	}
	return list, nil
}

func (s *state) verificationStatus() adminapi.VerificationStatus {
	var total int64
	if store := s.store.Load(); store != nil {
		stats := store.Stats()
		total = stats.Bytes - stats.Reserved - stats.Lingering
	}
	v := &s.verification
	v.mu.Lock()
	defer v.mu.Unlock()
	status := adminapi.VerificationStatus{
		Directory: s.directory, Running: v.running, Entries: v.progress.Entries, Total: v.progress.Total, Bytes: v.progress.Bytes,
		TotalBytes: max(total, v.progress.Bytes), Begun: timeOrNil(v.begun), Ended: timeOrNil(v.ended),
		Files: v.result.Blobs, Damaged: v.result.Damaged,
	}
	if v.err != nil {
		status.Error = v.err.Error()
	}
	return status
}

// timeOrNil is a time for JSON; nil for none.
func timeOrNil(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}
