package caddymodule

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// openStore tries once to open the store.
func (s *state) openStore() error {
	limits := s.inForce.Load().limits
	store, err := cache.Open(cache.Config{Dir: s.directory, Limits: limits, Logger: s.logger, Now: s.now, FS: s.process.fileSystem, OnFull: s.tellFull})
	if err != nil {
		s.times.unusable(s.now())
		reason := "the cache directory can't be used"
		switch {
		case errors.Is(err, cache.ErrLocked):
			reason = "the cache directory is held by another process"
		case errors.Is(err, cache.ErrOccupied):
			reason = "the cache directory holds other files"
		case errors.Is(err, cache.ErrNewerFormat):
			reason = "the cache directory was written by a later version, and is left as it is; run that version again, or name another directory"
		}
		s.tellTrouble(trouble{
			what: reason, consequence: "downloads stream uncached until it can be used", where: zap.String("directory", s.directory), err: err,
			further: []zap.Field{zap.Duration("next_try_in", s.process.storeRetryPause)},
		})
		return err
	}
	s.times.open(s.now())
	s.store.Store(store)
	// A reload may have brought other limits meanwhile.
	if now := s.inForce.Load().limits; now != limits {
		store.SetLimits(now)
	}
	s.announceChange()
	begun := time.Now()
	// Ends when all is loaded, or with the store or ctx.
	s.chores.Go(func() { s.tellFound(store, begun) })
	return nil
}

// tellFound tells what the start has found in the directory, once it has read the index; nothing of a store that is given up before.
func (s *state) tellFound(store *cache.Store, begun time.Time) {
	select {
	case <-store.Ready():
	case <-store.Done():
		return
	case <-s.ctx.Done():
		return
	}
	s.times.noteRead(s.now())
	stats := store.Stats()
	s.logger.Info("the cache directory was read", zap.String("directory", s.directory), zap.Int("files", stats.FoundBlobs),
		zap.Int64("bytes", stats.FoundBytes), zap.Duration("took", time.Since(begun)))
}

// isHeld reports whether the directory can be used and is this process's.
func (s *state) isHeld() bool { return s.store.Load() != nil }

// isUsable reports whether downloads can be stored: the directory is held, and it is still the one that was opened.
func (s *state) isUsable() bool {
	store := s.store.Load()
	return store != nil && !store.IsLost()
}

// keepStore opens a store that could not be opened, again and again, and one in the place of a store whose directory is gone.
// It ends with ctx.
func (s *state) keepStore() {
	ticker := time.NewTicker(min(s.process.storeLookPause, s.process.storeRetryPause))
	defer ticker.Stop()
	tried := time.Now()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
		}
		store := s.store.Load()
		switch {
		case store != nil && !store.IsLost():
			continue
		case store != nil:
			s.abandon(store)
		case time.Since(tried) < s.process.storeRetryPause:
			continue
		}
		tried = time.Now()
		if s.openStore() == nil {
			s.logger.Info("the cache directory can be used again", zap.String("directory", s.directory))
		}
	}
}

// abandon gives up a store whose directory is gone. Downloads of files that were on their way in go on from GitLab, those of
// open files to their end.
func (s *state) abandon(store *cache.Store) {
	s.times.unusable(s.now())
	s.tellTrouble(trouble{
		what:        "the cache directory was emptied or replaced, or its disk is gone or another one mounted in it",
		consequence: "the cache begins anew with what is there now",
		where:       zap.String("directory", s.directory),
	})
	s.process.stateNumbers.takeStore(s)
	if err := store.Abandon(); err != nil {
		s.logger.Warn("the lost cache can't be closed", zap.String("directory", s.directory), zap.Error(err))
	}
}
