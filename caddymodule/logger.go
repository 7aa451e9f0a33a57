package caddymodule

import (
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
)

// lastingLogger returns a logger for what outlives configs. Each config brings loggers of its own and closes those
// of the one before, so it looks up Caddy's present logger for each line.
func lastingLogger(name string) *zap.Logger {
	return zap.New(&presentCore{name: name})
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
