package caddymodule

import (
	"sync"
	"time"
)

// storeTimes are since when the cache directory is as it is, for people.
type storeTimes struct {
	// mu guards all below; nothing is waited for under it.
	mu sync.Mutex
	// opened is when the directory was opened, read when the start's work was over. lost is when it was noticed that it can't be used;
	// zero while it can.
	opened, read, lost time.Time
}

// open notes that the directory was opened.
func (s *storeTimes) open(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened, s.read, s.lost = now, time.Time{}, time.Time{}
}

// noteRead notes that the start's work is over.
func (s *storeTimes) noteRead(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = now
}

// unusable returns since when the directory can't be used: since now, if that wasn't noticed before.
func (s *storeTimes) unusable(now time.Time) *time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost.IsZero() {
		s.lost = now
	}
	return later(nil, s.lost)
}

// usable returns when the directory was opened, and when the start's work was over; nil for a time that hasn't come.
func (s *storeTimes) usable() (opened, read *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return later(nil, s.opened), later(nil, s.read)
}
