package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// openDescriptors is how often the process has a file open.
func openDescriptors(t *testing.T, path string) (open int) {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil && target == path {
			open++
		}
	}
	return open
}

// TestADamagedIndexIsNotKeptOpen: the janitor tries again and again, until there are no descriptors left.
func TestADamagedIndexIsNotKeptOpen(t *testing.T) {
	path, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(path, "index.db")
	if err := os.WriteFile(path, []byte("no index"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openIndex(path); !errors.Is(err, errDamagedIndex) {
		t.Errorf("opened with %v", err)
	}
	if n := openDescriptors(t, path); n != 0 {
		t.Errorf("it is open %d times", n)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	db, err := openIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := openDescriptors(t, path); n != 2 {
		t.Errorf("a sound one is open %d times", n) // or the test looks at nothing
	}
	if err := db.close(); err != nil {
		t.Error(err)
	}
	if n := openDescriptors(t, path); n != 0 {
		t.Errorf("closed, it is open %d times", n)
	}
}
