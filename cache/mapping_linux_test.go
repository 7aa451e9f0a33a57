package cache

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
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

// TestNothingOfTheIndexStaysMappedForLong although what was read of it is less than what is given back at once.
func TestNothingOfTheIndexStaysMappedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Config{Dir: t.TempDir(), Limits: Limits{MaxSize: 1 << 40}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		awaitLoaded(t, s)
		if _, err := s.LastVerified(); err != nil {
			t.Fatal(err)
		}
		if mapped := mappedKilobytes(t, indexPath(s.dir)); mapped == "0 kB" {
			t.Error("nothing is mapped; the test shows nothing")
		}
		time.Sleep(usesWithin)
		synctest.Wait()
		if mapped := mappedKilobytes(t, indexPath(s.dir)); mapped != "0 kB" {
			t.Errorf("%s are mapped", mapped)
		}
	})
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

// TestNoMemoryButTheFilesIsGivenBack has other memory right behind a file's mapping, where a damaged file could seem to go
// on.
func TestNoMemoryButTheFilesIsGivenBack(t *testing.T) {
	page := os.Getpagesize()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte("a"), page), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	address, err := unix.MmapPtr(-1, 0, nil, uintptr(2*page), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.MunmapPtr(address, uintptr(2*page)) }()
	if _, err := unix.MmapPtr(int(file.Fd()), 0, address, uintptr(page), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
		t.Fatal(err)
	}
	memory := unsafe.Slice((*byte)(address), 2*page) //nolint:gosec // mapped above
	memory[page] = 'b'
	if memory[0] != 'a' || mappedKilobytes(t, path) == "0 kB" {
		t.Fatal("the file isn't mapped")
	}
	unmapPages(uintptr(address))
	if mapped := mappedKilobytes(t, path); mapped != "0 kB" {
		t.Errorf("%s of the file are mapped still", mapped)
	}
	if memory[0] != 'a' || memory[page] != 'b' {
		t.Error("memory was emptied")
	}
	unmapPages(uintptr(address) + 1) // where no mapping begins
}
