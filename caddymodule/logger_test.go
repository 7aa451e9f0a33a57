package caddymodule

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestTroubleThatRepeatsItselfDoesNotFillTheLog(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	logger := limited(zap.New(core)).With(zap.Int("field", 1))
	for range 250 {
		logger.Error("the same")
		logger.Debug("a step")
	}
	logger.Warn("another")
	if got := logged.FilterMessage("the same").Len(); got != 12 {
		t.Errorf("%d lines of 250 errors; want the first 10, and each hundredth after them", got)
	}
	if got := logged.FilterMessage("a step").Len(); got != 250 {
		t.Errorf("%d lines of 250 debug lines", got)
	}
	if got := logged.FilterMessage("another").FilterField(zap.Int("field", 1)).Len(); got != 1 {
		t.Errorf("%d lines of another warning", got)
	}
}
