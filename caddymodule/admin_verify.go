package caddymodule

import (
	"net/http"
	"time"
)

// verificationStatus tells how far the verification of one directory is.
type verificationStatus struct {
	Directory string `json:"directory"`
	Running   bool   `json:"running"`
	// Begun is missing if there was none since the start, Ended while it runs.
	Begun *time.Time `json:"begun,omitempty"`
	Ended *time.Time `json:"ended,omitempty"`
	// Entries is how many were looked at, of Total; Bytes how many were read, of about TotalBytes.
	Entries    int   `json:"entries"`
	Total      int   `json:"total"`
	Bytes      int64 `json:"bytes"`
	TotalBytes int64 `json:"total_bytes"`
	// Files is how many were read, Damaged how many of them were wrong, short or gone, and were removed. Known at the end.
	Files   int `json:"files"`
	Damaged int `json:"damaged"`
	// Error says why it didn't come to its end.
	Error string `json:"error,omitempty"`
}

// verificationList is the answer to all calls about verifications.
type verificationList struct {
	Verifications []verificationStatus `json:"verifications"`
}

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
	list := verificationList{Verifications: []verificationStatus{}}
	for _, state := range statesOf(handlers) {
		if err := do(state); err != nil {
			return nil, err
		}
		list.Verifications = append(list.Verifications, state.verificationStatus())
	}
	return list, nil
}

func (s *state) verificationStatus() verificationStatus {
	var total int64
	if store := s.store.Load(); store != nil {
		stats := store.Stats()
		total = stats.Bytes - stats.Reserved - stats.Lingering
	}
	v := &s.verification
	v.mu.Lock()
	defer v.mu.Unlock()
	status := verificationStatus{
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
