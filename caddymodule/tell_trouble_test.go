package caddymodule

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gitlab-edge/caddy-gitlab-packages/upstream"
)

// TestTroubleIsToldInTheLogAndInStatus tells of several troubles and looks for each in both.
func TestTroubleIsToldInTheLogAndInStatus(t *testing.T) {
	ref := upstream.Ref{Project: "24", Package: "pkg", Version: "1.0.0", File: "app.bin"}
	broken := errors.New("the disk is broken")
	for name, test := range map[string]struct {
		told          trouble
		level         zapcore.Level
		message       string
		fields        []string
		noted, reason string
		file          string
	}{
		"of a file": {
			told:  trouble{what: "a file can't be stored", consequence: "it streams uncached", ref: ref, err: broken},
			level: zapcore.ErrorLevel, message: "a file can't be stored; it streams uncached", fields: []string{"error", "ref"},
			noted: "a file can't be stored", reason: "the disk is broken", file: "24/pkg/1.0.0/app.bin",
		},
		"of a directory": {
			told:  trouble{what: "the disk has no room", where: zap.String("directory", "/cache"), further: []zap.Field{zap.Int("n", 1)}},
			level: zapcore.ErrorLevel, message: "the disk has no room", fields: []string{"directory", "n"},
			noted: "the disk has no room: /cache",
		},
		"that passes": {
			told:  trouble{what: "GitLab can't be asked", passing: true},
			level: zapcore.WarnLevel, message: "GitLab can't be asked", noted: "GitLab can't be asked",
		},
	} {
		t.Run(name, func(t *testing.T) {
			core, log := observer.New(zapcore.DebugLevel)
			p := newProcessWide()
			p.tellTrouble(zap.New(core), test.told)
			if log.Len() != 1 {
				t.Fatalf("%d lines", log.Len())
			}
			line := log.All()[0]
			fields := slices.Sorted(maps.Keys(line.ContextMap()))
			if line.Level != test.level || line.Message != test.message || !slices.Equal(fields, test.fields) {
				t.Errorf("the log has %s %q with %v", line.Level, line.Message, fields)
			}
			kept := p.failures.recent()
			if len(kept) != 1 || kept[0].What != test.noted || kept[0].Error != test.reason || kept[0].File != test.file {
				t.Errorf("status has %+v", kept)
			}
		})
	}
}
