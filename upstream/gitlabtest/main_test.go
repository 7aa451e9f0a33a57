package gitlabtest_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails if any server of these tests leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
