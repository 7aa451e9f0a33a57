package cache

import (
	"fmt"
	"path/filepath"
)

// Every path of the store's own is made here:
//
//	<dir>/lock                           one process per directory (flock); a reload shares the open store
//	<dir>/index.db                       bbolt: entries, last use, pins, sum of bytes, format version (index.go)
//	<dir>/index.db.damaged-<unix time>   the last index that could not be read, set aside
//	<dir>/blobs/ab/<sha256>              exactly the file's bytes: `sha256sum` proves it
//	<dir>/fills/<process>-<n>.part       on their way in, with holes before what came ahead (ahead.go), and beginnings of files,
//	                                     without any; emptied at start
//
// The handler keeps two files of its own beside them, of which the store knows nothing but that they are nobody else's (occupied.go):
//
//	<dir>/switches.json                  a copy of the run-time switches (caddymodule/switch_copies.go)
//	<dir>/history                        what the edge did, by steps of time (caddymodule/history)
//	<dir>/history.damaged                the last one that could not be read, set aside
//
// A blob exists because the index or this process says so, never because of its name.

func lockPath(dir string) string  { return filepath.Join(dir, "lock") }
func indexPath(dir string) string { return filepath.Join(dir, "index.db") }
func blobsPath(dir string) string { return filepath.Join(dir, "blobs") }
func fillsPath(dir string) string { return filepath.Join(dir, "fills") }

// shardPath is the directory of all blobs whose digests begin alike. 256 of them keep directories of a million files
// at some thousands each.
func shardPath(dir string, first byte) string {
	return filepath.Join(blobsPath(dir), fmt.Sprintf("%02x", first))
}

func blobPath(dir string, d Digest) string {
	return filepath.Join(shardPath(dir, d[0]), d.String())
}

// partPath names a fill. The first number is the process's own, so that the parts of an earlier one can be removed in
// the background without meeting ours.
func partPath(dir string, process, number uint64) string {
	return filepath.Join(fillsPath(dir), fmt.Sprintf("%x-%d"+partSuffix, process, number))
}

// partSuffix ends the names of fills.
const partSuffix = ".part"

// damagedInfix stands between an index's name and the time when it was set aside.
const damagedInfix = ".damaged-"

func damagedIndexPath(dir string, unix int64) string {
	return fmt.Sprintf("%s%s%d", indexPath(dir), damagedInfix, unix)
}

// damagedIndexPattern matches all indexes set aside, for filepath.Glob.
func damagedIndexPattern(dir string) string { return indexPath(dir) + damagedInfix + "*" }
