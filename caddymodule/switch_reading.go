package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/caddymodule/adminapi"
)

// switchesReading is what a config could read of the run-time switches.
type switchesReading int32

const (
	// switchesRead: those in Caddy's storage, or there are none.
	switchesRead switchesReading = iota
	// switchesRecalled: they can't be read. What this process or a copy knows counts.
	switchesRecalled
	// switchesUnknown: they are there and can't be read, and nobody knows what they said. Nothing is served (design,
	// "Decisions").
	switchesUnknown
)

// String is what status says.
func (r switchesReading) String() string {
	return [...]string{adminapi.SwitchesRead, adminapi.SwitchesRecalled, adminapi.SwitchesUnknown}[r]
}

func (s *switchStore) reading() switchesReading { return switchesReading(s.readingNow.Load()) }

// begin reads the switches for the first time. Where they can't be read, those count that the process knows last, else the
// copies in these directories. Where nothing is known of switches that are there, nothing is served until they can be read
// or a command writes them anew.
func (s *switchStore) begin(ctx context.Context, directories []string) {
	last := s.process.lastSwitches.Load()
	if last != nil {
		s.present.Store(last)
	}
	_, _, err := s.look(ctx)
	if err == nil {
		return
	}
	if last == nil {
		last = s.recall(ctx, directories)
		if last != nil {
			s.present.Store(last)
			s.process.lastSwitches.CompareAndSwap(nil, last)
		}
	}
	switch {
	case last != nil:
		s.readingNow.Store(int32(switchesRecalled))
		s.logger.Error("the run-time switches can't be read from Caddy's storage; those known last are in force, and off counts where copies of them differ",
			zap.Duration("next_try_in", s.process.switchesPoll), zap.Error(err))
	case s.areThere(ctx, err):
		s.readingNow.Store(int32(switchesUnknown))
		s.logger.Error("the run-time switches can't be read from Caddy's storage, and there is no copy of them; all requests get 503 until the "+
			"file is mended, or disable, enable or reset writes it anew", zap.Duration("next_try_in", s.process.switchesPoll), zap.Error(err))
	default:
		s.readingNow.Store(int32(switchesRecalled))
		s.logger.Error("the run-time switches can't be read from Caddy's storage, and none are known; the config's word holds",
			zap.Duration("next_try_in", s.process.switchesPoll), zap.Error(err))
	}
}

// areThere reports whether somebody has ever switched something, after an attempt to read it failed.
func (s *switchStore) areThere(ctx context.Context, err error) bool {
	if errors.Is(err, errDamagedSwitches) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, switchesTimeout)
	defer cancel()
	return s.storage.Exists(ctx, switchesKey)
}

// failed notes that the switches could not be read again. What was in force stays so.
func (s *switchStore) failed(err error) {
	s.readingNow.CompareAndSwap(int32(switchesRead), int32(switchesRecalled))
	s.trouble.Do(func() {
		message := "the run-time switches can't be read from Caddy's storage; those known last stay in force"
		if s.reading() == switchesUnknown {
			message = "the run-time switches can't be read from Caddy's storage, and none are known; all requests get 503"
		}
		s.logger.Error(message, zap.Error(err))
	})
}

// succeeded notes that the switches could be read or were written.
func (s *switchStore) succeeded() {
	if before := switchesReading(s.readingNow.Swap(int32(switchesRead))); before != switchesRead {
		s.logger.Info("the run-time switches can be read again")
	}
}

// refuseUnknownSwitches answers while nobody knows which projects are off. It holds for every request: any could be for a
// project that is off.
func (x *exchange) refuseUnknownSwitches() {
	x.setOutcome(outcomeUnreachable, cacheStatusLocal(outcomeUnreachable))
	x.report.why = whyUnknownSwitches
	x.w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	x.writeJSON(http.StatusServiceUnavailable, bodyUnknownSwitches)
}
