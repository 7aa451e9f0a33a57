package cache

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The kernel counts what is mapped of the index as the process's memory: after a start that would be all of it.
func TestNothingOfTheIndexStaysMappedAfterAStartOrABatch(t *testing.T) {
	dir := t.TempDir()
	writeIndex(t, dir, 10_000)
	s := openStore(t, dir, Limits{MaxSize: 1 << 40})
	awaitLoaded(t, s)
	check := func(when string) {
		t.Helper()
		if mapped := mappedKilobytes(t, filepath.Join(dir, "index.db")); mapped != "0 kB" {
			t.Errorf("%s, %s of the index are mapped", when, mapped)
		}
	}
	check("after the start")
	s.put(t, testKey("a"), randomBytes(100, 1))
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	check("after a batch")
	if _, err := s.Lookup(numberedKey(1)); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// mappedKilobytes is how much of a file's mapping the process has in memory.
func mappedKilobytes(t *testing.T, path string) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	_, mapping, found := strings.Cut(string(maps), path+"\n")
	if !found {
		t.Fatal("the index isn't mapped")
	}
	_, resident, _ := strings.Cut(mapping, "\nRss:")
	line, _, _ := strings.Cut(resident, "\n")
	return strings.TrimSpace(line)
}
