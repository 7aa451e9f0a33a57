package cache

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// forgetFile has the system drop what it has in memory of a file.
func forgetFile(b *testing.B, file *os.File) {
	b.Helper()
	if err := file.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		b.Fatal(err)
	}
}
