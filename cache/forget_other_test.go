//go:build !linux

package cache

import (
	"os"
	"testing"
)

func forgetFile(b *testing.B, _ *os.File) {
	b.Helper()
	b.Skip("the system can't be told to forget a file")
}
