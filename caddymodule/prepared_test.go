package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// prepared are the directories of blobs that edges of earlier tests have left, without files. To make 256 directories and to remove
// them again takes ext4 more time than most tests need for all else.
var prepared struct {
	sync.Mutex
	root string // "" before there are any
	free []string
	made int
}

// prepareCacheDirectory gives a test the directory that its edge will use, as a store leaves it that made its directories and
// ended there. Call it before the edge is started: what the test leaves is taken back after the edge has ended.
func prepareCacheDirectory(t testing.TB, directory string) {
	t.Helper()
	blobs := filepath.Join(directory, "blobs")
	t.Cleanup(func() { takeBack(blobs) })
	prepared.Lock()
	defer prepared.Unlock()
	if len(prepared.free) == 0 {
		return // the store makes it
	}
	last := len(prepared.free) - 1
	before := prepared.free[last]
	prepared.free = prepared.free[:last]
	if err := os.Mkdir(directory, 0o700); err != nil {
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
	prepared.Lock()
	defer prepared.Unlock()
	if prepared.root == "" {
		if prepared.root, err = os.MkdirTemp("", "prepared"); err != nil {
			return
		}
	}
	prepared.made++
	kept := filepath.Join(prepared.root, fmt.Sprint(prepared.made))
	if os.Rename(blobs, kept) == nil {
		prepared.free = append(prepared.free, kept)
	}
}

// removePrepared is called when all tests have run.
func removePrepared() {
	if prepared.root != "" {
		_ = os.RemoveAll(prepared.root)
	}
}
