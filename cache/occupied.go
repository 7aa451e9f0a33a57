package cache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ErrOccupied says that the directory holds what no store has made. A store empties fills, and removes blobs that its index doesn't
// name: it must not do that among somebody else's files.
var ErrOccupied = errors.New("it holds files that aren't a cache's; give the cache a directory that is empty, or its own")

// ownNames are those that each store has in its directory, whatever the format of its index.
const ownNames = 4 // lock, index.db, blobs, fills

// checkOccupied returns ErrOccupied unless a directory is free for a store: it isn't there, it holds nothing but what belongs to a
// volume itself, or a store has made what is in it. It changes nothing.
//
// A directory with three of ownNames is a store's, whatever else lies there: an admin's note must not end a cache. One with fewer is
// what a store leaves that is killed on its first start, or a copy without its empty directories; nothing else may lie there.
// Blobs and parts without an index are somebody else's: the store would remove them.
func checkOccupied(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for others' files: %w", err)
	}
	own, others := 0, ""
	for _, entry := range entries {
		switch {
		case isOwn(dir, entry.Name()):
			own++
		case others == "" && !isBesideOwn(entry.Name()) && !isOfVolume(entry.Name()):
			others = entry.Name()
		}
	}
	if own >= ownNames-1 {
		return nil
	}
	hasIndex := isOwn(dir, filepath.Base(indexPath(dir)))
	if own == 1 && hasIndex {
		others = filepath.Base(indexPath(dir)) // a store makes all others before it
	}
	if others == "" {
		others, err = othersBelow(dir, hasIndex)
	}
	if others != "" {
		return fmt.Errorf("%w: there is %q", ErrOccupied, others)
	}
	return err
}

// isOwn reports whether something in a directory is one of the four things that each store has there.
func isOwn(dir, name string) bool {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path) // blobs and fills may be links
	if err != nil {
		return false
	}
	switch path {
	case lockPath(dir):
		return info.Mode().IsRegular() && info.Size() == 0
	case indexPath(dir):
		return info.Mode().IsRegular()
	case blobsPath(dir), fillsPath(dir):
		return info.IsDir()
	}
	return false
}

// isBesideOwn reports whether a name is one of those that lie beside ownNames at times: an index that was set aside, the edge's
// copy of its run-time switches, whole or on its way in, and its history, which may be set aside too.
func isBesideOwn(name string) bool {
	return strings.HasPrefix(name, indexPath("")+damagedInfix) || strings.HasPrefix(name, "switches.json") || slices.Contains(historyNames, name)
}

// historyNames are those of the edge's history (caddymodule/history).
var historyNames = []string{"history", "history.new", "history.damaged"}

// othersBelow returns the first name in blobs or fills that a store hasn't made; empty if there is none. Without an index no blob and
// no fill is a store's.
func othersBelow(dir string, hasIndex bool) (others string, err error) {
	for _, below := range []string{blobsPath(dir), fillsPath(dir)} {
		entries, err := os.ReadDir(below)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("looking for others' files: %w", err)
		}
		for _, entry := range entries {
			name := entry.Name()
			// A part lies in blobs for a moment while the store tries whether it can be renamed (checkOneDisk).
			isPart := partName.MatchString(name) && (hasIndex || isEmptyDirectory(filepath.Join(below, name)))
			isShard := below == blobsPath(dir) && isShardName(name) && (hasIndex || isEmptyDirectory(filepath.Join(below, name)))
			if !isPart && !isShard && !isOfVolume(name) {
				return filepath.Join(filepath.Base(below), name), nil
			}
		}
	}
	return "", nil
}

func isShardName(name string) bool {
	first, err := hex.DecodeString(name)
	return err == nil && len(first) == 1
}

// volumeNames are those that a file system, or a system that gives out volumes, has at the top of an empty one; volumePrefixes begin
// them. .nfs and .fuse_hidden are files that were removed while somebody had them open.
var (
	volumeNames = []string{
		"lost+found", "aquota.user", "aquota.group", // ext4: fsck's finds (mke2fs(8)), and quotas (quotacheck(8))
		".snapshot", ".zfs", // snapshots: NetApp's and Isilon's, and ZFS's (zfsprops(7), snapdir)
		".glusterfs", ".trashcan", // a brick's own links, and its trash translator
		".DS_Store", ".fseventsd", ".Spotlight-V100", ".Trashes", ".TemporaryItems", // macOS: Finder, FSEvents, Spotlight (mdutil(1)), trash, temporary files
		"System Volume Information", "$RECYCLE.BIN", // Windows: restore points and indexes, and trash, on NTFS and exFAT
		"@eaDir", "#recycle", // Synology DSM: extended attributes and thumbnails, and a share's recycle bin
	}
	volumePrefixes = []string{".nfs", ".fuse_hidden", ".Trash-"}
)

func isOfVolume(name string) bool {
	return slices.Contains(volumeNames, name) ||
		slices.ContainsFunc(volumePrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// partName is how fills are named (partPath).
var partName = regexp.MustCompile(`\A[0-9a-f]+-[0-9]+\.part\z`)

// isEmptyDirectory reports whether a path is a directory without anything in it.
func isEmptyDirectory(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && len(entries) == 0
}
