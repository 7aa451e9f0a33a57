// Package shardtest lends tests the 256 directories of blobs that a store makes in an empty directory. To make them and to remove them
// again takes ext4 more time than most tests need for all else: it looks through what was removed in the last minutes before it uses a
// place again.
package shardtest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// lent are the directories of blobs that stores of earlier tests have left, without files.
var lent struct {
	sync.Mutex
	root string // "" before there are any
	free []string
	made int
}

// Lend gives a test the directory that its store will use, as a store leaves it that made its directories and ended there; one that is
// in use already stays as it is. It is called before the store is opened: what the test leaves is taken back after the store has ended.
func Lend(t testing.TB, directory string) {
	t.Helper()
	blobs := filepath.Join(directory, "blobs")
	if _, err := os.Lstat(blobs); err == nil {
		return
	}
	t.Cleanup(func() { takeBack(blobs) })
	lent.Lock()
	defer lent.Unlock()
	if len(lent.free) == 0 {
		return // the store makes it
	}
	last := len(lent.free) - 1
	before := lent.free[last]
	lent.free = lent.free[:last]
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(before, blobs); err != nil {
		t.Fatal(err)
	}
}

// takeBack keeps a directory of blobs for other tests if it is as a store makes it. Else it goes with all else that the test leaves.
func takeBack(blobs string) {
	shards, err := os.ReadDir(blobs)
	if err != nil || len(shards) != 256 {
		return
	}
	for first, shard := range shards { // by name
		if info, err := shard.Info(); err != nil || info.Mode() != os.ModeDir|0o700 || info.Name() != fmt.Sprintf("%02x", first) {
			return
		}
		files, err := os.ReadDir(filepath.Join(blobs, shard.Name()))
		if err != nil {
			return
		}
		for _, file := range files {
			if os.Remove(filepath.Join(blobs, shard.Name(), file.Name())) != nil {
				return
			}
		}
	}
	lent.Lock()
	defer lent.Unlock()
	if lent.root == "" {
		if lent.root, err = os.MkdirTemp("", "shardtest"); err != nil {
			return
		}
	}
	lent.made++
	kept := filepath.Join(lent.root, fmt.Sprint(lent.made))
	if os.Rename(blobs, kept) == nil {
		lent.free = append(lent.free, kept)
	}
}

// Run runs a package's tests, as its TestMain calls it, and removes what is left of the directories.
func Run(m *testing.M) (code int) {
	code = m.Run()
	if lent.root != "" {
		_ = os.RemoveAll(lent.root)
	}
	return code
}
