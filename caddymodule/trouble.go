package caddymodule

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// trouble is a failure that the admin is to hear of: now in the log, and later in status, among the recent failures.
type trouble struct {
	// what happened, its subject first: "the disk has no room". It is the same text each time, without names of files or
	// servers, so that it can be searched for, and so that the log can tell what repeats itself.
	what string
	// consequence is what the edge does now, for the log alone: "downloads stream uncached". Empty for nothing.
	consequence string
	// where it happened if that is no file: a directory, or a GitLab's URL. Status has it behind what happened.
	where zap.Field
	// ref is the file that was asked for; the zero Ref where it isn't about one.
	ref upstream.Ref
	err error
	// further is for the log alone.
	further []zap.Field
	// passing is what mends itself and that callers are told of: a warning, and no error.
	passing bool
}

// tellTrouble tells of trouble, in the log and in status.
func (p *processWide) tellTrouble(logger *zap.Logger, t trouble) {
	message, noted, fields := t.what, t.what, make([]zap.Field, 0, 3+len(t.further))
	if t.consequence != "" {
		message += "; " + t.consequence
	}
	if t.where.Key != "" {
		noted += ": " + t.where.String
		fields = append(fields, t.where)
	}
	if t.ref != (upstream.Ref{}) {
		fields = append(fields, zap.Stringer("ref", t.ref))
	}
	fields = append(fields, t.further...)
	if t.err != nil {
		fields = append(fields, zap.Error(t.err))
	}
	p.failures.note(p.clock(), noted, t.ref, t.err)
	level := zapcore.ErrorLevel
	if t.passing {
		level = zapcore.WarnLevel
	}
	logger.Log(level, message, fields...)
}

func (h *Handler) tellTrouble(t trouble) { h.process.tellTrouble(h.logger, t) }

func (s *state) tellTrouble(t trouble) { s.process.tellTrouble(s.logger, t) }
