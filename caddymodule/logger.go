package caddymodule

import (
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
)

// lastingLogger returns a logger for what outlives configs. Each config brings loggers of its own and closes those
// of the one before, so it looks up Caddy's present logger for each line.
func lastingLogger(name string) *zap.Logger {
	return limited(zap.New(&presentCore{name: name}))
}

// A fault that each request meets would fill the disk with logs: of warnings and errors with the same message, within a
// minute the first so many are logged, and then one of so many.
const (
	logTick       = time.Minute
	logFirst      = 10
	logThereafter = 100
)

// limited keeps warnings and errors that repeat themselves from filling the log.
func limited(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return &limitedCore{Core: core, troubles: zapcore.NewSamplerWithOptions(core, logTick, logFirst, logThereafter)}
	}))
}

// limitedCore samples warnings and errors, and nothing else: who asks for debug lines wants all.
type limitedCore struct {
	zapcore.Core
	troubles zapcore.Core
}

func (c *limitedCore) With(fields []zap.Field) zapcore.Core {
	return &limitedCore{Core: c.Core.With(fields), troubles: c.troubles.With(fields)}
}

func (c *limitedCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Level >= zapcore.WarnLevel {
		return c.troubles.Check(entry, checked)
	}
	return c.Core.Check(entry, checked)
}

// presentCore is a zap core that hands each entry to the core of Caddy's present default logger.
type presentCore struct {
	name   string
	fields []zap.Field
}

func (c *presentCore) Enabled(level zapcore.Level) bool { return caddy.Log().Core().Enabled(level) }

func (c *presentCore) With(fields []zap.Field) zapcore.Core {
	return &presentCore{name: c.name, fields: append(slices.Clip(c.fields), fields...)}
}

func (c *presentCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	entry.LoggerName = c.name
	if len(c.fields) == 0 {
		return caddy.Log().Core().Check(entry, checked)
	}
	return caddy.Log().Core().With(c.fields).Check(entry, checked)
}

func (c *presentCore) Write(entry zapcore.Entry, fields []zap.Field) error {
	return caddy.Log().Core().With(c.fields).Write(entry, fields)
}

func (c *presentCore) Sync() error { return caddy.Log().Core().Sync() }
